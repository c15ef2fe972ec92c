//! Batches, loss and measurements of InfinityStar: cross entropy of the bits of all passes of a clip under teacher forcing.

use std::sync::Arc;

use burn::tensor::Device;
use nextscale_bitwise::correction::SelfCorrection;
use nextscale_bitwise::train::BitLoss;
use nextscale_data::{Dataset, Motion, captions};
use nextscale_text::{Vocab, encoder::encode_tokens};
use nextscale_tokenizer::conv::in_bf16;
use nextscale_var_core::guidance::replace_rows;
use nextscale_var_core::matmul::Precision;
use nextscale_video::train::{TeacherForcing, TeacherForcingPlan, loss};
use nextscale_video::{CodeBits, InfinityStarVae, Plan};
use rand_chacha::ChaCha8Rng;

use crate::batches::clips::{ClipSettings, Moves};
use crate::batches::planes;
use crate::error::Result;
use crate::run::{Run, Start, StartContext, check_sprites};
use crate::shuffle::Shuffle;
use crate::tokenizer::causal::CausalRun;
use crate::tokenizer::import::import_tokenizer;
use crate::transformer::captioned::{
    BitTask, Caption, Captioned, CaptionedBatches, CaptionedTask, Examples,
};
use crate::transformer::infinity_star::config::{InfinityStarRun, TextToVideoModel};

impl Run for InfinityStarRun {
    type Task = CaptionedTask<InfinityStarTask>;
    type Batches = CaptionedBatches<ClipExamples>;

    fn check(&self, set: &Dataset) -> Result<()> {
        check_sprites(set)?;
        self.check_sizes()
    }

    fn start(self, set: Arc<Dataset>, context: &mut StartContext<'_>) -> Result<Start<Self>> {
        let device = context.device;
        let (vae, tokenizer) = import_tokenizer::<CausalRun>(context.out, &self.tokenizer, device)?;
        self.check_tokenizer(&tokenizer)?;
        let continues = self.continues.as_deref();
        let texts = |index, rng: &mut ChaCha8Rng| {
            let caption = |_| {
                let phrase = Motion::random(rng).phrase(rng);
                captions::moving(set.entry(index), phrase, captions::PLAIN, rng).0
            };
            (0..4).map(caption).collect()
        };
        let vocab = self
            .text
            .open_vocab(continues, self.seed, &set, context, texts)?;
        let count = tokenizer.plan(self.clips.frames)?.clips().len() - 1;
        let task = task(&self, &tokenizer, vae, &vocab, &set, device)?;
        device.seed(self.seed);
        let autodiff = device.clone().autodiff();
        let model = self.model(tokenizer.bits(), vocab.size(), &autodiff)?;
        let batches = CaptionedBatches {
            shuffle: Shuffle::new(self.seed, set.train_ids()),
            vocab,
            seed: self.seed ^ 0x7374_6172,
            count: self.batch,
            drop: self.condition_drop,
            examples: ClipExamples {
                set,
                clips: self.clips,
                count,
            },
        };
        Ok((task, model, batches))
    }
}

/// Clips with captions.
pub(crate) struct ClipExamples {
    set: Arc<Dataset>,
    clips: ClipSettings,
    /// Clips of a video.
    count: usize,
}

impl Examples for ClipExamples {
    fn append(&self, index: usize, rng: &mut ChaCha8Rng, pixels: &mut Vec<f32>) -> Caption {
        let motion = Motion::random(rng);
        let phrase = motion.phrase(rng);
        let entry = self.set.entry(index);
        let (text, background) = captions::moving(entry, phrase, captions::PLAIN, rng);
        let moves = self.clips.moves(motion, self.count, rng);
        let frames = self.clips.clip(&self.set, index, &moves, background, rng);
        planes::append(&frames, pixels);
        // Of several motions, the caption names the last.
        let given = match moves {
            Moves::One(_) => 0,
            Moves::Several(..) => self.count - 1,
        };
        Caption { text, given }
    }
}

/// The loss of clips.
pub(crate) struct InfinityStarTask {
    vae: InfinityStarVae,
    bits: CodeBits,
    plan: Plan,
    forcing_plan: TeacherForcingPlan,
    correction: SelfCorrection,
    precision: Precision,
    frames: usize,
    size: usize,
    device: Device,
}

/// The task of a run; `vae` and `device` are without autodiff.
fn task(
    run: &InfinityStarRun,
    tokenizer: &CausalRun,
    vae: InfinityStarVae,
    vocab: &Vocab,
    set: &Dataset,
    device: &Device,
) -> Result<CaptionedTask<InfinityStarTask>> {
    let plan = tokenizer.plan(run.clips.frames)?;
    let (chosen, pixels) = run.clips.held_out(set, 39);
    let texts = chosen
        .iter()
        .map(|&(index, motion)| format!("{} {}", set.entry(index).name, motion.name()));
    let image = run.first_frame.is_none();
    let task = InfinityStarTask {
        forcing_plan: TeacherForcingPlan::new(&plan, image, run.weighting, device),
        bits: tokenizer.bits(),
        plan,
        correction: run.correction,
        precision: run.precision,
        frames: run.clips.frames,
        size: run.clips.side(set),
        vae,
        device: device.clone(),
    };
    Ok(CaptionedTask {
        task,
        held_out: Captioned::held_out(pixels, vocab, &texts.collect::<Vec<_>>()),
    })
}

impl InfinityStarTask {
    /// The teacher forcing of clips, without autodiff; `rng` makes the errors to be corrected.
    fn teacher_forcing(&self, pixels: Vec<f32>, rng: Option<&mut ChaCha8Rng>) -> TeacherForcing {
        let pixels = planes::clips(pixels, self.frames, self.size, &self.device);
        let half = self.precision == Precision::Bf16;
        let encoded = in_bf16(half, || self.vae.encode(pixels));
        let latent = self.vae.latent(encoded.mode());
        let correction = rng.map(|rng| (self.correction, rng));
        TeacherForcing::new(&self.plan, self.bits, latent, correction)
    }
}

impl BitTask for InfinityStarTask {
    type Model = TextToVideoModel;

    const NO_DECAY: &'static [&'static str] = &["cfg_uncond", "text.shared", "relative_bias"];

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
        let (transformer, precision) = (&model.transformer, self.precision);
        let plan = self.forcing_plan.with_given(&examples.given);
        loss(
            transformer,
            &forcing,
            features,
            &text.lens,
            &plan,
            precision,
        )
    }
}
