//! What must hold for any weights: a small random model, with patches and a picture that is not square.

use nextscale_var_core::blocks::Transformer as _;
use std::sync::LazyLock;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Distribution, Int, Tensor};
use nextscale_bitwise::Bsq;
use nextscale_bitwise::correction::SelfCorrection;
use nextscale_bitwise::generate::{GenerateInput, GenerateOptions, Generation, Step, generate};
use nextscale_bitwise::import::{read_infinity, save_infinity};
use nextscale_bitwise::infinity::{Infinity, InfinityConfig, Plan, TextCondition};
use nextscale_bitwise::tokens::{Patching, TeacherForcing};
use nextscale_bitwise::train::{loss, margins};
use nextscale_tokenizer::pyramid::Pyramid;
use nextscale_tokenizer::{Scale, ScaleSchedule};
use nextscale_var_core::blocks::BlockStorage;
use nextscale_var_core::cache_budget::CacheBudget;
use nextscale_var_core::guidance::Guidance;
use nextscale_var_core::sampler::{Sampler, SamplerConfig};
use nextscale_var_core::shortcuts::Shortcuts;
use nextscale_var_core::train::ScaleWeighting;
use nextscale_weights::{WeightDtype, WeightFile};
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

const D: usize = 3;

fn config() -> InfinityConfig {
    InfinityConfig {
        width: 32,
        depth: 3,
        heads: 2,
        code_dim: 4 * D,
        text_channels: 128,
        text_max_len: 9,
        mlp_ratio: 8.0,
        block_chunks: 1,
        levels: 4,
    }
}

/// Every parameter anew, so that no part of the model is idle.
struct Stir;

impl ModuleMapper for Stir {
    fn map_float<const N: usize>(&mut self, param: Param<Tensor<N>>) -> Param<Tensor<N>> {
        param.map(|x| {
            let learns = x.is_require_grad();
            x.random_like(Distribution::Normal(0.0, 0.3))
                .set_require_grad(learns)
        })
    }
}

fn model(device: &Device) -> Infinity {
    config().init(device).map(&mut Stir)
}

fn schedule() -> ScaleSchedule {
    let sides = [(1, 1), (2, 1), (3, 2), (4, 3)];
    ScaleSchedule::new(sides.map(|(h, w)| Scale::image(h, w)).to_vec()).unwrap()
}

fn text(device: &Device) -> TextCondition {
    let normal = Distribution::Normal(0.0, 1.0);
    TextCondition::new(Tensor::random([2, 7, 128], normal, device), vec![4, 7])
}

fn taught(device: &Device) -> TeacherForcing {
    let cells = Patching::Double.cells(&schedule());
    let normal = Distribution::Normal(0.0, 1.0);
    let latent = Tensor::random([2, D, 1, 8, 6], normal, device);
    let quantizer = Bsq::new(D);
    let pyramid = Pyramid::plain(&quantizer);
    let noise = SelfCorrection::default();
    let mut rng = ChaCha12Rng::seed_from_u64(5);
    let encoded = noise.encode(&pyramid, latent, &cells, &mut rng);
    TeacherForcing::new(&pyramid, &encoded, &cells, Patching::Double)
}

fn far<const N: usize>(a: Tensor<N>, b: Tensor<N>) -> f32 {
    (a - b).abs().max().into_scalar()
}

#[test]
fn stepwise_is_teacher_forced() {
    let device = Device::flex();
    let (model, text, taught) = (model(&device), text(&device), taught(&device));
    let (schedule, last) = (schedule(), schedule().last());
    let plan = Plan::teacher_forcing(&config(), &schedule, last, &device);
    let all = model.forward(taught.inputs.clone(), &text, &plan);
    assert!(all.clone().abs().mean().into_scalar::<f32>() > 0.1);
    let plan = Plan::stepwise(&config(), &schedule, last, &device);
    let mut state = model.start(&text, &plan);
    let offsets = schedule.offsets();
    for k in 0..schedule.len() {
        let rows = offsets[k].max(1) - 1..offsets[k + 1] - 1;
        let input = (k > 0).then(|| taught.inputs.clone().slice_dim(1, rows));
        let step = model.forward_scale(k, input, &mut state, &plan, None);
        let same = all.clone().slice_dim(1, offsets[k]..offsets[k + 1]);
        assert!(far(step, same) < 1e-4, "scale {k}");
    }
}

/// The latent of an image that is edited.
fn source(device: &Device) -> Tensor<5> {
    Tensor::random([2, D, 1, 8, 6], Distribution::Normal(0.0, 1.0), device)
}

#[test]
fn edits_are_teacher_forced_as_they_are_made() {
    let device = Device::flex();
    let (model, text, taught) = (model(&device), text(&device), taught(&device));
    let (schedule, last) = (schedule(), schedule().last());
    let source = Patching::Double.to_tokens(source(&device));
    let plan = Plan::editing_teacher_forcing(&config(), &schedule, last, &device);
    let encoded = model.encode_text(&text);
    let x = model.forward_hidden(Some(source.clone()), taught.inputs.clone(), &encoded, &plan);
    let all = model.logits(x, encoded.cond);
    let plan = Plan::editing(&config(), &schedule, last, &device);
    let mut state = model.start(&text, &plan);
    model.read_source(source, &mut state, &plan);
    let offsets = schedule.offsets();
    for k in 0..schedule.len() {
        let rows = offsets[k].max(1) - 1..offsets[k + 1] - 1;
        let input = (k > 0).then(|| taught.inputs.clone().slice_dim(1, rows));
        let step = model.forward_scale(k, input, &mut state, &plan, None);
        let same = all.clone().slice_dim(1, offsets[k]..offsets[k + 1]);
        assert!(far(step, same) < 1e-4, "scale {k}");
    }
}

#[test]
fn later_scales_do_not_leak_into_earlier_ones() {
    let device = Device::flex();
    let (model, text, taught) = (model(&device), text(&device), taught(&device));
    let plan = Plan::teacher_forcing(&config(), &schedule(), schedule().last(), &device);
    let logits = model.forward(taught.inputs.clone(), &text, &plan);
    let changed = taught.inputs.clone().slice_fill([0..2, 8..9], 1.0); // first token of the last scale
    let other = model.forward(changed, &text, &plan);
    let part = |x: &Tensor<3>, rows| x.clone().slice_dim(1, rows);
    assert_eq!(far(part(&logits, 0..9), part(&other, 0..9)), 0.0);
    assert!(far(part(&logits, 9..21), part(&other, 9..21)) > 1e-3);
}

#[test]
fn text_behind_its_end_is_never_read() {
    let device = Device::flex();
    let (model, text) = (model(&device), text(&device));
    let garbage = text.features.clone().slice_fill([0..1, 4..7], 9.0);
    let other = model.encode_text(&TextCondition::new(garbage, text.lens.clone()));
    let same = model.encode_text(&text);
    assert!(far(same.cond, other.cond) < 1e-6);
}

#[test]
fn a_picture_does_not_depend_on_its_batch() {
    let device = Device::flex();
    let (model, text, quantizer) = (model(&device), text(&device), Bsq::new(D));
    let plan = Plan::stepwise(&config(), &schedule(), schedule().last(), &device);
    let run = |text: &TextCondition, seeds: &[u64]| -> Vec<Tensor<3, Int>> {
        let sampler = Sampler::new(SamplerConfig::default(), seeds);
        let options = GenerateOptions::constant(2.0, 0.8, 4);
        let input = GenerateInput {
            quantizer: &quantizer,
            plan: &plan,
            patching: Patching::Double,
            text: text.clone(),
            negative: None,
            options,
            sampler,
        };
        let steps = generate(&model, input);
        steps.map(|step| step.bits).collect()
    };
    let alone = TextCondition::new(text.features.clone().slice_dim(0, 1..2), vec![7]);
    let (both, alone) = (run(&text, &[1, 2]), run(&alone, &[2]));
    assert_eq!(both.len(), 4);
    for (both, alone) in both.into_iter().zip(alone) {
        let picture = both.slice_dim(0, 1..2).into_data();
        picture.assert_eq(&alone.into_data(), true);
    }
}

/// The run of two images, with guidance weights and what is left out.
fn run<'a>(model: &'a Infinity, weights: &[f64], shortcuts: Shortcuts) -> Generation<'a, Bsq> {
    let device = Device::flex();
    let plan = Plan::stepwise(&config(), &schedule(), schedule().last(), &device);
    let mut options = GenerateOptions::constant(1.0, 0.8, 4);
    options.guidance.weights = weights.to_vec();
    static QUANTIZER: LazyLock<Bsq> = LazyLock::new(|| Bsq::new(D));
    let input = GenerateInput {
        quantizer: &*QUANTIZER,
        plan: &plan.with_shortcuts(shortcuts),
        patching: Patching::Double,
        text: fixed_text(&device),
        negative: None,
        options,
        sampler: Sampler::new(SamplerConfig::default(), &[1, 2]),
    };
    generate(model, input)
}

/// Its steps.
fn steps(model: &Infinity, weights: &[f64], shortcuts: Shortcuts) -> Vec<Step> {
    run(model, weights, shortcuts).collect()
}

/// The same prompts each time.
fn fixed_text(device: &Device) -> TextCondition {
    let features = Tensor::<1, Int>::arange(0..2 * 7 * 128, device).float();
    let features = (features * 0.37).sin().reshape([2, 7, 128]);
    TextCondition::new(features, vec![4, 7])
}

/// Where no later scale is guided, the unconditional half is dropped, and nothing changes.
#[test]
fn guidance_that_ends_costs_nothing_after_its_end() {
    let device = Device::flex();
    let model = model(&device);
    let weights = [3.0, 3.0, 1.0, 1.0];
    let some = steps(&model, &weights, Shortcuts::none(4));
    let plan = Plan::stepwise(&config(), &schedule(), schedule().last(), &device);
    let text = fixed_text(&device);
    let both = text.concat(&model.unconditional(&text.lens));
    let mut state = model.start(&both, &plan);
    let mut guidance = Guidance::constant(3.0, 4);
    guidance.weights = weights.to_vec();
    let mut input = None;
    for step in some {
        let logits = model.forward_scale(step.k, input, &mut state, &plan, Some(&guidance));
        assert_eq!(far(logits / 0.8, step.logits), 0.0, "scale {}", step.k);
        input = step.next_input;
    }
    assert!(input.is_none());
}

#[test]
fn fewer_scales_are_the_first_ones() {
    let model = model(&Device::flex());
    let all = steps(&model, &[3.0; 4], Shortcuts::none(4));
    let fewer = steps(&model, &[3.0; 4], Shortcuts::new(3, &[]));
    assert_eq!((all.len(), fewer.len()), (4, 3));
    for (one, other) in all.iter().zip(&fewer) {
        assert_eq!(far(one.features.clone(), other.features.clone()), 0.0);
    }
    assert_eq!(fewer[2].features.dims(), [2, D, 1, 8, 6]);
    assert!(all[2].next_input.is_some() && fewer[2].next_input.is_none());
}

/// Tokens that are left out get what coarser ones got: nearly right, and the first scales stay as they are.
#[test]
fn scales_with_fewer_tokens() {
    let model = model(&Device::flex());
    let all = steps(&model, &[3.0; 4], Shortcuts::none(4));
    let pruned = steps(&model, &[3.0; 4], Shortcuts::new(4, &[0.7, 0.5]));
    for k in 0..2 {
        assert_eq!(far(all[k].logits.clone(), pruned[k].logits.clone()), 0.0);
    }
    let off: f32 = far(all[2].logits.clone(), pruned[2].logits.clone());
    let size: f32 = all[2].logits.clone().abs().mean().into_scalar();
    assert!(0.0 < off && off < 40.0 * size, "{off} of {size}");
    // With and without the unconditional half.
    let weights = [3.0, 3.0, 3.0, 1.0];
    let dropped = steps(&model, &weights, Shortcuts::new(4, &[0.7, 0.5]));
    assert_eq!(
        far(pruned[2].logits.clone(), dropped[2].logits.clone()),
        0.0
    );
    assert!(far(pruned[3].logits.clone(), dropped[3].logits.clone()) > 0.0);
}

/// A budget for the cache: with everything in it nothing changes, and with half of it the first scales stay as they are.
#[test]
fn a_smaller_cache() {
    let model = model(&Device::flex());
    let budget = |share: f64| Some(CacheBudget::new(share, vec![0]));
    let of = |weights: &[f64], share| {
        let shortcuts = Shortcuts::none(4).with_cache_budget(budget(share));
        steps(&model, weights, shortcuts)
    };
    let all = steps(&model, &[3.0; 4], Shortcuts::none(4));
    for (one, other) in all.iter().zip(of(&[3.0; 4], 1.0)) {
        assert_eq!(far(one.logits.clone(), other.logits), 0.0);
    }
    let half = of(&[3.0; 4], 0.5);
    assert_eq!(far(all[0].logits.clone(), half[0].logits.clone()), 0.0);
    assert!(far(all[3].logits.clone(), half[3].logits.clone()) > 0.0);
    // With and without the unconditional half, and with fewer tokens.
    let dropped = of(&[3.0, 3.0, 3.0, 1.0], 0.5);
    assert_eq!(far(half[2].logits.clone(), dropped[2].logits.clone()), 0.0);
    let pruned = Shortcuts::new(4, &[0.7, 0.5]).with_cache_budget(budget(0.5));
    assert_eq!(steps(&model, &[3.0; 4], pruned).len(), 4);
}

/// Attention is measured of every block at every scale but the first, and measuring changes nothing.
#[test]
fn selectivity_is_measured() {
    let model = model(&Device::flex());
    let all = steps(&model, &[3.0; 4], Shortcuts::none(4));
    let mut measured = run(&model, &[3.0; 4], Shortcuts::none(4)).measuring();
    let last = measured.by_ref().last().unwrap();
    assert_eq!(far(all[3].logits.clone(), last.logits), 0.0);
    let selectivity = measured.selectivity().unwrap();
    assert_eq!(selectivity.len(), model.depth());
    for values in selectivity {
        assert_eq!(values.len(), 3);
        assert!(
            values
                .iter()
                .all(|value| 0.0 < *value && *value <= 1.0 + 1e-6)
        );
    }
}

#[test]
fn every_parameter_learns() {
    let device = Device::flex().autodiff();
    let plan = Plan::teacher_forcing(&config(), &schedule(), schedule().last(), &device);
    all_learn(&device, &taught(&device), &plan);
    let plan = Plan::editing_teacher_forcing(&config(), &schedule(), schedule().last(), &device);
    let edits = taught(&device).of_source(source(&device), Patching::Double);
    all_learn(&device, &edits, &plan);
}

fn all_learn(device: &Device, taught: &TeacherForcing, plan: &Plan) {
    let model = model(device);
    let text = model.drop_condition(&text(device), &[true, false]);
    let weights = ScaleWeighting::Area.weights(&schedule(), device);
    let loss = loss(&model, taught, &text, plan, &weights).loss;
    let gradients = loss.backward();

    struct Count<'a>(&'a burn::tensor::Gradients, usize);
    impl burn::module::ModuleVisitor for Count<'_> {
        fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<N>>) {
            let gradient = param.grad(self.0).expect("a gradient for every parameter");
            assert!(gradient.abs().max().into_scalar::<f32>() > 0.0);
            self.1 += 1;
        }
    }
    let mut count = Count(&gradients, 0);
    model.visit(&mut count);
    assert_eq!(count.1, 22 + 3 * 22);
}

#[test]
fn margins_are_differences_of_logits() {
    let device = Device::flex();
    let (model, text, taught) = (model(&device), text(&device), taught(&device));
    let plan = Plan::teacher_forcing(&config(), &schedule(), schedule().last(), &device);
    let state = model.encode_text(&text);
    let x = model.forward_hidden(None, taught.inputs, &state, &plan);
    let ours = model.margins(x.clone(), state.cond.clone());
    let theirs = margins(model.logits(x, state.cond));
    assert!(far(ours, theirs) < 1e-4);
}

#[test]
fn half_precision_weights_stay_close() {
    struct Half;
    impl ModuleMapper for Half {
        fn map_float<const N: usize>(&mut self, param: Param<Tensor<N>>) -> Param<Tensor<N>> {
            param.map(|x| x.cast(burn::tensor::DType::BF16))
        }
    }
    let device = Device::flex();
    let (model, text, taught) = (model(&device), text(&device), taught(&device));
    let plan = Plan::teacher_forcing(&config(), &schedule(), schedule().last(), &device);
    let full = model.forward(taught.inputs.clone(), &text, &plan);
    let half = model.map(&mut Half).forward(taught.inputs, &text, &plan);
    let size: f32 = full.clone().abs().mean().into_scalar();
    assert_eq!(half.dtype(), burn::tensor::DType::F32);
    let error: f32 = (full - half).abs().mean().into_scalar();
    assert!(error < 0.1 * size, "{error} of {size}");
}

/// Streamed blocks change nothing; whole numbers of 8 bits little, but something.
#[test]
fn blocks_compute_the_same_wherever_they_are() {
    let device = Device::flex();
    let folder = std::env::temp_dir().join(format!("nextscale-blocks-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.safetensors");
    save_infinity(&config(), &model(&device), &path, WeightDtype::Bf16).unwrap();
    let (text, taught, last) = (text(&device), taught(&device), schedule().last());
    let plan = Plan::teacher_forcing(&config(), &schedule(), last, &device);
    let steps = Plan::stepwise(&config(), &schedule(), last, &device);
    let run = |blocks| {
        let file = WeightFile::open(&path).unwrap();
        let model = read_infinity(&config(), file, blocks, &device).unwrap();
        assert_eq!(model.depth(), 3);
        assert_eq!(model.blocks.is_empty(), blocks == BlockStorage::Streamed);
        let mut state = model.start(&text, &steps);
        let first = model.forward_scale(0, None, &mut state, &steps, None);
        (model.forward(taught.inputs.clone(), &text, &plan), first)
    };
    let (plain, first) = run(BlockStorage::Loaded);
    let (streamed, other) = run(BlockStorage::Streamed);
    assert_eq!(far(plain.clone(), streamed), 0.0);
    assert_eq!(far(first, other), 0.0);
    let (int8, _) = run(BlockStorage::Int8);
    let size: f32 = plain.clone().abs().mean().into_scalar();
    let off: f32 = (int8 - plain).abs().mean().into_scalar();
    assert!(off > 0.0 && off < 0.03 * size, "{off} of {size}");
    let mut file = WeightFile::open(&path).unwrap();
    file.forget(|name| name == "blocks.2.ffn.fc1.bias");
    let error = read_infinity(&config(), file, BlockStorage::Int8, &device).unwrap_err();
    assert!(
        error.to_string().contains("blocks.2.ffn.fc1.bias"),
        "{error}"
    );
    std::fs::remove_dir_all(&folder).unwrap();
}
