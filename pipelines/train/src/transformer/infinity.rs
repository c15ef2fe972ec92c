//! `nextscale train transformer`: an Infinity transformer and its text encoder, together, on the
//! codes of a tokenizer that was trained before and stays as it is.
//!
//! Each picture gets a random caption, a random small change and, for bitwise self-correction,
//! random mistakes in its codes; one prompt in ten is replaced by the unconditional one.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::correction::SelfCorrection;
use nextscale_bitwise::infinity::{Infinity, InfinityConfig, Plan, TextCondition};
use nextscale_bitwise::tokens::{Patching, TeacherForcing};
use nextscale_bitwise::train::{BitLoss, loss};
use nextscale_bitwise::vae::BsqVae;
use nextscale_text::encoder::encode_tokens;
use nextscale_text::{T5Config, T5Encoder, TokenBatch, Vocab, train_unigram};
use nextscale_tokenizer::{Pyramid, Scale, ScaleSchedule};
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::ScaleWeighting;
use nextscale_var_core::train::{Batches, Loss, Task, TrainOptions};
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::batches::images::{Augment, held_out_batch};
use crate::shuffle::{Order, stream};
use crate::transformer::TransformerKind;
use nextscale_data::{Dataset, captions};
use nextscale_models::sampling::Sampling;

/// What `nextscale train transformer` reads for a model of prompts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformerRun {
    /// [`TransformerKind::Infinity`].
    #[serde(default)]
    pub kind: TransformerKind,
    /// Folder of the pictures, as `nextscale data build` made it.
    pub data: PathBuf,
    /// Folder of the tokenizer's run.
    pub tokenizer: PathBuf,
    /// Folder of a transformer's run whose transformer is the start of this one; the text encoder starts afresh.
    #[serde(default)]
    pub transformer_of: Option<PathBuf>,
    /// Folder of a run whose whole model, text encoder and vocabulary included, is the start of this one.
    #[serde(default)]
    pub continues: Option<PathBuf>,
    /// How much the pictures count that answer a plain prompt.
    #[serde(default)]
    pub plain: Plain,
    /// Share of pictures that show two things beside each other, 0 to 1: unlimited compositions of the same concepts.
    #[serde(default)]
    pub scenes: f64,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Pictures a step.
    pub batch: usize,
    /// How pictures are varied.
    #[serde(default)]
    pub augment: Augment,
    /// Height and width of every scale in tokens.
    pub scales: Vec<(usize, usize)>,
    /// Cells a token.
    pub patching: Patching,
    /// Sizes of the text encoder.
    pub text: TextSizes,
    /// Sizes of the transformer.
    pub model: ModelSizes,
    /// How much the tokens of each scale count.
    #[serde(default)]
    pub weighting: ScaleWeighting,
    /// Mistakes that the transformer learns to repair.
    #[serde(default)]
    pub correction: SelfCorrection,
    /// How the finished model samples unless told otherwise.
    #[serde(default = "default_sampling")]
    pub sampling: Sampling,
    /// What the finished model is called.
    #[serde(default)]
    pub name: String,
    /// What the finished model paints, what it was trained on, and its licence.
    #[serde(default)]
    pub about: String,
    /// In which numbers the blocks' matrix products multiply: `bf16` halves their time on CPUs that have it.
    #[serde(default)]
    pub precision: Precision,
    /// Share of prompts that are replaced by the unconditional one.
    #[serde(default = "default_drop")]
    pub condition_drop: f64,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

pub(super) fn default_drop() -> f64 {
    0.1
}

fn default_sampling() -> Sampling {
    Sampling {
        cfg: 3.0,
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
    }
}

/// How often training shows the one picture of a concept that answers its plain name, and how often under that name.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plain {
    /// How many times an epoch shows such a picture; every other picture is shown once.
    pub repeat: usize,
    /// Chance that its caption leaves the style out, 0 to 1.
    pub captions: f64,
}

impl Default for Plain {
    fn default() -> Self {
        Self {
            repeat: 1,
            captions: captions::PLAIN,
        }
    }
}

/// Sizes of a text encoder that is trained from scratch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSizes {
    /// Most entries of the vocabulary, which is learned from the captions.
    pub vocabulary: usize,
    /// Most tokens of a prompt, the end mark included.
    pub max_len: usize,
    /// Feature width; a multiple of 128.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden units of the feed-forward.
    pub hidden: usize,
    /// Deviation of fresh embeddings.
    #[serde(default = "default_embedding")]
    pub embedding_std: f64,
}

fn default_embedding() -> f64 {
    0.05
}

impl TextSizes {
    /// The text encoder's shapes with a vocabulary of `size` entries.
    pub fn config(&self, size: usize) -> T5Config {
        T5Config::new(size, self.width, self.depth, self.heads, self.hidden)
    }

    /// Refuses sizes that don't fit together.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> anyhow::Result<()> {
        let (width, heads) = (self.width, self.heads);
        ensure!(
            width > 0 && width.is_multiple_of(128),
            "text.width: {width} is no multiple of 128"
        );
        ensure!(
            heads > 0 && width.is_multiple_of(heads),
            "text.heads: {heads} heads don't divide the width {width}"
        );
        Ok(())
    }
}

/// Sizes of the transformer; the rest follows from the tokenizer and the text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSizes {
    /// Numbers a token.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden units of the feed-forward over the width.
    #[serde(default = "default_ratio")]
    pub mlp_ratio: f64,
}

fn default_ratio() -> f64 {
    4.0
}

impl TransformerRun {
    /// The schedule in tokens.
    ///
    /// # Errors
    /// When the scales are no schedule.
    pub fn schedule(&self) -> anyhow::Result<ScaleSchedule> {
        let scales = self.scales.iter().map(|&(h, w)| Scale::new(1, h, w));
        ScaleSchedule::new(scales.collect()).context("scales")
    }

    /// The transformer's shapes on a tokenizer of `bits` bits a cell.
    pub fn model_config(&self, bits: usize) -> InfinityConfig {
        InfinityConfig {
            width: self.model.width,
            depth: self.model.depth,
            heads: self.model.heads,
            code_dim: self.patching.code_dim(bits),
            text_channels: self.text.width,
            text_max_len: self.text.max_len,
            mlp_ratio: self.model.mlp_ratio,
            block_chunks: 1,
            levels: 15,
        }
    }

    /// The text encoder's shapes with a vocabulary of `size` entries.
    pub fn text_config(&self, size: usize) -> T5Config {
        self.text.config(size)
    }

    /// A fresh model for a tokenizer of `bits` bits a cell and a vocabulary of `size` entries, on an autodiff device;
    /// or what [`TransformerRun::transformer_of`] or [`TransformerRun::continues`] names.
    ///
    /// # Errors
    /// When that run has no checkpoint or a model of other sizes, or both are given.
    pub fn start(&self, bits: usize, size: usize, device: &Device) -> anyhow::Result<Painter> {
        let text = self.text_config(size);
        let fresh = text.init_with(self.text.embedding_std, device);
        let (key, from) = match (&self.transformer_of, &self.continues) {
            (None, None) => {
                let transformer = self.model_config(bits).init(device);
                return Ok(Painter {
                    text: fresh,
                    transformer,
                });
            }
            (Some(from), None) => ("transformer_of", from),
            (None, Some(from)) => ("continues", from),
            (Some(_), Some(_)) => bail!("transformer_of and continues exclude each other"),
        };
        let (source, checkpoint): (Self, _) = crate::config::source(key, from)?;
        let sizes = |run: &Self| (run.model_config(bits), run.patching, run.scales.clone());
        ensure!(
            sizes(&source) == sizes(self),
            "{key}: the transformer of `{}` has other sizes or scales than this configuration",
            from.display()
        );
        let vocab = Vocab::from_file(from.join(crate::run_folder::VOCABULARY))?;
        let source = source.text_config(vocab.size());
        ensure!(
            self.continues.is_none() || source == text,
            "continues: the text encoder of `{}` has other sizes than this configuration",
            from.display()
        );
        let trained: Painter = checkpoint.average(Painter {
            text: source.init(device),
            transformer: self.model_config(bits).init(device),
        })?;
        Ok(match self.continues {
            Some(_) => trained,
            None => Painter {
                text: fresh,
                ..trained
            },
        })
    }

    /// Refuses sizes that don't fit together.
    ///
    /// # Errors
    /// When the schedule is not that of the tokenizer, or a size contradicts another.
    pub fn check(&self, cells: &ScaleSchedule) -> anyhow::Result<()> {
        let schedule = self.schedule()?;
        ensure!(
            self.patching.cells(&schedule) == *cells,
            "scales: {:?} with patching {:?} don't cover the tokenizer's scales {:?}",
            self.scales,
            self.patching,
            cells.scales()
        );
        let (text, model) = (self.text, self.model);
        text.check()?;
        ensure!(
            model.heads > 0 && model.width.is_multiple_of(4 * model.heads),
            "model.heads: the width {} does not split into {} heads of a multiple of 4",
            model.width,
            model.heads
        );
        ensure!(
            model.width.is_multiple_of(text.width / 128),
            "model.width: {} does not split into the {} heads of the text pool (text.width / 128)",
            model.width,
            text.width / 128
        );
        ensure!(self.batch > 0, "batch must be at least 1");
        ensure!(
            (0.0..=1.0).contains(&self.scenes),
            "scenes: {} is no share between 0 and 1",
            self.scenes
        );
        ensure!(self.plain.repeat > 0, "plain.repeat must be at least 1");
        ensure!(
            (0.0..=1.0).contains(&self.plain.captions),
            "plain.captions: {} is no chance between 0 and 1",
            self.plain.captions
        );
        Ok(())
    }
}

/// Learns a vocabulary from the captions that training may see, four of each picture.
///
/// # Errors
/// When `size` has no room for the letters.
pub fn learn_vocabulary(set: &Dataset, seed: u64, size: usize) -> anyhow::Result<Vocab> {
    let mut texts = Vec::new();
    for index in set.train_ids() {
        let mut rng = stream(seed ^ 0x776f_7264, index as u64);
        texts.push(captions::canonical(set.entry(index)));
        texts.extend((0..3).map(|_| set.caption(index, captions::PLAIN, &mut rng).0));
    }
    Ok(train_unigram(texts, size)?)
}

/// All that is trained.
#[derive(Module, Debug)]
pub struct Painter {
    /// Prompt to features.
    pub text: T5Encoder,
    /// Features and earlier scales to bits.
    pub transformer: Infinity,
}

/// Pictures, prompts and what chance decided about them.
pub struct CaptionedBatch {
    pixels: Vec<f32>,
    prompts: TokenBatch,
    drop: Vec<bool>,
    rng: ChaCha8Rng,
}

/// Makes [`CaptionedBatch`]es.
pub struct CaptionedBatches {
    set: Arc<Dataset>,
    vocab: Vocab,
    order: Order,
    train_ids: Vec<usize>,
    run: TransformerRun,
}

impl CaptionedBatches {
    /// Batches of the pictures that are not held out.
    pub fn new(set: Arc<Dataset>, vocab: Vocab, run: TransformerRun) -> Self {
        let repeat = |&index: &usize| match set.entry(index).plain {
            true => run.plain.repeat,
            false => 1,
        };
        let train_ids = set.train_ids();
        let ids = train_ids
            .iter()
            .flat_map(|id| vec![*id; repeat(id)])
            .collect();
        let order = Order::new(run.seed, ids);
        Self {
            set,
            vocab,
            order,
            train_ids,
            run,
        }
    }
}

impl CaptionedBatches {
    /// Appends picture `index` beside another one of its style, on white, to `pixels`; returns the caption.
    fn scene(&self, index: usize, rng: &mut ChaCha8Rng, pixels: &mut Vec<f32>) -> String {
        let first = self.set.entry(index);
        let fits = |other: &usize| {
            let entry = self.set.entry(*other);
            entry.style == first.style && entry.name != first.name
        };
        // A style of one picture is beside itself.
        let others: Vec<usize> = self.train_ids.iter().copied().filter(fits).collect();
        let other = others.choose(rng).copied().unwrap_or(index);
        let (relation, towards) = captions::RELATIONS[rng.random_range(0..4)];
        let picture = self.set.pair(index, other, towards, captions::WHITE);
        crate::batches::images::append(&picture, pixels);
        captions::pair(first, relation, self.set.entry(other))
    }
}

impl Batches for CaptionedBatches {
    type Batch = CaptionedBatch;

    fn batch(&mut self, step: u64) -> CaptionedBatch {
        let mut rng = stream(self.run.seed ^ 0x7465_7874, step);
        let count = self.run.batch;
        let mut pixels = Vec::with_capacity(count * 3 * self.set.size() * self.set.size());
        let (mut texts, mut drop) = (Vec::new(), Vec::new());
        for slot in 0..count as u64 {
            let index = self.order.at(step * count as u64 + slot);
            if self.run.scenes > 0.0 && rng.random_bool(self.run.scenes) {
                texts.push(self.scene(index, &mut rng, &mut pixels));
                drop.push(rng.random_bool(self.run.condition_drop));
                continue;
            }
            let (text, background) = self.set.caption(index, self.run.plain.captions, &mut rng);
            self.run
                .augment
                .append(&self.set, index, background, &mut rng, &mut pixels);
            texts.push(text);
            drop.push(rng.random_bool(self.run.condition_drop));
        }
        CaptionedBatch {
            pixels,
            prompts: tokens(&self.vocab, &texts),
            drop,
            rng,
        }
    }
}

/// Every text has tokens: unknown letters become the unknown token.
pub(super) fn tokens(vocab: &Vocab, texts: &[String]) -> TokenBatch {
    vocab
        .batch(texts)
        .expect("captions are plain text and never an empty list")
}

/// What is logged of held-out examples: their loss and their share of right bits.
pub(super) fn held_out(bits: BitLoss) -> Vec<(&'static str, f64)> {
    let number = |tensor: Tensor<1>| f64::from(tensor.into_scalar::<f32>());
    vec![
        ("held_out_loss", number(bits.loss)),
        ("held_out_right", number(bits.right.mean())),
    ]
}

/// The task.
pub struct TransformerTask {
    correction: SelfCorrection,
    patching: Patching,
    cells: ScaleSchedule,
    bsq: Bsq,
    vae: BsqVae,
    plan: Plan,
    weights: Tensor<2>,
    size: usize,
    held_out: (Vec<f32>, TokenBatch),
}

impl TransformerTask {
    /// The task of a run; `vae` and `device` are without autodiff.
    ///
    /// # Errors
    /// When the scales are no schedule.
    pub fn new(
        run: &TransformerRun,
        vae: BsqVae,
        vocab: &Vocab,
        set: &Dataset,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let schedule = run.schedule()?;
        let (ids, pixels) = held_out_batch(set, 64);
        let texts: Vec<String> = ids
            .iter()
            .map(|&index| captions::canonical(set.entry(index)))
            .collect();
        let config = run.model_config(vae.bits);
        Ok(Self {
            correction: run.correction,
            patching: run.patching,
            cells: run.patching.cells(&schedule),
            bsq: vae.quantizer(),
            plan: Plan::teacher_forcing(&config, &schedule, schedule.last(), device)
                .with_precision(run.precision),
            weights: run.weighting.weights(&schedule, device),
            size: set.size(),
            held_out: (pixels, tokens(vocab, &texts)),
            vae,
        })
    }

    /// Pixels to teacher forcing, without autodiff; `rng` makes the mistakes to be repaired.
    fn forcing(&self, pixels: Vec<f32>, rng: Option<&mut ChaCha8Rng>) -> TeacherForcing {
        let side = self.size;
        let shape = [pixels.len() / (3 * side * side), 3, side, side];
        let device = self.weights.device();
        let pixels = Tensor::from_data(TensorData::new(pixels, shape), &device);
        let pyramid = Pyramid::plain(&self.bsq);
        let latent = self.vae.encode(pixels);
        let encoded = match rng {
            Some(rng) => self.correction.encode(&pyramid, latent, &self.cells, rng),
            None => pyramid.encode(latent, &self.cells),
        };
        TeacherForcing::new(&pyramid, &encoded, &self.cells, self.patching)
    }

    fn bits(
        &self,
        model: &Painter,
        forcing: &TeacherForcing,
        prompts: &TokenBatch,
        drop: &[bool],
    ) -> BitLoss {
        let features = encode_tokens(&model.text, prompts);
        let text = TextCondition::new(features.features, features.lens);
        let text = model.transformer.drop_condition(&text, drop);
        loss(
            &model.transformer,
            forcing,
            &text,
            &self.plan,
            &self.weights,
        )
    }
}

impl Task for TransformerTask {
    type Model = Painter;
    type Batch = CaptionedBatch;

    fn loss(&self, model: &Painter, mut batch: CaptionedBatch) -> Loss {
        let examples = batch.drop.len();
        let forcing = self.forcing(batch.pixels, Some(&mut batch.rng));
        let bits = self.bits(model, &forcing, &batch.prompts, &batch.drop);
        Loss {
            total: bits.loss,
            parts: vec![("right", bits.right.mean())],
            examples,
        }
    }

    /// Loss and share of right bits on held-out pictures with their usual captions and without
    /// mistakes to repair.
    fn evaluate(&self, average: &Painter) -> Vec<(&'static str, f64)> {
        let (pixels, prompts) = &self.held_out;
        let forcing = self.forcing(pixels.clone(), None);
        let bits = self.bits(average, &forcing, prompts, &vec![false; prompts.rows]);
        held_out(bits)
    }

    fn no_decay(&self) -> &[&str] {
        &[
            "cfg_uncond",
            "pos_start",
            "lvl_embed",
            "modulation",
            "log_scale",
            "text_pool.query",
            "text.shared",
            "relative_bias",
        ]
    }
}
