//! Batches, loss and measurements of InfinityStar: cross entropy of the bits of all passes of a clip under teacher forcing.

use std::sync::Arc;

use burn::tensor::Device;
use nextscale_bitwise::correction::SelfCorrection;
use nextscale_bitwise::train::BitLoss;
use nextscale_data::{Dataset, Motion, captions};
use nextscale_text::{Vocab, encoder::encode_tokens};
use nextscale_var_core::guidance::replace_rows;
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::{Batches, Loss, Task};
use nextscale_video::train::{TeacherForcing, TeacherForcingPlan, loss};
use nextscale_video::{CodeBits, InfinityStarVae, Plan};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use crate::batches::planes;
use crate::error::Result;
use crate::run::{Run, Start, StartContext};
use crate::shuffle::{Shuffle, rng_for};
use crate::tokenizer::causal::CausalRun;
use crate::tokenizer::import::import_tokenizer;
use crate::transformer::infinity_star::config::{InfinityStarRun, TextToVideoModel};
use crate::transformer::text::{
    Captioned, CaptionedBatch, VocabularySource, held_out_measurements, tokens, training_loss,
};

impl Run for InfinityStarRun {
    type Task = InfinityStarTask;
    type Batches = InfinityStarBatches;

    fn check(&self, _: &Dataset) -> Result<()> {
        self.check_sizes()
    }

    fn start(self, set: Arc<Dataset>, context: &mut StartContext<'_>) -> Result<Start<Self>> {
        let device = context.device;
        let (vae, tokenizer) = import_tokenizer::<CausalRun>(context.out, &self.tokenizer, device)?;
        self.check_tokenizer(&tokenizer)?;
        let source = VocabularySource {
            continues: self.continues.as_deref(),
            text: &self.text,
            seed: self.seed,
        };
        let vocab = source.open(&set, context, |index, rng| {
            let caption = |_| {
                let phrase = Motion::random(rng).phrase(rng);
                captions::moving(set.entry(index), phrase, captions::PLAIN, rng).0
            };
            (0..4).map(caption).collect()
        })?;
        let task = InfinityStarTask::new(&self, &tokenizer, vae, &vocab, &set, device)?;
        device.seed(self.seed);
        let autodiff = device.clone().autodiff();
        let model = self.model(tokenizer.bits(), vocab.size(), &autodiff)?;
        let batches = InfinityStarBatches::new(set, vocab, self);
        Ok((task, model, batches))
    }
}

/// Makes [`CaptionedBatch`]es of clips of the images that are not held out.
pub(crate) struct InfinityStarBatches {
    set: Arc<Dataset>,
    vocab: Vocab,
    shuffle: Shuffle,
    run: InfinityStarRun,
}

impl InfinityStarBatches {
    /// The batches of a run.
    pub(super) fn new(set: Arc<Dataset>, vocab: Vocab, run: InfinityStarRun) -> Self {
        Self {
            shuffle: Shuffle::new(run.seed, set.train_ids()),
            set,
            vocab,
            run,
        }
    }
}

impl Batches for InfinityStarBatches {
    type Batch = CaptionedBatch;

    fn batch(&mut self, step: u64) -> CaptionedBatch {
        let mut rng = rng_for(self.run.seed ^ 0x7374_6172, step);
        let count = self.run.batch;
        let (mut pixels, mut texts, mut drop) = (Vec::new(), Vec::new(), Vec::new());
        for slot in 0..count as u64 {
            let index = self.shuffle.at(step * count as u64 + slot);
            let motion = Motion::random(&mut rng);
            let phrase = motion.phrase(&mut rng);
            let entry = self.set.entry(index);
            let (text, background) = captions::moving(entry, phrase, captions::PLAIN, &mut rng);
            let settings = self.run.clips;
            let frames = settings.clip(&self.set, index, motion, background, &mut rng);
            planes::append(&frames, &mut pixels);
            texts.push(text);
            drop.push(rng.random_bool(self.run.condition_drop));
        }
        let prompts = tokens(&self.vocab, &texts);
        let examples = Captioned {
            pixels,
            prompts,
            drop,
        };
        CaptionedBatch { examples, rng }
    }
}

/// Loss and measurements.
pub(crate) struct InfinityStarTask {
    vae: InfinityStarVae,
    bits: CodeBits,
    plan: Plan,
    forcing_plan: TeacherForcingPlan,
    correction: SelfCorrection,
    precision: Precision,
    frames: usize,
    size: usize,
    held_out: Captioned,
    device: Device,
}

impl InfinityStarTask {
    /// The task of a run; `vae` and `device` are without autodiff.
    pub(super) fn new(
        run: &InfinityStarRun,
        tokenizer: &CausalRun,
        vae: InfinityStarVae,
        vocab: &Vocab,
        set: &Dataset,
        device: &Device,
    ) -> Result<Self> {
        let plan = tokenizer.plan(run.clips.frames)?;
        let (chosen, pixels) = run.clips.held_out(set, 39);
        let texts: Vec<String> = chosen
            .iter()
            .map(|&(index, motion)| format!("{} {}", set.entry(index).name, motion.name()))
            .collect();
        let image = run.first_frame.is_none();
        Ok(Self {
            forcing_plan: TeacherForcingPlan::new(&plan, image, run.weighting, device),
            bits: tokenizer.bits(),
            plan,
            correction: run.correction,
            precision: run.precision,
            frames: run.clips.frames,
            size: set.size(),
            held_out: Captioned::held_out(pixels, tokens(vocab, &texts)),
            vae,
            device: device.clone(),
        })
    }

    /// The teacher forcing of clips, without autodiff; `rng` makes the errors to be corrected.
    fn teacher_forcing(&self, pixels: Vec<f32>, rng: Option<&mut ChaCha8Rng>) -> TeacherForcing {
        let pixels = planes::clips(pixels, self.frames, self.size, &self.device);
        let latent = self.vae.latent(self.vae.encode(pixels).mode());
        let correction = rng.map(|rng| (self.correction, rng));
        TeacherForcing::new(&self.plan, self.bits, latent, correction)
    }

    fn bit_loss(
        &self,
        model: &TextToVideoModel,
        examples: Captioned,
        rng: Option<&mut ChaCha8Rng>,
    ) -> BitLoss {
        let forcing = self.teacher_forcing(examples.pixels, rng);
        let text = encode_tokens(&model.text, &examples.prompts);
        let [_, l, _] = text.features.dims();
        let unconditional = model.transformer.unconditional(l);
        let features = replace_rows(text.features, unconditional, &examples.drop);
        let (forcing_plan, precision) = (&self.forcing_plan, self.precision);
        loss(
            &model.transformer,
            &forcing,
            features,
            &text.lens,
            forcing_plan,
            precision,
        )
    }
}

impl Task for InfinityStarTask {
    type Model = TextToVideoModel;
    type Batch = CaptionedBatch;

    fn loss(&self, model: &TextToVideoModel, batch: CaptionedBatch) -> Loss {
        let CaptionedBatch { examples, mut rng } = batch;
        let count = examples.drop.len();
        training_loss(self.bit_loss(model, examples, Some(&mut rng)), count)
    }

    /// Loss and share of right bits on clips of held-out images with fixed captions and without errors to correct.
    fn evaluate(&self, average: &TextToVideoModel) -> Vec<(&'static str, f64)> {
        held_out_measurements(self.bit_loss(average, self.held_out.clone(), None))
    }

    fn no_decay(&self) -> &[&str] {
        &["cfg_uncond", "text.shared", "relative_bias"]
    }
}
