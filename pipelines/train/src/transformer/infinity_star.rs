//! `nextscale train transformer` with `kind: star`: an InfinityStar transformer and its text encoder, together, on the
//! codes of a causal tokenizer that was trained before and stays as it is.
//!
//! Each clip is a sprite with a random motion and a caption that says so. As in picture models, bits are flipped for
//! self-correction, and one prompt in ten is replaced by the unconditional one.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use burn::module::Module;
use burn::tensor::Device;
use nextscale_bitwise::correction::SelfCorrection;
use nextscale_bitwise::train::BitLoss;
use nextscale_text::encoder::encode_tokens;
use nextscale_text::{T5Config, T5Encoder, TokenBatch, Vocab, train_unigram};
use nextscale_var_core::guidance::replace_rows;
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::ScaleWeighting;
use nextscale_var_core::train::{Batches, Loss, Task, TrainOptions};
use nextscale_video::train::{TeacherForcing, TeacherForcingPlan, loss};
use nextscale_video::{
    CodeBits, InfinityStar, InfinityStarConfig, InfinityStarGuidance, InfinityStarVae, Plan,
};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::batches::clips::{ClipSettings, append_clip, clips};
use crate::shuffle::{Order, stream};
use crate::tokenizer::causal::CausalRun;
use crate::transformer::TransformerKind;
use crate::transformer::infinity::{TextSizes, default_drop, held_out, tokens};
use nextscale_data::{Dataset, Motion, captions};
use nextscale_models::FirstFrame;

/// What `nextscale train transformer` reads for a model of videos.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StarRun {
    /// [`TransformerKind::Star`].
    pub kind: TransformerKind,
    /// Folder of the pictures, as `nextscale data build` made it.
    pub data: PathBuf,
    /// Folder of the causal tokenizer's run.
    pub tokenizer: PathBuf,
    /// Folder of a run whose whole model, text encoder and vocabulary included, is the start of this one.
    #[serde(default)]
    pub continues: Option<PathBuf>,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Clips a step.
    pub batch: usize,
    /// How clips are made.
    pub clips: ClipSettings,
    /// Sizes of the text encoder.
    pub text: TextSizes,
    /// Sizes of the transformer.
    pub model: StarSizes,
    /// How much the tokens of each scale count.
    #[serde(default)]
    pub weighting: ScaleWeighting,
    /// Mistakes that the transformer learns to repair.
    #[serde(default)]
    pub correction: SelfCorrection,
    /// In which numbers the blocks' matrix products multiply.
    #[serde(default)]
    pub precision: Precision,
    /// Share of prompts that are replaced by the unconditional one.
    #[serde(default = "default_drop")]
    pub condition_drop: f64,
    /// Who paints the first frame of the finished model, which is then not trained; without it the model does.
    #[serde(default)]
    pub first_frame: Option<FirstFrame>,
    /// How the finished model is guided unless told otherwise.
    pub guidance: InfinityStarGuidance,
    /// Divides the logits of the finished model.
    pub temperature: f64,
    /// Frames a second of the finished model.
    pub fps: usize,
    /// What the finished model is called.
    #[serde(default)]
    pub name: String,
    /// What the finished model shows, what it was trained on, and its licence.
    #[serde(default)]
    pub about: String,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

/// Sizes of the transformer; the rest follows from the tokenizer and the text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StarSizes {
    /// Numbers a token.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Units of the feed-forward layers.
    pub hidden: usize,
}

impl StarRun {
    /// The transformer's shapes on a tokenizer with these bits.
    pub fn model_config(&self, bits: CodeBits) -> InfinityStarConfig {
        InfinityStarConfig {
            width: self.model.width,
            depth: self.model.depth,
            heads: self.model.heads,
            kv_heads: self.model.kv_heads,
            mlp_hidden: self.model.hidden,
            bits,
            text_channels: self.text.width,
            text_max_len: self.text.max_len,
            attention_bias: false,
            block_chunks: 1,
        }
    }

    /// The text encoder's shapes with a vocabulary of `size` entries.
    pub fn text_config(&self, size: usize) -> T5Config {
        self.text.config(size)
    }

    /// A fresh model, or that of [`StarRun::continues`], on an autodiff device.
    ///
    /// # Errors
    /// When that run has no checkpoint or a model of other sizes.
    pub fn start(&self, bits: CodeBits, size: usize, device: &Device) -> anyhow::Result<Narrator> {
        let text = self.text_config(size);
        let fresh = Narrator {
            text: text.init_with(self.text.embedding_std, device),
            transformer: self.model_config(bits).init(device),
        };
        let Some(from) = &self.continues else {
            return Ok(fresh);
        };
        let (source, checkpoint): (Self, _) = crate::config::source("continues", from)?;
        ensure!(
            source.model_config(bits) == self.model_config(bits) && source.text == self.text,
            "continues: the model of `{}` has other sizes than this configuration",
            from.display()
        );
        Ok(checkpoint.average(fresh)?)
    }

    /// Refuses sizes that don't fit together.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self, tokenizer: &CausalRun) -> anyhow::Result<()> {
        ensure!(self.batch > 0, "batch must be at least 1");
        self.text.check()?;
        let sizes = self.model_config(tokenizer.bits());
        sizes
            .validate()
            .map_err(|e| anyhow::anyhow!("model: the model {e}"))?;
        let plan = tokenizer.plan(self.clips.frames)?;
        ensure!(
            self.first_frame.is_none() || plan.clips().len() > 1,
            "clips.frames: a clip of one frame, which is given, leaves nothing to train"
        );
        Ok(())
    }
}

/// Learns a vocabulary from captions of clips that training may see.
///
/// # Errors
/// When `size` has no room for the letters.
pub fn learn_vocabulary(set: &Dataset, seed: u64, size: usize) -> anyhow::Result<Vocab> {
    let mut texts = Vec::new();
    for index in set.train_ids() {
        let mut rng = stream(seed ^ 0x776f_7264, index as u64);
        texts.extend((0..4).map(|_| {
            let phrase = Motion::random(&mut rng).phrase(&mut rng);
            captions::moving(set.entry(index), phrase, captions::PLAIN, &mut rng).0
        }));
    }
    Ok(train_unigram(texts, size)?)
}

/// All that is trained.
#[derive(Module, Debug)]
pub struct Narrator {
    /// Prompt to features.
    pub text: T5Encoder,
    /// Features and running sums to bits.
    pub transformer: InfinityStar,
}

/// Clips, prompts and what chance decided about them.
pub struct MovingBatch {
    pixels: Vec<f32>,
    prompts: TokenBatch,
    drop: Vec<bool>,
    rng: ChaCha8Rng,
}

/// Makes [`MovingBatch`]es of the pictures that are not held out.
pub struct MovingBatches {
    set: Arc<Dataset>,
    vocab: Vocab,
    order: Order,
    run: StarRun,
}

impl MovingBatches {
    /// The batches of a run.
    pub fn new(set: Arc<Dataset>, vocab: Vocab, run: StarRun) -> Self {
        let order = Order::new(run.seed, set.train_ids());
        Self {
            set,
            vocab,
            order,
            run,
        }
    }
}

impl Batches for MovingBatches {
    type Batch = MovingBatch;

    fn batch(&mut self, step: u64) -> MovingBatch {
        let mut rng = stream(self.run.seed ^ 0x7374_6172, step);
        let count = self.run.batch;
        let (mut pixels, mut texts, mut drop) = (Vec::new(), Vec::new(), Vec::new());
        for slot in 0..count as u64 {
            let index = self.order.at(step * count as u64 + slot);
            let motion = Motion::random(&mut rng);
            let phrase = motion.phrase(&mut rng);
            let entry = self.set.entry(index);
            let (text, background) = captions::moving(entry, phrase, captions::PLAIN, &mut rng);
            let settings = self.run.clips;
            let frames = settings.clip(&self.set, index, motion, background, &mut rng);
            append_clip(&frames, &mut pixels);
            texts.push(text);
            drop.push(rng.random_bool(self.run.condition_drop));
        }
        MovingBatch {
            pixels,
            prompts: tokens(&self.vocab, &texts),
            drop,
            rng,
        }
    }
}

/// The task.
pub struct StarTask {
    vae: InfinityStarVae,
    bits: CodeBits,
    plan: Plan,
    lesson: TeacherForcingPlan,
    correction: SelfCorrection,
    precision: Precision,
    frames: usize,
    size: usize,
    held_out: (Vec<f32>, TokenBatch),
    device: Device,
}

impl StarTask {
    /// The task of a run; `vae` and `device` are without autodiff.
    ///
    /// # Errors
    /// When the scales are no schedule.
    pub fn new(
        run: &StarRun,
        tokenizer: &CausalRun,
        vae: InfinityStarVae,
        vocab: &Vocab,
        set: &Dataset,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let plan = tokenizer.plan(run.clips.frames).context("clips.frames")?;
        let (chosen, pixels) = run.clips.held_out(set, 39);
        let texts: Vec<String> = chosen
            .iter()
            .map(|&(index, motion)| format!("{} {}", set.entry(index).name, motion.name()))
            .collect();
        let image = run.first_frame.is_none();
        Ok(Self {
            lesson: TeacherForcingPlan::new(&plan, image, run.weighting, device),
            bits: tokenizer.bits(),
            plan,
            correction: run.correction,
            precision: run.precision,
            frames: run.clips.frames,
            size: set.size(),
            held_out: (pixels, tokens(vocab, &texts)),
            vae,
            device: device.clone(),
        })
    }

    /// Pixels to teacher forcing, without autodiff; `rng` makes the mistakes to be repaired.
    fn forcing(&self, pixels: Vec<f32>, rng: Option<&mut ChaCha8Rng>) -> TeacherForcing {
        let pixels = clips(pixels, self.frames, self.size, &self.device);
        let latent = self.vae.latent(self.vae.encode(pixels).mode());
        let correction = rng.map(|rng| (self.correction, rng));
        TeacherForcing::new(&self.plan, self.bits, latent, correction)
    }

    fn bits(
        &self,
        model: &Narrator,
        forcing: &TeacherForcing,
        prompts: &TokenBatch,
        drop: &[bool],
    ) -> BitLoss {
        let text = encode_tokens(&model.text, prompts);
        let [_, l, _] = text.features.dims();
        let other = model.transformer.unconditional(l);
        let features = replace_rows(text.features, other, drop);
        let (lesson, precision) = (&self.lesson, self.precision);
        loss(
            &model.transformer,
            forcing,
            features,
            &text.lens,
            lesson,
            precision,
        )
    }
}

impl Task for StarTask {
    type Model = Narrator;
    type Batch = MovingBatch;

    fn loss(&self, model: &Narrator, mut batch: MovingBatch) -> Loss {
        let examples = batch.drop.len();
        let forcing = self.forcing(batch.pixels, Some(&mut batch.rng));
        let bits = self.bits(model, &forcing, &batch.prompts, &batch.drop);
        Loss {
            total: bits.loss,
            parts: vec![("right", bits.right.mean())],
            examples,
        }
    }

    /// Loss and share of right bits on clips of held-out pictures with their usual captions and without mistakes to
    /// repair.
    fn evaluate(&self, average: &Narrator) -> Vec<(&'static str, f64)> {
        let (pixels, prompts) = &self.held_out;
        let forcing = self.forcing(pixels.clone(), None);
        let bits = self.bits(average, &forcing, prompts, &vec![false; prompts.rows]);
        held_out(bits)
    }

    fn no_decay(&self) -> &[&str] {
        &["cfg_uncond", "text.shared", "relative_bias"]
    }
}
