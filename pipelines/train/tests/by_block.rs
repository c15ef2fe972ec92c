//! Gradients that are computed block by block are those of the whole chain, for each kind of model; and those of adapters are
//! those of the weights that they change.

use std::cell::OnceCell;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::correction::SelfCorrection;
use nextscale_bitwise::infinity::{Infinity, InfinityConfig, Plan, TextCondition};
use nextscale_bitwise::tokens::{Patching, TeacherForcing};
use nextscale_bitwise::train::{InfinityChain, loss};
use nextscale_tokenizer::{Pyramid, Scale, ScaleSchedule};
use nextscale_var_core::attention::AttentionKind;
use nextscale_var_core::blocks::{Transformer, to_int8};
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::{
    Adapted, Adapters, Chain, LoraConfig, Loss, ScaleWeighting, Trained, Whole, gradients_by_block,
};
use nextscale_var_core::var::{self, Modulation, VarChain, VarConfig};
use nextscale_video::infinity_star::InfinityStar;
use nextscale_video::train::{self as star, InfinityStarChain, TeacherForcingPlan};
use nextscale_video::{CodeBits, InfinityStarConfig, Layout};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

fn number(x: Tensor<1>) -> f32 {
    x.into_scalar()
}

/// The largest difference of two sets of gradients, relative to the largest number of each; none may be missing.
struct Gap<'a> {
    both: [&'a GradientsParams; 2],
    most: f32,
    count: usize,
}

impl ModuleVisitor for Gap<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let [a, b] = self.both.map(|gradients| gradients.get::<D>(param.id));
        let (Some(a), Some(b)) = (&a, &b) else {
            assert_eq!(a.is_some(), b.is_some(), "a gradient is missing");
            return;
        };
        let size = number(a.clone().abs().max().reshape([1])).max(1e-7);
        let gap = number((a.clone() - b.clone()).abs().max().reshape([1]));
        self.most = self.most.max(gap / size);
        self.count += 1;
    }
}

fn gap<M: Module>(model: &M, a: &GradientsParams, b: &GradientsParams) -> f32 {
    let mut gap = Gap {
        both: [a, b],
        most: 0.0,
        count: 0,
    };
    model.visit(&mut gap);
    assert!(gap.count > 0, "there are no gradients");
    gap.most
}

/// The gradients of the whole loss.
fn whole<M: Module>(model: &M, loss: Tensor<1>) -> GradientsParams {
    GradientsParams::from_grads(loss.backward(), model)
}

fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    use rand::Rng as _;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// A copy whose weights are all redrawn, so that none is zero and every gradient is seen.
fn redrawn<M: Module>(model: M) -> M {
    struct Redraw(u64);
    impl burn::module::ModuleMapper for Redraw {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let seed = self.0;
            param.map(|old| old.clone() + random(old.dims(), seed) * 0.2)
        }
    }
    model.map(&mut Redraw(7))
}

fn bits_schedule() -> ScaleSchedule {
    ScaleSchedule::new(
        [(1, 1), (2, 1), (4, 3)]
            .map(|(h, w)| Scale::image(h, w))
            .to_vec(),
    )
    .unwrap()
}

fn infinity() -> (InfinityConfig, Infinity) {
    let config = InfinityConfig {
        width: 32,
        depth: 3,
        heads: 2,
        code_dim: 16,
        text_channels: 128,
        text_max_len: 9,
        mlp_ratio: 16.0,
        block_chunks: 1,
        levels: 5,
    };
    let model = redrawn(config.init(&Device::flex()));
    (config, model)
}

fn taught(source: bool) -> TeacherForcing {
    let cells = Patching::Double.cells(&bits_schedule());
    let quantizer = Bsq::new(4);
    let pyramid = Pyramid::plain(&quantizer);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let noise = SelfCorrection::default();
    let encoded = noise.encode(&pyramid, random([2, 4, 1, 8, 6], 1), &cells, &mut rng);
    let forcing = TeacherForcing::new(&pyramid, &encoded, &cells, Patching::Double);
    if source {
        return forcing.of_source(random([2, 4, 1, 8, 6], 2), Patching::Double);
    }
    forcing
}

fn text() -> TextCondition {
    TextCondition::new(random([2, 7, 128], 3), vec![4, 7])
}

fn infinity_chain<'a, V>(
    weights: &'a V,
    batch: &'a TeacherForcing,
    text: &'a TextCondition,
    plan: &'a Plan,
    token_weights: &'a Tensor<2>,
) -> InfinityChain<'a, V> {
    InfinityChain {
        weights,
        batch,
        text,
        drop: &[true, false],
        plan,
        token_weights,
        drop_path: None,
        right: OnceCell::new(),
    }
}

#[test]
fn infinity_block_by_block() {
    let device = Device::flex();
    let schedule = bits_schedule();
    let (config, model) = infinity();
    let model = model.train();
    for source in [false, true] {
        let make = if source {
            Plan::editing_teacher_forcing
        } else {
            Plan::teacher_forcing
        };
        let plan = make(&config, &schedule, schedule.last(), &device);
        let weights = ScaleWeighting::Area.weights(&schedule, &device);
        let (batch, text) = (taught(source), text());
        let view = Whole::default();
        let chain = infinity_chain(&view, &batch, &text, &plan, &weights);
        let (by_block, ours) = gradients_by_block(&chain, &model);
        let dropped = model.drop_condition(&text, chain.drop);
        let all = loss(&model, &batch, &dropped, &plan, &weights);
        let expected = number(all.loss.clone());
        assert!((number(by_block.total) - expected).abs() < 1e-5 * expected);
        let far = gap(&model, &whole(&model, all.loss), &ours);
        assert!(far < 1e-4, "{source}: gradients differ by {far}");
        let plain = number(chain.loss(&model).loss);
        assert!((plain - expected).abs() < 1e-5 * expected);
    }
}

fn var_parts(modulation: Modulation) -> (VarConfig, var::Var, var::TeacherForcing) {
    let config = VarConfig {
        width: 32,
        depth: 3,
        heads: 2,
        classes: 3,
        vocabulary: 7,
        channels: 4,
        schedule: ScaleSchedule::square(&[1, 2, 3]).unwrap(),
        mlp_ratio: 2.0,
        modulation,
        attention: AttentionKind::Cosine,
    };
    let device = Device::flex();
    let targets: Vec<i32> = (0..28).map(|i| i * 5 % 7).collect();
    let batch = var::TeacherForcing {
        inputs: random([2, 13, 4], 4),
        targets: Tensor::from_data(TensorData::new(targets, [2, 14]), &device),
    };
    let model = redrawn(config.init(&device));
    (config, model, batch)
}

#[test]
fn var_block_by_block() {
    let device = Device::flex();
    for modulation in [Modulation::Own, Modulation::Shared] {
        let (config, model, batch) = var_parts(modulation);
        let model = model.train();
        let plan = var::Plan::teacher_forcing(&config, &device);
        let weights = ScaleWeighting::Uniform.weights(&config.schedule, &device);
        let view = Whole::default();
        let chain = VarChain {
            weights: &view,
            batch: &batch,
            labels: &[1, 3],
            plan: &plan,
            token_weights: &weights,
            smoothing: 0.1,
            drop_path: None,
            right: OnceCell::new(),
        };
        let (by_block, ours) = gradients_by_block(&chain, &model);
        let all = var::loss(&model, &batch, &[1, 3], &plan, &weights, 0.1);
        let expected = number(all.loss.clone());
        assert!((number(by_block.total) - expected).abs() < 1e-5 * expected);
        let far = gap(&model, &whole(&model, all.loss), &ours);
        assert!(far < 1e-4, "{modulation:?}: gradients differ by {far}");
        assert!((number(chain.loss(&model).loss) - expected).abs() < 1e-5 * expected);
    }
}

#[test]
fn infinity_star_block_by_block() {
    let device = Device::flex();
    let config = InfinityStarConfig {
        width: 32,
        depth: 3,
        heads: 2,
        kv_heads: 1,
        mlp_hidden: 48,
        bits: CodeBits {
            semantic: 2,
            detail: 8,
        },
        text_channels: 6,
        text_max_len: 9,
        attention_bias: true,
        block_chunks: 1,
    };
    let layout = Layout {
        image_repeats: vec![1, 2],
        clip_repeats: vec![2, 1],
        semantic_scales: 1,
        clip_frames: 2,
    };
    let plan = nextscale_video::Plan::new(&layout, &[[1, 1], [2, 2]], 4).unwrap();
    let model = redrawn(config.init(&device)).train();
    let latent = random([2, 8, 4, 2, 2], 6);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let noise = Some((SelfCorrection::default(), &mut rng));
    let forcing = star::TeacherForcing::new(&plan, config.bits, latent, noise);
    let forced = TeacherForcingPlan::new(&plan, true, ScaleWeighting::Area, &device);
    let (text, lens) = (random([2, 3, 6], 8), [3, 2]);
    let view = Whole::<InfinityStar>::default();
    let own = (text.clone(), &lens[..]);
    let chain = InfinityStarChain::new(&view, &model, &forcing, own, &forced, Precision::F32);
    let (by_block, ours) = gradients_by_block(&chain, &model);
    let all = star::loss(&model, &forcing, text, &lens, &forced, Precision::F32);
    let expected = number(all.loss.clone());
    assert!((number(by_block.total) - expected).abs() < 1e-5 * expected);
    let far = gap(&model, &whole(&model, all.loss), &ours);
    assert!(far < 1e-4, "gradients differ by {far}");
    assert!((number(chain.loss(&model).loss) - expected).abs() < 1e-5 * expected);
}

/// Adapters with numbers in both matrices.
fn adapters<T: Transformer + Sync>(view: &Adapted<T>, config: &LoraConfig) -> Adapters {
    let autodiff = Device::flex().autodiff();
    let fresh = view.init(config, &autodiff).unwrap();
    redrawn(fresh.valid()).train()
}

#[test]
fn adapters_have_the_gradients_of_the_weights_that_they_change() {
    let device = Device::flex();
    let (config, model) = infinity();
    let schedule = bits_schedule();
    let plan = Plan::teacher_forcing(&config, &schedule, schedule.last(), &device);
    let weights = ScaleWeighting::Area.weights(&schedule, &device);
    let (batch, text) = (taught(false), text());
    let lora = LoraConfig {
        rank: 3,
        alpha: Some(6.0),
        targets: vec!["ca".into(), "fc2".into(), "mat_qkv".into()],
    };
    let view = Adapted::new(model.clone(), &lora).unwrap();
    assert_eq!(
        view.chosen(),
        ["sa.mat_qkv", "ca.mat_q", "ca.mat_kv", "ca.proj", "ffn.fc2"]
    );
    let trained = adapters(&view, &lora);
    let chain = infinity_chain(&view, &batch, &text, &plan, &weights);
    let (loss_of_adapters, ours) = gradients_by_block(&chain, &trained);

    // The same model with the products added to its weights.
    let merged = merged(&model, &trained, view.chosen()).train();
    let whole_view = Whole::default();
    let chain = infinity_chain(&whole_view, &batch, &text, &plan, &weights);
    let (loss, full) = gradients_by_block(&chain, &merged);
    let expected = number(loss.total);
    assert!((number(loss_of_adapters.total) - expected).abs() < 1e-5 * expected);

    // W + 2 down up: the gradient of `down` is 2 dW up^T, that of `up` is 2 down^T dW.
    let ffn = &merged.blocks[1].ffn.fc2.weight;
    let dw = full.get::<2>(ffn.id).unwrap();
    let fc2 = &trained.layers[5 + 4];
    let (down, up) = (fc2.down.val().inner(), fc2.up.val().inner());
    let near = |a: Tensor<2>, b: Tensor<2>| {
        let size = number(b.clone().abs().max().reshape([1]));
        number((a - b).abs().max().reshape([1])) < 1e-4 * size
    };
    let of_down = ours.get::<2>(fc2.down.id).unwrap();
    let of_up = ours.get::<2>(fc2.up.id).unwrap();
    assert!(near(of_down, dw.clone().matmul(up.transpose()) * 2.0));
    assert!(near(of_up, down.transpose().matmul(dw) * 2.0));
}

/// A copy of `model` with the adapters' products, times 2, added to its weights.
fn merged(model: &Infinity, adapters: &Adapters, chosen: &[&str]) -> Infinity {
    use nextscale_var_core::blocks::Block as _;
    let mut model = model.clone();
    let mut layers = adapters.layers.iter();
    for block in &mut model.blocks {
        let adapted = block.adaptable().into_iter();
        for (_, parts) in adapted.filter(|(name, _)| chosen.contains(name)) {
            let adapter = layers.next().unwrap();
            let product = adapter.down.val().inner().matmul(adapter.up.val().inner()) * 2.0;
            let mut from = 0;
            for part in parts {
                let to = from + part.weight.dims()[1];
                let own = product.clone().slice_dim(1, from..to);
                part.weight = part.weight.clone().map(|weight| weight + own);
                from = to;
            }
        }
    }
    model
}

/// A frozen model may be stored in fewer bits: the loss moves a little, and fresh adapters change nothing.
#[test]
fn a_frozen_model_may_be_in_16_or_8_bits() {
    let device = Device::flex();
    let (config, model) = infinity();
    let schedule = bits_schedule();
    let plan = Plan::teacher_forcing(&config, &schedule, schedule.last(), &device);
    let weights = ScaleWeighting::Area.weights(&schedule, &device);
    let (batch, text) = (taught(false), text());
    let lora = LoraConfig::default();
    let exact = number(loss(&model, &batch, &text, &plan, &weights).loss);
    let run = |base: Infinity| {
        let view = Adapted::new(base, &lora).unwrap();
        let trained = view.init(&lora, &Device::flex().autodiff()).unwrap();
        let chain = InfinityChain {
            drop: &[false, false],
            ..infinity_chain(&view, &batch, &text, &plan, &weights)
        };
        let (Loss { total, .. }, gradients) = gradients_by_block(&chain, &trained);
        // Nothing comes through a second matrix of zeros.
        let first = &trained.layers[0];
        let size = |x: Option<Tensor<2>>| number(x.unwrap().abs().max().reshape([1]));
        assert_eq!(size(gradients.get(first.down.id)), 0.0);
        assert!(size(gradients.get(first.up.id)) > 0.0);
        number(total)
    };
    assert!((run(model.clone()) - exact).abs() < 1e-5 * exact);
    let int8 = to_int8(model, burn::tensor::DType::BF16, &device);
    let off = (run(int8) - exact).abs();
    assert!(off > 0.0 && off < 0.02 * exact, "off by {off} of {exact}");
}

#[test]
fn an_unknown_target_is_named_with_what_there_is() {
    let (_, model) = infinity();
    let wrong = LoraConfig {
        targets: vec!["to_q".into()],
        ..LoraConfig::default()
    };
    let error = Adapted::new(model, &wrong).unwrap_err();
    assert!(
        error.contains("`to_q`") && error.contains("sa.mat_qkv"),
        "{error}"
    );
    // A chain reads what is trained; the view of a whole model is trained everywhere.
    assert!(Whole::<Infinity>::default().trains_top());
}

#[test]
fn depth_is_that_of_the_frozen_model() {
    let (_, model) = infinity();
    let view = Adapted::new(model, &LoraConfig::default()).unwrap();
    let trained = adapters(&view, &LoraConfig::default());
    assert_eq!(trained.layers.len(), 3 * 7);
    let _: Tensor<1> = Tensor::random([1], Distribution::Default, &Device::flex());
    let (batch, text) = (taught(false), text());
    let (config, schedule) = (infinity().0, bits_schedule());
    let plan = Plan::teacher_forcing(&config, &schedule, schedule.last(), &Device::flex());
    let weights = ScaleWeighting::Area.weights(&schedule, &Device::flex());
    let chain = infinity_chain(&view, &batch, &text, &plan, &weights);
    assert_eq!(chain.depth(&trained), 3);
}
