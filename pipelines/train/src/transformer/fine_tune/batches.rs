//! Batches of latents with the features of a caption, or with a class: each batch has images of one size.

use nextscale_var_core::train::Batches;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::cache::{Cache, Key};
use crate::shuffle::{BucketShuffle, rng_for};

/// What was encoded of an image or clip.
#[derive(Clone, Debug)]
pub(super) struct EncodedExample {
    /// Its latent, and that of its mirrored image if it may be mirrored.
    pub latents: Vec<Key>,
    /// Features of its captions, with the number of tokens of each.
    pub captions: Vec<(Key, usize)>,
    /// Number of its class.
    pub class: usize,
}

/// A batch of one size.
#[derive(Clone, Debug)]
pub(crate) struct TunedBatch {
    /// Number of the size.
    pub bucket: usize,
    /// Latents, one after the other.
    pub latents: Vec<f32>,
    /// Features of the prompts, each `[tokens, channels]`, and their tokens; none for a model of classes.
    pub prompts: Vec<(Vec<f32>, usize)>,
    /// Classes; the number of classes for "no class".
    pub labels: Vec<usize>,
    /// Which conditions are replaced by the unconditional one.
    pub drop: Vec<bool>,
    /// Whether errors are made for the transformer to correct, and layers are skipped.
    pub training: bool,
    /// The random numbers of these.
    pub rng: ChaCha8Rng,
}

/// Makes [`TunedBatch`]es.
#[derive(Clone)]
pub(crate) struct TunedBatches {
    pub(super) cache: Cache,
    pub(super) examples: Vec<EncodedExample>,
    pub(super) shuffle: BucketShuffle,
    pub(super) seed: u64,
    /// Share of conditions that are replaced by the unconditional one.
    pub(super) drop: f64,
    /// The label of "no class".
    pub(super) no_class: usize,
}

impl TunedBatches {
    /// The batch of these examples, which have one size. What may be drawn is drawn from `rng`; without `training` it is the
    /// first caption and the image as it is.
    pub(super) fn of(
        &self,
        bucket: usize,
        ids: &[usize],
        mut rng: ChaCha8Rng,
        training: bool,
    ) -> crate::error::Result<TunedBatch> {
        let (mut latents, mut prompts) = (Vec::new(), Vec::new());
        let (mut labels, mut drop) = (Vec::new(), Vec::new());
        for &id in ids {
            let example = &self.examples[id];
            let mut pick = |n: usize| if training { rng.random_range(0..n) } else { 0 };
            let latent = &example.latents[pick(example.latents.len())];
            latents.extend(self.cache.read(latent)?);
            if !example.captions.is_empty() {
                let (key, tokens) = &example.captions[pick(example.captions.len())];
                prompts.push((self.cache.read(key)?, *tokens));
            }
            let dropped = training && rng.random_bool(self.drop);
            labels.push(if dropped {
                self.no_class
            } else {
                example.class
            });
            drop.push(dropped);
        }
        Ok(TunedBatch {
            bucket,
            latents,
            prompts,
            labels,
            drop,
            training,
            rng,
        })
    }
}

impl Batches for TunedBatches {
    type Batch = TunedBatch;

    /// # Panics
    /// If a file of the cache was deleted or damaged while the run goes on.
    fn batch(&mut self, number: u64) -> TunedBatch {
        let (bucket, ids) = self.shuffle.batch(number);
        let rng = rng_for(self.seed ^ 0x74_756e_6564, number);
        let batch = self.of(bucket, &ids, rng, true);
        batch.unwrap_or_else(|error| panic!("{error}"))
    }
}
