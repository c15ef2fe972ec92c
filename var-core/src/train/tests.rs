//! The engine on a toy problem: a small network learns a fixed linear map.

mod on_ranks;
mod regression;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::module::Module;
use burn::nn::Linear;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};

use self::on_ranks::train_on;
use self::regression::{Points, Regression, SOUND, Toy, folder, options, toy};
use super::workers::Workers;
use super::*;

fn trainer(run: &Path, steps: u64) -> Trainer<Regression> {
    let device = Device::flex().autodiff();
    let task = Regression::new(&device);
    Trainer::resume_or_start(task, toy(&device), options(steps), run).unwrap()
}

/// Trains until the budget ends or `stop_after` steps were seen, and returns the losses.
fn train(run: &Path, steps: u64, stop_after: usize) -> (Vec<f64>, Outcome) {
    let stop = AtomicBool::new(false);
    let mut losses = Vec::new();
    let outcome = trainer(run, steps)
        .run(SOUND, &stop, &mut |seen| {
            let Observed::Line(line) = seen else { return };
            losses.push(line.loss);
            if losses.len() == stop_after {
                stop.store(true, Ordering::Relaxed);
            }
        })
        .unwrap();
    (losses, outcome)
}

#[test]
fn the_loss_goes_down_and_every_step_is_logged() {
    let run = folder("down");
    let (losses, outcome) = train(&run, 80, usize::MAX);
    assert_eq!(outcome, Outcome::Finished);
    assert_eq!(losses.len(), 80);
    assert!(
        losses[79] < losses[0] * 0.1,
        "{} then {}",
        losses[0],
        losses[79]
    );
    let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 80);
    let line: serde_json::Value = serde_json::from_str(log.lines().nth(19).unwrap()).unwrap();
    for key in [
        "step",
        "loss",
        "worst",
        "weight",
        "steps.all",
        "learning_rate",
        "gradient_norm",
        "seconds",
    ] {
        assert!(line[key].is_number(), "{key} is missing in {line}");
    }
    fs::remove_dir_all(run).unwrap();
}

#[test]
fn a_resumed_run_repeats_the_one_that_was_not_stopped() {
    let (whole, parts) = (folder("whole"), folder("parts"));
    let (expected, _) = train(&whole, 40, usize::MAX);
    let (mut losses, outcome) = train(&parts, 40, 17);
    assert_eq!(outcome, Outcome::Stopped);
    // Lines that a killed run wrote after its checkpoint are replaced, not doubled.
    let log = parts.join("log.jsonl");
    let text = fs::read_to_string(&log).unwrap() + "{\"step\":18,\"loss\":9}\n{\"st";
    fs::write(&log, text).unwrap();
    losses.extend(train(&parts, 40, usize::MAX).0);
    assert_eq!(losses, expected);
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count(), 40);
    let device = Device::flex();
    let average = |run: &Path| {
        let found = latest(run).unwrap().unwrap();
        let average = found.average(toy(&device)).unwrap();
        average.second.weight.val().into_data()
    };
    assert_eq!(average(&whole), average(&parts));
    fs::remove_dir_all(whole).unwrap();
    fs::remove_dir_all(parts).unwrap();
}

#[test]
fn only_the_last_checkpoints_are_kept_and_half_written_ones_are_ignored() {
    let run = folder("keep");
    for steps in [2, 4, 6] {
        train(&run, steps, usize::MAX);
    }
    fs::create_dir_all(run.join("checkpoint.part")).unwrap();
    let mut names: Vec<_> = fs::read_dir(&run)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("step-"))
        .collect();
    names.sort();
    assert_eq!(names, ["step-00000004", "step-00000006"]);
    assert_eq!(latest(&run).unwrap().unwrap().progress().unwrap().step, 6);
    fs::remove_dir_all(run).unwrap();
}

#[test]
fn no_checkpoint_is_in_pieces_while_it_is_written_again_or_removed() {
    let run = folder("again");
    train(&run, 2, usize::MAX);
    // A run that is at its end writes its last checkpoint again; a kill must not find it half removed.
    let mark = run.join("step-00000002/mark");
    fs::write(&mark, "").unwrap();
    train(&run, 2, usize::MAX);
    assert!(mark.exists());
    // What a killed removal has left is in nobody's way.
    let removed = run.join("removed.part");
    fs::create_dir_all(&removed).unwrap();
    fs::write(removed.join("model.bpk"), "").unwrap();
    for steps in [4, 6] {
        train(&run, steps, usize::MAX);
    }
    assert!(!mark.exists() && !removed.exists());
    fs::remove_dir_all(run).unwrap();
}

#[test]
fn a_loss_that_is_not_a_number_stops_and_names_the_last_good_checkpoint() {
    let run = folder("nan");
    train(&run, 4, usize::MAX);
    let error = trainer(&run, 10)
        .run(
            Points { broken_at: 6 },
            &AtomicBool::new(false),
            &mut |_| (),
        )
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("step 6") && text.contains("step-00000004"),
        "{text}"
    );
    fs::remove_dir_all(run).unwrap();
}

#[test]
fn the_average_follows_the_weights() {
    let device = Device::flex().autodiff();
    let model = toy(&device);
    let mut average = WeightAverage::new(&model, 0.5);
    let mut moved = model.clone();
    moved.embedding = moved
        .embedding
        .map(|value| (value * 3.0).detach().require_grad());
    average.update(&moved, 1_000_000);
    let value: Vec<f32> = average
        .module()
        .embedding
        .val()
        .into_data()
        .try_to_vec::<f32>()
        .unwrap();
    assert_eq!(value, vec![2.0; 6]);
    assert!(!average.module().embedding.val().is_autodiff());
}

/// One AdamW step with zero gradients moves a weight only by its decay.
#[test]
fn decay_leaves_biases_vectors_and_named_parameters_alone() {
    let device = Device::flex().autodiff();
    let model = toy(&device);
    let before = model.valid();
    let config = AdamWConfig {
        weight_decay: 0.5,
        ..AdamWConfig::default()
    };
    let mut optimizer = AdamW::new(&config, &model, &["embedding"]);
    let x = Tensor::<2>::ones([1, 4], &device);
    let output = model.second.forward(model.first.forward(x)) + model.embedding.val().mean_dim(0);
    let gradients = (output * 0.0).sum().backward();
    let gradients = GradientsParams::from_grads(gradients, &model);
    assert_eq!(gradients.len(), 5);
    let after = optimizer.step(0.1, 0.0, model, gradients).valid();
    let same = |a: Tensor<2>, b: Tensor<2>| (a - b).abs().max().into_scalar::<f32>() < 1e-7;
    let bias = |layer: &Linear| layer.bias.as_ref().unwrap().val().unsqueeze::<2>();
    assert!(same(
        after.first.weight.val(),
        before.first.weight.val() * 0.95
    ));
    assert!(same(
        after.second.weight.val(),
        before.second.weight.val() * 0.95
    ));
    assert!(same(bias(&after.first), bias(&before.first)));
    assert!(same(after.embedding.val(), before.embedding.val()));
}

/// Muon moves a hidden matrix along all its directions by the same length; AdamW moves the rest as without.
#[test]
fn muon_updates_hidden_matrices_and_adamw_the_rest() {
    let device = Device::flex().autodiff();
    let config = AdamWConfig {
        weight_decay: 0.0,
        ..AdamWConfig::default()
    };
    let step = |muon: bool| {
        let model = toy(&device);
        let mut optimizer = AdamW::new(&config, &model, &[]);
        if muon {
            optimizer = optimizer.with_muon(MuonConfig::default(), &model, &[]);
        }
        let x = Tensor::<2>::eye(4, &device);
        let output = model.second.forward(model.first.forward(x).tanh());
        let output = output + model.embedding.val().mean_dim(0);
        let gradients = (output.square().sum()).backward();
        let gradients = GradientsParams::from_grads(gradients, &model);
        optimizer.step(0.1, 0.0, model, gradients).valid()
    };
    let (with, without, before) = (step(true), step(false), toy(&device).valid());
    let far = |a: Tensor<2>, b: Tensor<2>| -> f32 { (a - b).abs().max().into_scalar() };
    let moved = with.first.weight.val() - before.first.weight.val();
    let square = moved.clone().matmul(moved.transpose());
    let length: f32 = 0.1 * 0.2 * 4.0;
    let norm: f32 = square.clone().square().sum().sqrt().into_scalar();
    let largest = length.powi(2) * 1.3f32.powi(2) * 2.0;
    assert!(norm > 0.0 && norm < largest, "{norm} of {largest}");
    assert!(far(with.first.weight.val(), without.first.weight.val()) > 1e-3);
    assert_eq!(far(with.embedding.val(), without.embedding.val()), 0.0);
    let bias = |model: &Toy| model.second.bias.as_ref().unwrap().val().unsqueeze::<2>();
    assert_eq!(far(bias(&with), bias(&without)), 0.0);
}

#[test]
fn a_run_with_muon_resumes_where_it_stopped() {
    let muon = TrainOptions {
        muon: Some(MuonConfig::default()),
        learning_rate: LearningRate {
            decay: Decay::Constant,
            ..options(40).learning_rate
        },
        ..options(40)
    };
    let train = |run: &Path, steps| train_on(run, steps, muon, Ranks::default()).0;
    let (whole, parts) = (folder("muon-whole"), folder("muon-parts"));
    let expected = train(&whole, 40);
    let sum = |losses: &[f64]| losses.iter().sum::<f64>();
    assert!(
        sum(&expected[30..]) < 0.75 * sum(&expected[..10]),
        "{expected:?}"
    );
    let mut losses = train(&parts, 15);
    losses.extend(train(&parts, 40));
    assert_eq!(losses, expected);
    fs::remove_dir_all(whole).unwrap();
    fs::remove_dir_all(parts).unwrap();
}

#[test]
fn clipping_cuts_the_joint_norm_and_keeps_the_direction() {
    let device = Device::flex().autodiff();
    let model = toy(&device);
    let gradients = || {
        let x = Tensor::<2>::ones([1, 4], &device) * 10.0;
        let total = model.second.forward(model.first.forward(x)).square().sum();
        GradientsParams::from_grads(total.backward(), &model)
    };
    let (whole, norm) = clip_by_global_norm(&model, gradients(), 0.0);
    assert!(norm > 1.0);
    let (cut, before) = clip_by_global_norm(&model, gradients(), 1.0);
    assert_eq!(before, norm);
    let (cut, after) = clip_by_global_norm(&model, cut, 0.0);
    assert!((after - 1.0).abs() < 1e-5, "{after}");
    let id = model.first.weight.id;
    let ratio = cut.get::<2>(id).unwrap() * norm - whole.get::<2>(id).unwrap();
    assert!(ratio.abs().max().into_scalar::<f32>() < 1e-4 * norm);
}

/// Two batches side by side are the step of both together, run after run.
#[test]
fn batches_side_by_side_are_one_batch() {
    let device = Device::flex().autodiff();
    let task = Regression::new(&device);
    let model = toy(&device);
    let mut points = SOUND;
    let batch = |points: &mut Points, step| points.batch(step);
    let (first, second) = (batch(&mut points, 0), batch(&mut points, 1));
    let both = vec![first.clone(), second.clone()];
    let (loss, gradients) = super::parallel::gradients(&task, &model, both, &Workers::new(2));
    let alone = [first, second].map(|one| task.gradients(&model, one));
    let value = |loss: &super::Loss| loss.total.clone().into_scalar::<f32>();
    let mean = (value(&alone[0].0) + value(&alone[1].0)) / 2.0;
    assert!((value(&loss) - mean).abs() < 1e-6);
    let (_, joint) = clip_by_global_norm(&model, gradients, 0.0);
    assert!(joint.is_finite() && joint > 0.0);
    let apart = alone.map(|(_, gradients)| clip_by_global_norm(&model, gradients, 0.0).1);
    assert!(
        joint <= (apart[0] + apart[1]) / 2.0 + 1e-6,
        "{joint} {apart:?}"
    );
}
