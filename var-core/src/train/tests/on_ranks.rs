//! Runs on several ranks, which are threads here.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use burn::tensor::Device;

use super::regression::{Regression, SOUND, folder, options, toy};
use crate::collective::Collective;
use crate::threads;
use crate::train::{
    Budget, Decay, LearningRate, Observed, Outcome, Ranks, TrainError, TrainOptions, Trainer,
    latest,
};

/// Runs `work` on ranks.
fn on_ranks<R: Send>(world: usize, work: impl Fn(Ranks) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let work = &work;
        let start = |rank: Arc<dyn Collective>| scope.spawn(move || work(rank.into()));
        let threads: Vec<_> = threads::connect(world).into_iter().map(start).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// Trains to the end of the budget; the losses, and weights of the average.
pub(super) fn train_on(
    run: &Path,
    steps: u64,
    options: TrainOptions,
    ranks: Ranks,
) -> (Vec<f64>, Vec<f32>) {
    let device = Device::flex().autodiff();
    let budget = Budget::Steps(steps);
    let options = TrainOptions { budget, ..options };
    let task = Regression::new(&device);
    let mut trainer = Trainer::on_ranks(task, toy(&device), options, run, ranks).unwrap();
    let mut losses = Vec::new();
    let stop = AtomicBool::new(false);
    let outcome = trainer.run(SOUND, &stop, &mut |seen| {
        if let Observed::Line(line) = seen {
            losses.push(line.loss);
        }
    });
    assert_eq!(outcome.unwrap(), Outcome::Finished);
    let weights = trainer.average().first.weight.val().into_data();
    (losses, weights.iter().collect())
}

fn four() -> TrainOptions {
    TrainOptions {
        accumulate: 4,
        ..options(20)
    }
}

fn far(a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    pairs.fold(0.0, f32::max)
}

#[test]
fn a_step_is_the_same_on_any_number_of_ranks() {
    let alone = folder("ranks-1");
    let (losses, weights) = train_on(&alone, 20, four(), Ranks::default());
    assert_eq!(losses.len(), 20);
    for world in [2, 4] {
        let run = folder(&format!("ranks-{world}"));
        let all = on_ranks(world, |ranks| train_on(&run, 20, four(), ranks));
        for (rank, (own, others)) in all.iter().enumerate() {
            // The first alone writes the log.
            assert_eq!(own.len(), if rank == 0 { 20 } else { 0 });
            assert_eq!(others, &all[0].1, "rank {rank} of {world}");
        }
        assert!(far(&all[0].1, &weights) <= 1e-6);
        let pairs = all[0].0.iter().zip(&losses);
        pairs.for_each(|(a, b)| assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} {b}"));
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let whole = folder("ranks-whole");
    let (losses, weights) = train_on(&whole, 20, four(), Ranks::default());
    let run = folder("ranks-changed");
    // A constant rate, since a budget of ten steps has another curve.
    let (first, _) = on_ranks(4, |ranks| train_on(&run, 10, constant(), ranks)).remove(0);
    let (second, ended) = on_ranks(2, |ranks| train_on(&run, 20, constant(), ranks)).remove(0);
    let same = folder("ranks-constant");
    let (expected, expected_weights) = train_on(&same, 20, constant(), Ranks::default());
    let all: Vec<f64> = first.into_iter().chain(second).collect();
    assert_eq!(all.len(), 20);
    let pairs = all.iter().zip(&expected);
    pairs.for_each(|(a, b)| assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} {b}"));
    assert!(far(&ended, &expected_weights) <= 1e-6);
    assert!(far(&ended, &weights) > 1e-4, "{losses:?}");
}

fn constant() -> TrainOptions {
    let options = four();
    TrainOptions {
        learning_rate: LearningRate {
            decay: Decay::Constant,
            ..options.learning_rate
        },
        ..options
    }
}

#[test]
fn a_step_that_cannot_be_shared_is_refused() {
    let run = folder("ranks-share");
    let errors = on_ranks(3, |ranks| {
        let device = Device::flex().autodiff();
        let task = Regression::new(&device);
        let started = Trainer::on_ranks(task, toy(&device), four(), &run, ranks);
        started.err().unwrap()
    });
    for error in errors {
        assert_eq!(
            error.to_string(),
            "a step has 4 batches (`parallel` times `accumulate`), which 3 processes cannot share evenly: make it a multiple of 3"
        );
    }
}

/// Ranks whose folders are not the same.
#[test]
fn ranks_at_different_steps_are_refused() {
    let runs = [folder("ranks-here"), folder("ranks-there")];
    train_on(&runs[0], 3, four(), Ranks::default());
    let errors = on_ranks(2, |ranks| {
        let device = Device::flex().autodiff();
        let task = Regression::new(&device);
        let run = &runs[ranks.rank()];
        let started = Trainer::on_ranks(task, toy(&device), four(), run, ranks);
        started.err().unwrap()
    });
    for error in errors {
        assert!(
            matches!(
                error,
                TrainError::Step {
                    rank: 1,
                    step: 0,
                    first: 3
                }
            ),
            "{error}"
        );
    }
}

/// Moments in shards are those of one piece, and other ranks go on with them.
#[test]
fn moments_are_shared_between_ranks() {
    let sharded = || TrainOptions {
        shard_optimizer: true,
        ..constant()
    };
    let whole = folder("shards-none");
    let (expected, weights) = train_on(&whole, 20, constant(), Ranks::default());
    let run = folder("shards-changed");
    let (first, _) = on_ranks(4, |ranks| train_on(&run, 10, sharded(), ranks)).remove(0);
    let files = |run: &Path| {
        let checkpoint = latest(run).unwrap().unwrap();
        let entries = fs::read_dir(checkpoint.path).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("optimizer")).count()
    };
    assert_eq!(files(&run), 64);
    let all = on_ranks(2, |ranks| train_on(&run, 20, sharded(), ranks));
    assert_eq!(all[0].1, all[1].1);
    assert!(far(&all[0].1, &weights) <= 1e-6);
    let losses: Vec<f64> = first.into_iter().chain(all[0].0.iter().copied()).collect();
    assert_eq!(losses.len(), 20);
    let pairs = losses.iter().zip(&expected);
    pairs.for_each(|(a, b)| assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} {b}"));

    // One process goes on with all shards, but not with moments in one piece.
    train_on(&run, 25, sharded(), Ranks::default());
    let device = Device::flex().autodiff();
    let task = || Regression::new(&device);
    let error = Trainer::resume_or_start(task(), toy(&device), constant(), &run)
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("the run was begun with `shard_optimizer`"),
        "{error}"
    );
    let error = Trainer::resume_or_start(task(), toy(&device), sharded(), &whole)
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("begun without `shard_optimizer`"),
        "{error}"
    );
}

/// Of four batches one stops the run.
#[test]
fn any_rank_can_stop_the_run() {
    let run = folder("ranks-stop");
    let steps = on_ranks(2, |ranks| {
        let device = Device::flex().autodiff();
        let task = Regression::new(&device);
        let stop = AtomicBool::new(ranks.rank() == 1);
        let mut trainer = Trainer::on_ranks(task, toy(&device), four(), &run, ranks).unwrap();
        let outcome = trainer.run(SOUND, &stop, &mut |_| {}).unwrap();
        (outcome, trainer.progress().step)
    });
    assert_eq!(steps, [(Outcome::Stopped, 0); 2]);
}
