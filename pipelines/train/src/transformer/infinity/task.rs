//! Batches, loss and measurements of Infinity: cross entropy of the bits of all scales under teacher forcing.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::correction::SelfCorrection;
use nextscale_bitwise::infinity::{Plan, TextCondition};
use nextscale_bitwise::tokens::{Patching, TeacherForcing};
use nextscale_bitwise::train::{BitLoss, loss};
use nextscale_bitwise::vae::BsqVae;
use nextscale_data::{Dataset, captions};
use nextscale_text::{Vocab, encoder::encode_tokens};
use nextscale_tokenizer::{Pyramid, ScaleSchedule};
use nextscale_var_core::train::{Batches, Loss, Task};
use rand::{Rng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;

use crate::batches::{images::held_out, planes};
use crate::error::Result;
use crate::run::{Run, Start, StartContext};
use crate::shuffle::{Shuffle, rng_for};
use crate::tokenizer::bsq::BsqRun;
use crate::tokenizer::import::import_tokenizer;
use crate::transformer::infinity::config::{InfinityRun, TextToImageModel};
use crate::transformer::text::{
    Captioned, CaptionedBatch, VocabularySource, held_out_measurements, tokens, training_loss,
};

impl Run for InfinityRun {
    type Task = InfinityTask;
    type Batches = InfinityBatches;

    fn check(&self, _: &Dataset) -> Result<()> {
        self.check_sizes()
    }

    fn start(self, set: Arc<Dataset>, context: &mut StartContext<'_>) -> Result<Start<Self>> {
        let device = context.device;
        let (vae, tokenizer) = import_tokenizer::<BsqRun>(context.out, &self.tokenizer, device)?;
        self.check_tokenizer(&tokenizer.schedule()?)?;
        let source = VocabularySource {
            continues: self.continues.as_deref(),
            text: &self.text,
            seed: self.seed,
        };
        let vocab = source.open(&set, context, |index, rng| {
            let mut texts = vec![captions::canonical(set.entry(index))];
            texts.extend((0..3).map(|_| set.caption(index, captions::PLAIN, rng).0));
            texts
        })?;
        let bits = vae.bits;
        let task = InfinityTask::new(&self, vae, &vocab, &set, device)?;
        device.seed(self.seed);
        let model = self.model(bits, vocab.size(), &device.clone().autodiff())?;
        let batches = InfinityBatches::new(set, vocab, self);
        Ok((task, model, batches))
    }
}

/// Makes [`CaptionedBatch`]es of the images that are not held out.
pub(crate) struct InfinityBatches {
    set: Arc<Dataset>,
    vocab: Vocab,
    shuffle: Shuffle,
    train_ids: Vec<usize>,
    run: InfinityRun,
}

impl InfinityBatches {
    /// The batches of a run.
    pub(super) fn new(set: Arc<Dataset>, vocab: Vocab, run: InfinityRun) -> Self {
        let train_ids = set.train_ids();
        let repeat = |id: &usize| {
            if set.entry(*id).plain {
                run.plain.repeat
            } else {
                1
            }
        };
        let ids = train_ids.iter().flat_map(|id| vec![*id; repeat(id)]);
        Self {
            shuffle: Shuffle::new(run.seed, ids.collect()),
            set,
            vocab,
            train_ids,
            run,
        }
    }

    /// Appends image `index` next to another one of its style, on white, to the planes in `pixels`; returns the caption.
    fn pair(&self, index: usize, rng: &mut ChaCha8Rng, pixels: &mut Vec<f32>) -> String {
        let first = self.set.entry(index);
        let fits = |other: &usize| {
            let entry = self.set.entry(*other);
            entry.style == first.style && entry.name != first.name
        };
        // A style with one image is paired with itself.
        let others: Vec<usize> = self.train_ids.iter().copied().filter(fits).collect();
        let other = others.choose(rng).copied().unwrap_or(index);
        let (relation, towards) = captions::RELATIONS[rng.random_range(0..4)];
        let image = self.set.pair(index, other, towards, captions::WHITE);
        planes::append(&[image], pixels);
        captions::pair(first, relation, self.set.entry(other))
    }

    /// Appends image `index`, augmented, to the planes in `pixels`; returns the caption.
    fn single(&self, index: usize, rng: &mut ChaCha8Rng, pixels: &mut Vec<f32>) -> String {
        let (text, background) = self.set.caption(index, self.run.plain.captions, rng);
        let augment = &self.run.augment;
        planes::append(
            &[self.set.augmented(index, background, augment, rng)],
            pixels,
        );
        text
    }
}

impl Batches for InfinityBatches {
    type Batch = CaptionedBatch;

    fn batch(&mut self, step: u64) -> CaptionedBatch {
        let mut rng = rng_for(self.run.seed ^ 0x7465_7874, step);
        let count = self.run.batch;
        let mut pixels = Vec::with_capacity(count * 3 * self.set.size() * self.set.size());
        let (mut texts, mut drop) = (Vec::new(), Vec::new());
        for slot in 0..count as u64 {
            let index = self.shuffle.at(step * count as u64 + slot);
            let paired = self.run.scenes > 0.0 && rng.random_bool(self.run.scenes);
            texts.push(if paired {
                self.pair(index, &mut rng, &mut pixels)
            } else {
                self.single(index, &mut rng, &mut pixels)
            });
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
pub(crate) struct InfinityTask {
    correction: SelfCorrection,
    patching: Patching,
    cells: ScaleSchedule,
    bsq: Bsq,
    vae: BsqVae,
    plan: Plan,
    weights: Tensor<2>,
    size: usize,
    held_out: Captioned,
}

impl InfinityTask {
    /// The task of a run; `vae` and `device` are without autodiff.
    pub(super) fn new(
        run: &InfinityRun,
        vae: BsqVae,
        vocab: &Vocab,
        set: &Dataset,
        device: &Device,
    ) -> Result<Self> {
        let schedule = run.schedule()?;
        let (ids, pixels) = held_out(set, 64);
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
            held_out: Captioned::held_out(pixels, tokens(vocab, &texts)),
            vae,
        })
    }

    /// The teacher forcing of images, without autodiff; `rng` makes the errors to be corrected.
    fn teacher_forcing(&self, pixels: Vec<f32>, rng: Option<&mut ChaCha8Rng>) -> TeacherForcing {
        let pixels = planes::images(pixels, self.size, &self.weights.device());
        let pyramid = Pyramid::plain(&self.bsq);
        let latent = self.vae.encode(pixels);
        let encoded = match rng {
            Some(rng) => self.correction.encode(&pyramid, latent, &self.cells, rng),
            None => pyramid.encode(latent, &self.cells),
        };
        TeacherForcing::new(&pyramid, &encoded, &self.cells, self.patching)
    }

    fn bit_loss(
        &self,
        model: &TextToImageModel,
        examples: Captioned,
        rng: Option<&mut ChaCha8Rng>,
    ) -> BitLoss {
        let forcing = self.teacher_forcing(examples.pixels, rng);
        let features = encode_tokens(&model.text, &examples.prompts);
        let text = TextCondition::new(features.features, features.lens);
        let transformer = &model.transformer;
        let text = transformer.drop_condition(&text, &examples.drop);
        loss(transformer, &forcing, &text, &self.plan, &self.weights)
    }
}

impl Task for InfinityTask {
    type Model = TextToImageModel;
    type Batch = CaptionedBatch;

    fn loss(&self, model: &TextToImageModel, batch: CaptionedBatch) -> Loss {
        let CaptionedBatch { examples, mut rng } = batch;
        let count = examples.drop.len();
        training_loss(self.bit_loss(model, examples, Some(&mut rng)), count)
    }

    /// Loss and share of right bits on held-out images with their canonical captions and without errors to correct.
    fn evaluate(&self, average: &TextToImageModel) -> Vec<(&'static str, f64)> {
        held_out_measurements(self.bit_loss(average, self.held_out.clone(), None))
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
