//! A fourth architecture, *Sketch*, built outside the model crates as docs/architecture.md says under "Adding a model": a
//! transformer without conditions that draws the bits of a tokenizer.
//!
//! What it writes out is its own: the configuration, the block, the passes, the loop, the names in its files and its loss.
//! What it shares comes from the crates: attention, rotary positions, cache, sampler, pyramid, weight files, the training
//! engine. Only the entry in the enums of `pipelines/models` cannot be made from outside.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Tensor};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::tokens::{Patching, TeacherForcing};
use nextscale_bitwise::train::{loss_per_token, margins};
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_tokenizer::{Codes, Pyramid, ScaleSchedule};
use nextscale_var_core::attention::{
    AttentionKind, PassContext, SelfAttention, SelfAttentionConfig,
};
use nextscale_var_core::cache::KvCache;
use nextscale_var_core::layers::{FeedForward, Linear, linear, normalize, project};
use nextscale_var_core::mask::BlockCausal;
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::rope::{RopeTable, THETA, grid_positions};
use nextscale_var_core::sampler::{Sampler, SamplerConfig};
use nextscale_var_core::train::{Batches, Loss, Observed, Outcome, Task, TrainOptions, Trainer};
use nextscale_weights::{Export, Layout, Rule, WeightDtype, WeightError, WeightFile, rule};

const TOKENS: Patching = Patching::Single;

// 1. The configuration holds what changes shapes or mathematics.

#[derive(Debug, Clone)]
struct SketchConfig {
    width: usize,
    depth: usize,
    heads: usize,
    bits: usize,
    schedule: ScaleSchedule,
}

// 2. The model: its block is written out, its parts are shared.

#[derive(Module, Debug)]
struct Block {
    attn: SelfAttention,
    ffn: FeedForward,
}

impl Block {
    fn init(config: &SketchConfig, device: &Device) -> Self {
        let (width, depth) = (config.width, config.depth);
        let attention = SelfAttentionConfig {
            width,
            heads: config.heads,
            kind: AttentionKind::Cosine,
            depth,
            init_std: 0.1,
        };
        Self {
            attn: SelfAttention::init(&attention, device),
            ffn: FeedForward::init(width, 4 * width, 0.1, depth, device),
        }
    }

    /// `[b, l, C]` to `[b, l, C]`.
    fn forward(
        &self,
        x: Tensor<3>,
        pass: PassContext,
        cache: impl FnOnce(Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        let x = x.clone() + self.attn.forward(normalize(x), pass, cache);
        x.clone() + self.ffn.forward(normalize(x), pass.precision)
    }
}

#[derive(Module, Debug)]
struct Sketch {
    start: Param<Tensor<3>>,
    word_embed: Linear,
    blocks: Vec<Block>,
    head: Linear,
}

/// What a schedule fixes: positions, and who sees whom when all scales are in one pass.
struct Plan {
    schedule: ScaleSchedule,
    rope: RopeTable,
    causal: BlockCausal,
}

impl Plan {
    fn new(config: &SketchConfig, device: &Device) -> Self {
        let schedule = config.schedule.clone();
        let positions = grid_positions(&schedule, schedule.last());
        Self {
            rope: RopeTable::new(&positions, config.width / config.heads, THETA, device),
            causal: BlockCausal::new(&schedule, device),
            schedule,
        }
    }
}

impl Sketch {
    fn init(config: &SketchConfig, device: &Device) -> Self {
        let (c, d) = (config.width, config.bits);
        let start = Tensor::random([1, 1, c], Distribution::Normal(0.0, 0.1), device);
        Self {
            start: Param::from_tensor(start),
            word_embed: linear(d, c, true, 0.3, device),
            blocks: (0..config.depth)
                .map(|_| Block::init(config, device))
                .collect(),
            head: linear(c, 2 * d, true, 0.1, device),
        }
    }

    fn start(&self, b: usize) -> Tensor<3> {
        self.start.val().repeat_dim(0, b)
    }

    fn logits(&self, x: Tensor<3>) -> Tensor<3> {
        project(normalize(x), &self.head)
    }

    /// Teacher forcing: inputs `[b, l - 1, d]` to logits `[b, l, 2 d]`.
    fn forward(&self, inputs: Tensor<3>, plan: &Plan) -> Tensor<3> {
        let b = inputs.dims()[0];
        let x = Tensor::cat(vec![self.start(b), project(inputs, &self.word_embed)], 1);
        let pass = PassContext {
            rope: Some(&plan.rope),
            causal: Some(&plan.causal),
            precision: Precision::F32,
            share: None,
        };
        let blocks = self.blocks.iter();
        self.logits(blocks.fold(x, |x, block| block.forward(x, pass, |k, v| (k, v))))
    }

    /// One scale after those in the cache: input `[b, n, d]`, none for the first, to logits `[b, n, 2 d]`.
    fn forward_scale(
        &self,
        k: usize,
        input: Option<Tensor<3>>,
        cache: &mut KvCache,
        plan: &Plan,
    ) -> Tensor<3> {
        let tokens = plan.schedule.scales()[k].tokens();
        let rope = plan.rope.slice(plan.schedule.offsets()[k], tokens);
        let pass = PassContext {
            rope: Some(&rope),
            causal: None,
            precision: Precision::F32,
            share: None,
        };
        let mut x = match input {
            Some(input) => project(input, &self.word_embed),
            None => self.start(1),
        };
        for (layer, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, pass, |k, v| cache.append(layer, k, v));
        }
        self.logits(x)
    }
}

// 3. The visible loop: an iterator of scales.

struct Step {
    logits: Tensor<3>,
    codes: Codes,
    features: Tensor<5>,
}

struct Generation<'a> {
    model: &'a Sketch,
    plan: &'a Plan,
    pyramid: Pyramid<'a, Bsq>,
    sampler: Sampler,
    cache: KvCache,
    features: Option<Tensor<5>>,
    k: usize,
}

fn generate<'a>(
    model: &'a Sketch,
    plan: &'a Plan,
    bsq: &'a Bsq,
    sampler: Sampler,
) -> Generation<'a> {
    Generation {
        model,
        plan,
        pyramid: Pyramid::plain(bsq),
        sampler,
        cache: KvCache::new(model.blocks.len(), plan.schedule.tokens()),
        features: None,
        k: 0,
    }
}

impl Iterator for Generation<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let (k, schedule) = (self.k, &self.plan.schedule);
        let &scale = schedule.scales().get(k)?;
        let sum = self.features.take();
        let input = sum.clone().map(|sum| self.pyramid.input(sum, scale));
        let input = input.map(|cells| TOKENS.to_tokens(cells));
        let logits = self
            .model
            .forward_scale(k, input, &mut self.cache, self.plan);
        let bits = self.sampler.sample_bits(logits.clone());
        let codes = Codes::Bits(TOKENS.to_cells(bits, scale));
        let features = self.pyramid.accumulate(sum, &codes, k, schedule);
        self.features = Some(features.clone());
        self.k += 1;
        Some(Step {
            logits,
            codes,
            features,
        })
    }
}

// 4. The names in its files, and strict loading.

const TOP: [Rule; 5] = [
    rule("sos", &["start"]),
    rule("embed.weight", &["word_embed.weight"]),
    rule("embed.bias", &["word_embed.bias"]),
    rule("out.weight", &["head.weight"]),
    rule("out.bias", &["head.bias"]),
];

const BLOCK: [Rule; 10] = [
    rule(
        "qkv.weight",
        &["attn.q.weight", "attn.k.weight", "attn.v.weight"],
    ),
    rule("q.bias", &["attn.q.bias"]),
    rule("v.bias", &["attn.v.bias"]),
    rule("log_scale", &["attn.log_scale"]),
    rule("o.weight", &["attn.proj.weight"]),
    rule("o.bias", &["attn.proj.bias"]),
    rule("up.weight", &["ffn.fc1.weight"]),
    rule("up.bias", &["ffn.fc1.bias"]),
    rule("down.weight", &["ffn.fc2.weight"]),
    rule("down.bias", &["ffn.fc2.bias"]),
];

fn load(config: &SketchConfig, path: &Path, device: &Device) -> Result<Sketch, WeightError> {
    let mut file = WeightFile::open(path)?;
    file.rename(&TOP, "", "");
    file.rename_blocks(config.depth, &BLOCK)?;
    let mut model = Sketch::init(config, device);
    file.apply(&mut model)?;
    Ok(model)
}

fn save(config: &SketchConfig, model: &Sketch, path: &Path) -> Result<(), WeightError> {
    let mut export = Export::new(model, path, Layout::PyTorch, WeightDtype::F32);
    export.add(&TOP, "", "", config.width)?;
    export.add_blocks(&BLOCK, config.depth, 1, config.width)?;
    export.write()
}

// 5. The loss, for the training engine.

struct SketchTask {
    config: SketchConfig,
    device: Device,
}

/// The same latents in every step: `[b, d, 1, h, w]`.
struct Latents(Tensor<5>);

impl Batches for Latents {
    type Batch = Tensor<5>;

    fn batch(&mut self, _step: u64) -> Tensor<5> {
        self.0.clone()
    }
}

fn teach(latents: Tensor<5>, config: &SketchConfig) -> TeacherForcing {
    let bsq = Bsq::new(config.bits);
    let pyramid = Pyramid::plain(&bsq);
    let encoded = pyramid.encode(latents, &config.schedule);
    TeacherForcing::new(&pyramid, &encoded, &config.schedule, TOKENS)
}

impl Task for SketchTask {
    type Model = Sketch;
    type Batch = Tensor<5>;

    fn gradients(&self, model: &Sketch, latents: Tensor<5>) -> (Loss, GradientsParams) {
        let examples = latents.dims()[0];
        let taught = teach(latents, &self.config);
        let plan = Plan::new(&self.config, &self.device);
        let logits = model.forward(Tensor::from_inner(taught.inputs), &plan);
        let loss = Loss {
            total: loss_per_token(margins(logits), Tensor::from_inner(taught.bits)).mean(),
            parts: Vec::new(),
            examples,
        };
        loss.gradients(model)
    }
}

fn config() -> SketchConfig {
    SketchConfig {
        width: 32,
        depth: 2,
        heads: 2,
        bits: 4,
        schedule: ScaleSchedule::square(&[1, 2, 4]).unwrap(),
    }
}

fn latents(b: usize) -> Tensor<5> {
    let normal = Distribution::Normal(0.0, 1.0);
    Tensor::random([b, 4, 1, 4, 4], normal, &Device::flex())
}

fn largest(x: Tensor<3>) -> f32 {
    x.abs().max().into_scalar()
}

#[test]
fn logits_with_the_cache_are_those_of_teacher_forcing() {
    let (config, device) = (config(), Device::flex());
    let (model, plan) = (Sketch::init(&config, &device), Plan::new(&config, &device));
    let bsq = Bsq::new(config.bits);
    let sampler = Sampler::new(SamplerConfig::default(), &[7]);
    let steps: Vec<Step> = generate(&model, &plan, &bsq, sampler).collect();
    let codes: Vec<Codes> = steps.iter().map(|step| step.codes.clone()).collect();
    let pyramid = Pyramid::plain(&bsq);
    let inputs = pyramid.inputs(&codes, &config.schedule).into_iter();
    let inputs = Tensor::cat(inputs.map(|cells| TOKENS.to_tokens(cells)).collect(), 1);
    let stepwise = Tensor::cat(steps.iter().map(|step| step.logits.clone()).collect(), 1);
    let off = largest(model.forward(inputs, &plan) - stepwise);
    assert!(off < 1e-4, "{off}");
}

#[test]
fn a_seed_gives_an_image() {
    let (config, device) = (config(), Device::flex());
    let (model, plan) = (Sketch::init(&config, &device), Plan::new(&config, &device));
    let vae = BsqVaeConfig {
        norm_groups: Some(4),
        ..BsqVaeConfig::new(config.bits, 8, &[1, 2], 1)
    };
    let (vae, bsq) = (vae.init(&device), Bsq::new(config.bits));
    let image = |seed: u64| {
        let sampler = Sampler::new(SamplerConfig::default(), &[seed]);
        let last = generate(&model, &plan, &bsq, sampler).last().unwrap();
        vae.decode(last.features).into_data()
    };
    assert_eq!(image(7).shape().to_vec(), [1, 3, 8, 8]);
    assert_eq!(image(7), image(7));
    assert_ne!(image(7), image(8));
}

#[test]
fn its_files_are_read_strictly() {
    let (config, device) = (config(), Device::flex());
    let (model, plan) = (Sketch::init(&config, &device), Plan::new(&config, &device));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sketch.safetensors");
    save(&config, &model, &path).unwrap();
    let read = load(&config, &path, &device).unwrap();
    let inputs = teach(latents(1), &config).inputs;
    let off = largest(read.forward(inputs.clone(), &plan) - model.forward(inputs, &plan));
    assert_eq!(off, 0.0);
    let deeper = SketchConfig { depth: 3, ..config };
    let error = load(&deeper, &path, &device).unwrap_err();
    assert!(error.to_string().contains("blocks.2."), "{error}");
}

#[test]
fn the_engine_trains_it() {
    let (config, device) = (config(), Device::flex().autodiff());
    let model = Sketch::init(&config, &device);
    let task = SketchTask { config, device };
    let options = r#"{ "budget": { "steps": 60 }, "log_every": 1,
        "learning_rate": { "peak": 0.01, "warmup_steps": 3 } }"#;
    let options: TrainOptions = serde_json::from_str(options).unwrap();
    let run = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::resume_or_start(task, model, options, run.path()).unwrap();
    let mut losses = Vec::new();
    let mut observe = |seen: Observed<'_>| {
        if let Observed::Line(line) = seen {
            losses.push(line.loss);
        }
    };
    let batches = Latents(latents(4));
    let outcome = trainer
        .run(batches, &AtomicBool::new(false), &mut observe)
        .unwrap();
    assert_eq!(outcome, Outcome::Finished);
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.7 * first, "{first} to {last}");
}
