//! Batches, loss and measurements of Infinity: cross entropy of the bits of all scales under teacher forcing.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::correction::SelfCorrection;
use nextscale_bitwise::infinity::{Plan, TextCondition};
use nextscale_bitwise::tokens::{Patching, TeacherForcing};
use nextscale_bitwise::train::{BitLoss, loss};
use nextscale_bitwise::vae::BsqVae;
use nextscale_data::captions::{self, Surroundings};
use nextscale_data::{Augment, Dataset, Edit, EditKind, Editor, Entry};
use nextscale_text::{Vocab, encoder::encode_tokens};
use nextscale_tokenizer::conv::in_bf16;
use nextscale_tokenizer::{Pyramid, ScaleSchedule};
use nextscale_var_core::matmul::Precision;
use rand::{Rng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;

use crate::batches::images::{held_out, held_out_ids};
use crate::batches::planes;
use crate::error::{Result, ensure};
use crate::run::{Run, Start, StartContext};
use crate::shuffle::{Shuffle, rng_for};
use crate::transformer::captioned::{
    BitTask, Caption, Captioned, CaptionedBatches, CaptionedTask, Examples,
};
use crate::transformer::infinity::config::{InfinityRun, TextToImageModel};

impl Run for InfinityRun {
    type Task = CaptionedTask<InfinityTask>;
    type Batches = CaptionedBatches<ImageExamples>;

    fn check(&self, set: &Dataset) -> Result<()> {
        let named = |entry: &Entry| !entry.name.is_empty();
        ensure!(
            !(self.edits || self.scenes + self.counts + self.surroundings > 0.0)
                || set.entries().iter().all(named),
            "data: images with captions of their own have no names, of which the texts of `edits`, `scenes`, `counts` and `surroundings` are made"
        );
        self.check_sizes()
    }

    fn start(self, set: Arc<Dataset>, context: &mut StartContext<'_>) -> Result<Start<Self>> {
        let device = context.device;
        let vae = self.open_tokenizer(context.out, device)?.vae;
        let continues = self.continues.as_deref().or(self.from.as_deref());
        let editor = self.edits.then(|| Editor::new(&set, false));
        let names = set.entries().iter().map(|entry| entry.name.as_str());
        let surroundings = Surroundings::new(names);
        let texts = |index, rng: &mut ChaCha8Rng| {
            if let Some(editor) = &editor {
                let edits = EditKind::ALL.into_iter();
                let edits = edits.filter_map(|kind| editor.plain(index, kind, rng));
                return edits.map(|edit| edit.instruction).collect();
            }
            let entry = set.entry(index);
            let mut texts = vec![captions::canonical(entry)];
            texts.extend((0..3).map(|_| captions::caption(entry, captions::PLAIN, rng).0));
            if self.surroundings > 0.0 {
                texts.push(captions::surrounded(entry, &surroundings, captions::PLAIN, rng).0);
            }
            if self.scenes > 0.0 {
                let (relation, _) = captions::RELATIONS[index % captions::RELATIONS.len()];
                texts.push(captions::pair(entry, relation, entry));
            }
            if self.counts > 0.0 {
                let (number, _) = captions::COUNTS[index % captions::COUNTS.len()];
                texts.extend(captions::several(entry, number));
            }
            texts
        };
        let vocab = self
            .text
            .open_vocab(continues, self.seed, &set, context, texts)?;
        let bits = vae.bits;
        let task = task(&self, vae, &vocab, &set, device)?;
        device.seed(self.seed);
        let model = self.model(bits, vocab.size(), &device.clone().autodiff())?;
        Ok((task, model, batches(self, set, vocab, editor, surroundings)))
    }
}

/// The batches of a run.
fn batches(
    run: InfinityRun,
    set: Arc<Dataset>,
    vocab: Vocab,
    editor: Option<Editor>,
    surroundings: Surroundings,
) -> CaptionedBatches<ImageExamples> {
    let train_ids = set.train_ids();
    let repeat = |id: &usize| {
        if set.entry(*id).plain {
            run.plain.repeat
        } else {
            1
        }
    };
    let ids = train_ids.iter().flat_map(|id| vec![*id; repeat(id)]);
    CaptionedBatches {
        shuffle: Shuffle::new(run.seed, ids.collect()),
        vocab,
        seed: run.seed ^ 0x7465_7874,
        count: run.batch,
        drop: run.condition_drop,
        examples: ImageExamples {
            surroundings,
            set,
            train_ids,
            run,
            editor,
        },
    }
}

/// Images with captions, some of them in pairs or several times; or edits, each of which is two images: the result, then the source.
pub(crate) struct ImageExamples {
    set: Arc<Dataset>,
    train_ids: Vec<usize>,
    surroundings: Surroundings,
    run: InfinityRun,
    editor: Option<Editor>,
}

impl ImageExamples {
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
        let second = self.set.entry(other);
        if second.plain && self.without_style(first, rng) {
            captions::plain_pair(first, relation, second)
        } else {
            captions::pair(first, relation, second)
        }
    }

    /// Appends image `index` two to four times, on white, to the planes in `pixels`; returns the caption, or none if it shows nothing that
    /// can be counted.
    fn several(&self, index: usize, rng: &mut ChaCha8Rng, pixels: &mut Vec<f32>) -> Option<String> {
        let (number, count) = captions::COUNTS[rng.random_range(0..captions::COUNTS.len())];
        let entry = self.set.entry(index);
        let text = if self.without_style(entry, rng) {
            captions::plain_several(entry, number)
        } else {
            captions::several(entry, number)
        }?;
        planes::append(&[self.set.several(index, count, captions::WHITE)], pixels);
        Some(text)
    }

    /// Whether a caption of an image omits the style: only of one that answers its plain name.
    fn without_style(&self, entry: &Entry, rng: &mut ChaCha8Rng) -> bool {
        entry.plain && rng.random_bool(self.run.plain.captions)
    }

    /// Appends image `index`, augmented, to the planes in `pixels`; returns the caption.
    fn single(&self, index: usize, rng: &mut ChaCha8Rng, pixels: &mut Vec<f32>) -> String {
        let (entry, plain) = (self.set.entry(index), self.run.plain.captions);
        let surroundings = self.run.surroundings;
        // Runs without surroundings draw the numbers that they always drew.
        let (text, background) = if surroundings > 0.0 && rng.random_bool(surroundings) {
            captions::surrounded(entry, &self.surroundings, plain, rng)
        } else {
            captions::caption(entry, plain, rng)
        };
        let augment = &self.run.augment;
        let image = self.set.augmented(index, background, augment, rng);
        planes::append(&[image], pixels);
        text
    }
}

impl Examples for ImageExamples {
    fn append(&self, index: usize, rng: &mut ChaCha8Rng, pixels: &mut Vec<f32>) -> Caption {
        if let Some(editor) = &self.editor {
            let edit = editor.any(index, &self.run.augment, rng);
            return append_edit(edit, pixels).into();
        }
        let InfinityRun { scenes, counts, .. } = self.run;
        // Runs without scenes draw the numbers that they always drew.
        let kind = if scenes + counts > 0.0 {
            rng.random()
        } else {
            1.0
        };
        if kind < scenes {
            return self.pair(index, rng, pixels).into();
        }
        let several = (kind < scenes + counts).then(|| self.several(index, rng, pixels));
        let text = several.flatten();
        text.unwrap_or_else(|| self.single(index, rng, pixels))
            .into()
    }
}

/// Appends result and source to the planes in `pixels`; returns the instruction.
fn append_edit(edit: Edit, pixels: &mut Vec<f32>) -> String {
    planes::append(&[edit.target], pixels);
    planes::append(&[edit.source], pixels);
    edit.instruction
}

/// At most `count` edits of held-out images: their planes, and the instructions.
fn held_out_edits(set: &Arc<Dataset>, count: usize) -> (Vec<f32>, Vec<String>) {
    let (mut pixels, mut rng) = (Vec::new(), rng_for(0x6564_6974, 0));
    let editor = Editor::new(set, !set.held_out_ids().is_empty());
    let augment = Augment {
        keep: 1.0,
        flip: 0.0,
        ..Augment::default()
    };
    let ids = held_out_ids(set, count).into_iter();
    let texts = ids.map(|index| append_edit(editor.any(index, &augment, &mut rng), &mut pixels));
    let texts = texts.collect();
    (pixels, texts)
}

/// The loss of images, or of edits.
pub(crate) struct InfinityTask {
    edits: bool,
    correction: SelfCorrection,
    patching: Patching,
    cells: ScaleSchedule,
    bsq: Bsq,
    vae: BsqVae,
    plan: Plan,
    precision: Precision,
    weights: Tensor<2>,
    size: usize,
}

/// The task of a run; `vae` and `device` are without autodiff.
fn task(
    run: &InfinityRun,
    vae: BsqVae,
    vocab: &Vocab,
    set: &Arc<Dataset>,
    device: &Device,
) -> Result<CaptionedTask<InfinityTask>> {
    let schedule = run.schedule()?;
    let (pixels, texts) = if run.edits {
        held_out_edits(set, 64)
    } else {
        let (ids, pixels) = held_out(set, 64);
        let texts = ids.iter().map(|&id| captions::canonical(set.entry(id)));
        (pixels, texts.collect())
    };
    let plan = if run.edits {
        Plan::editing_teacher_forcing
    } else {
        Plan::teacher_forcing
    };
    let config = run.model_config(vae.bits);
    let task = InfinityTask {
        edits: run.edits,
        correction: run.correction,
        patching: run.patching,
        cells: run.patching.cells(&schedule),
        bsq: vae.quantizer(),
        plan: plan(&config, &schedule, schedule.last(), device).with_precision(run.precision),
        precision: run.precision,
        weights: run.weighting.weights(&schedule, device),
        size: set.size(),
        vae,
    };
    Ok(CaptionedTask {
        task,
        held_out: Captioned::held_out(pixels, vocab, &texts),
    })
}

impl InfinityTask {
    /// The teacher forcing of images, without autodiff; `rng` makes the errors to be corrected.
    fn teacher_forcing(&self, pixels: Vec<f32>, rng: Option<&mut ChaCha8Rng>) -> TeacherForcing {
        let pixels = planes::images(pixels, self.size, &self.weights.device());
        let pyramid = Pyramid::plain(&self.bsq);
        let half = self.precision == Precision::Bf16;
        let latent = in_bf16(half, || self.vae.encode(pixels));
        let (latent, source) = if self.edits {
            let [target, source] = alternating(latent);
            (target, Some(source))
        } else {
            (latent, None)
        };
        let encoded = match rng {
            Some(rng) => self.correction.encode(&pyramid, latent, &self.cells, rng),
            None => pyramid.encode(latent, &self.cells),
        };
        let forcing = TeacherForcing::new(&pyramid, &encoded, &self.cells, self.patching);
        match source {
            Some(latent) => forcing.of_source(latent, self.patching),
            None => forcing,
        }
    }
}

/// The even and the odd rows of a batch.
fn alternating(x: Tensor<5>) -> [Tensor<5>; 2] {
    let [b, d, t, h, w] = x.dims();
    let pairs = x.reshape([b / 2, 2, d * t * h * w]);
    [0, 1].map(|i| {
        pairs
            .clone()
            .slice_dim(1, i..i + 1)
            .reshape([b / 2, d, t, h, w])
    })
}

impl BitTask for InfinityTask {
    type Model = TextToImageModel;

    const NO_DECAY: &'static [&'static str] = &[
        "cfg_uncond",
        "pos_start",
        "lvl_embed",
        "modulation",
        "log_scale",
        "text_pool.query",
        "text.shared",
        "relative_bias",
    ];

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
