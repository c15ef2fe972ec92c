//! Batches of samples that are generated together.

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Tensor;
use nextscale_models::device::release;

use crate::artifact::{Artifact, Latent, Message, Sample, Step};
use crate::error::PipelineError;
use crate::setup::Setup;
use crate::stage::{Event, Input, Output};

/// Checks a batch size.
pub(super) fn batch_size(size: usize, setup: &Setup) -> Result<usize, PipelineError> {
    match size {
        0 => Err(setup.refuse("batch", "`batch` should be at least 1").into()),
        n => Ok(n),
    }
}

pub(super) fn one<T: From<u8>>() -> T {
    1.into()
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it
pub(super) fn is_one(n: &usize) -> bool {
    *n == 1
}

/// Samples that wait until a batch is full, each with its condition.
pub(super) struct BatchQueue<T> {
    size: usize,
    queue: Vec<(Arc<Sample>, T)>,
}

impl<T> BatchQueue<T> {
    /// For batches of up to `size` samples.
    pub(super) fn new(size: usize) -> Self {
        let queue = Vec::new();
        Self { size, queue }
    }

    /// Adds a sample; returns the batch if it is full. Where a stage of the pipeline has several inputs nothing is queued,
    /// since the other inputs would wait for it.
    pub(super) fn add(&mut self, input: &Input, condition: T) -> Option<Batch<T>> {
        self.queue.push((input.sample.clone(), condition));
        let full = self.queue.len() >= self.size || input.context.joins;
        full.then(|| self.rest()).flatten()
    }

    /// The last batch, which may be smaller, if there is one.
    pub(super) fn rest(&mut self) -> Option<Batch<T>> {
        let queue = std::mem::take(&mut self.queue);
        let (samples, conditions) = queue.into_iter().unzip();
        let batch = Batch {
            samples,
            conditions,
        };
        (!batch.samples.is_empty()).then_some(batch)
    }
}

/// Samples that are generated together.
pub(super) struct Batch<T> {
    pub(super) samples: Vec<Arc<Sample>>,
    /// In the same order.
    pub(super) conditions: Vec<T>,
}

/// The scales of a batch.
#[derive(Clone, Copy)]
pub(super) struct Scales<'a> {
    /// What each of them leaves out, in a few words.
    pub notes: &'a [Option<String>],
    /// See [`Latent::original_size`].
    pub original_size: Option<[u32; 2]>,
    /// Whether this batch is all: a card's memory is given back before the last scale is sent.
    pub alone: bool,
}

impl<T> Batch<T> {
    /// The seeds of the samples.
    pub(super) fn seeds(&self) -> Vec<u64> {
        self.samples.iter().map(|sample| sample.seed).collect()
    }

    /// Runs through the feature maps of all scales, `[b, c, t, h, w]`: reports each with a note on it, sends previews if they are wanted, and
    /// sends the last.
    pub(super) fn send_scales(
        &self,
        features: impl Iterator<Item = Tensor<5>>,
        Scales {
            notes,
            original_size,
            alone,
        }: Scales,
        out: &mut Output,
    ) -> Result<(), PipelineError> {
        let context = out.context.clone();
        let (mut start, mut last) = (Instant::now(), None);
        for (k, features) in features.enumerate() {
            context.cancel.check()?;
            let (scale, scales) = (k + 1, notes.len());
            let step = Step { scale, scales };
            // The samples of a batch share the time.
            let took = start.elapsed() / self.samples.len() as u32;
            for sample in &self.samples {
                (context.observer)(Event::Scale {
                    stage: context.stage.clone(),
                    sample: sample.clone(),
                    step,
                    clip: None,
                    note: notes[k].clone(),
                    took,
                });
            }
            if scale < scales && context.settings.preview.is_some() {
                self.send(&features, original_size, Some(step), out)?;
            }
            last = Some(features);
            start = Instant::now();
        }
        let latent = last.ok_or_else(|| context.failed("its schedule has no scale"))?;
        if alone {
            // The decoder gets what the transformer needed.
            release(&context.device);
        }
        self.send(&latent, original_size, None, out)
    }

    fn send(
        &self,
        features: &Tensor<5>,
        original_size: Option<[u32; 2]>,
        preview: Option<Step>,
        out: &mut Output,
    ) -> Result<(), PipelineError> {
        for (i, sample) in self.samples.iter().enumerate() {
            let latent = Latent {
                features: features.clone().slice_dim(0, i..i + 1),
                original_size,
            };
            out.message(Message {
                sample: sample.clone(),
                preview,
                artifact: Artifact::Latent(latent),
            })?;
        }
        Ok(())
    }
}
