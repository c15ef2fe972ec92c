//! `nextscale eval recall`: is the painted picture nearest to the one that its prompt describes?
//!
//! For each of two lists (captions that training saw, and pairs of concept and style that it never saw) a pool of
//! candidate pictures is chosen; some of them are painted from their default caption, and the whole pool is sorted by
//! distance to what was painted. A model that ignores the prompt finds its reference among the nearest k of n with
//! probability k / n.

use std::sync::Arc;

use anyhow::Context as _;
use nextscale_models::generator::{ImageGenerator, ImageInput, ImagePlan};
use nextscale_models::sampling::Sampling;
use nextscale_models::{Model, ModelError, Placement, pixels};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::common::{Common, Measured, OnProgress};
use crate::distance;
use nextscale_data::{Dataset, captions};

/// Side of the coarse picture that pixels are compared on.
const COARSE: usize = 16;
/// The reference counts as found among so many nearest.
const NEAREST: usize = 5;

/// What to measure.
#[derive(Debug, Clone)]
pub struct RecallOptions {
    /// The model: a name or a folder.
    pub model: String,
    /// Prompts that training saw.
    pub seen: usize,
    /// Prompts of held-out pairs of concept and style.
    pub held_out: usize,
    /// Images that each generated one is compared with, at least 1.
    pub candidates: usize,
    /// Guidance scale; the model's if absent.
    pub cfg_scale: Option<f64>,
    /// Temperature, 0 or more; the model's if absent.
    pub temperature: Option<f64>,
    /// Data set, seed, batch and device.
    pub common: Common,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name in the model's manifest.
    pub model: String,
    /// Fingerprint of the weights.
    pub fingerprint: Option<String>,
    /// Seed of every random choice.
    pub seed: u64,
    /// How bits were sampled.
    pub sampling: Sampling,
    /// One entry per list of prompts.
    pub lists: Vec<ListReport>,
}

/// Figures of one list of prompts.
#[derive(Debug, Serialize)]
pub struct ListReport {
    /// `seen` or `held out`.
    pub list: &'static str,
    /// Images that each generated one was compared with.
    pub candidates: usize,
    /// What a model that ignores the prompt would reach.
    pub chance: f64,
    /// Compared by pixels.
    pub pixels: Recall,
    /// Compared by the features of the auto-encoder.
    pub features: Recall,
    /// Each prompt.
    pub prompts: Vec<PromptReport>,
}

/// Shares of prompts whose reference is found.
#[derive(Debug, PartialEq, Serialize)]
pub struct Recall {
    /// As the nearest candidate.
    pub first: f64,
    /// Among the five nearest.
    pub among_5: f64,
    /// Median rank, counted from 0.
    pub median_rank: usize,
}

/// One prompt; ranks count from 0.
#[derive(Debug, Serialize)]
pub struct PromptReport {
    /// Number of the image in the data set.
    pub id: usize,
    /// The prompt, without the model's own words.
    pub prompt: String,
    /// Rank of the reference by pixels.
    pub pixel_rank: usize,
    /// Rank of the reference by features.
    pub feature_rank: usize,
}

/// A loaded model of images from prompts.
struct Subject {
    generator: ImageGenerator,
    sampling: Sampling,
    side: usize,
}

/// Generates an image for each prompt and ranks its reference among the candidates.
///
/// # Errors
/// When the model or the data set can't be used.
pub fn run(args: &RecallOptions, progress: &OnProgress) -> anyhow::Result<Measured<Report>> {
    let (set, device) = args.common.open()?;
    anyhow::ensure!(
        set.size() % COARSE == 0,
        "pictures of {} pixels are no multiple of {COARSE}",
        set.size()
    );
    let model = Arc::new(Model::open(&args.model)?);
    let mut sampling = model.infinity()?.sampling.clone();
    sampling.cfg = args.cfg_scale.unwrap_or(sampling.cfg);
    sampling.temperature = args.temperature.unwrap_or(sampling.temperature);
    anyhow::ensure!(
        sampling.temperature >= 0.0,
        "--temperature must not be negative"
    );
    let placement = Placement {
        device,
        ..Placement::cpu()
    };
    let subject = Subject {
        generator: ImageGenerator::load(&model, &placement)?,
        sampling,
        side: set.size(),
    };
    let mut lists = Vec::new();
    let mut pairs = Vec::new();
    for (list, ids, count) in [
        ("seen", set.train_ids(), args.seen),
        ("held out", set.held_out_ids(), args.held_out),
    ] {
        if count == 0 || ids.is_empty() {
            continue;
        }
        let pool = choose(ids, args.candidates.max(count), args.common.seed);
        let painted =
            subject.generate(&set, &pool[..count.min(pool.len())], &args.common, progress)?;
        for (&id, picture) in pool.iter().zip(&painted).take(32) {
            pairs.extend([set.image(id, captions::WHITE), picture.clone()]);
        }
        lists.push(subject.compare(list, &set, &pool, &painted, args.common.batch)?);
    }
    anyhow::ensure!(!lists.is_empty(), "there is no prompt");
    let report = Report {
        model: model.manifest().name().to_owned(),
        fingerprint: model.fingerprint(),
        seed: args.common.seed,
        sampling: subject.sampling.clone(),
        lists,
    };
    Ok(Measured {
        report,
        tiles: pairs,
        side: set.size(),
    })
}

/// Up to `count` of the pictures in a random order that depends on the seed only.
fn choose(mut ids: Vec<usize>, count: usize, seed: u64) -> Vec<usize> {
    ids.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    ids.truncate(count);
    ids
}

impl Subject {
    fn plan(&self) -> Result<&ImagePlan, ModelError> {
        self.generator.plan(self.side, self.side)
    }

    /// Generates the default captions of the images `ids`, on white, one seed a prompt.
    fn generate(
        &self,
        set: &Dataset,
        ids: &[usize],
        common: &Common,
        progress: &OnProgress,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let plan = self.plan()?;
        let sampling = self.generator.sampling_plan(&self.sampling, plan);
        let mut generated = Vec::new();
        for chunk in ids.chunks(common.batch) {
            let caption = |&id: &usize| captions::canonical(set.entry(id));
            let prompts: Vec<String> = chunk.iter().map(caption).collect();
            let condition = self.generator.encode(&prompts, "")?;
            let seed = |&id: &usize| common.seed.wrapping_add(id as u64);
            let seeds = chunk.iter().map(seed).collect();
            let input = ImageInput::new(condition, seeds, sampling.clone());
            let last = self.generator.run(plan, input)?.last();
            let last = last.context("the schedule has no scale")?;
            let decoded = self.generator.autoencoder().decode(last, None);
            generated.extend(pixels::to_bytes(decoded)?);
            progress(generated.len(), ids.len());
        }
        Ok(generated)
    }

    /// Ranks the references of the painted pictures, which are the first of the pool.
    fn compare(
        &self,
        list: &'static str,
        set: &Dataset,
        pool: &[usize],
        painted: &[Vec<u8>],
        batch: usize,
    ) -> Result<ListReport, ModelError> {
        let originals: Vec<Vec<u8>> = pool
            .iter()
            .map(|&id| set.image(id, captions::WHITE))
            .collect();
        let coarse = |all: &[Vec<u8>]| -> Vec<Vec<f32>> {
            all.iter()
                .map(|p| distance::coarse(p, set.size(), COARSE))
                .collect()
        };
        let pixel_ranks = ranks(&coarse(painted), &coarse(&originals));
        let features = |all: &[Vec<u8>]| self.features(all, batch);
        let feature_ranks = ranks(&features(painted)?, &features(&originals)?);
        let prompt = |(i, &id): (usize, &usize)| PromptReport {
            id,
            prompt: captions::canonical(set.entry(id)),
            pixel_rank: pixel_ranks[i],
            feature_rank: feature_ranks[i],
        };
        Ok(ListReport {
            list,
            candidates: pool.len(),
            chance: NEAREST.min(pool.len()) as f64 / pool.len() as f64,
            pixels: Recall::of(&pixel_ranks),
            features: Recall::of(&feature_ranks),
            prompts: pool[..painted.len()]
                .iter()
                .enumerate()
                .map(prompt)
                .collect(),
        })
    }

    /// The latent of each image as the decoder sees it: the sum of its codes over all scales.
    fn features(&self, images: &[Vec<u8>], batch: usize) -> Result<Vec<Vec<f32>>, ModelError> {
        let (plan, autoencoder) = (self.plan()?, self.generator.autoencoder());
        let mut all = Vec::with_capacity(images.len());
        for chunk in images.chunks(batch) {
            let bytes = chunk.iter().map(Vec::as_slice);
            let device = self.generator.device();
            let image = pixels::from_bytes(bytes, [self.side; 2], device);
            let latent = autoencoder.encode(image);
            let latent = autoencoder.quantize(latent, plan.cells()).sum;
            let length = latent.dims().iter().skip(1).product();
            let values: Vec<f32> = latent.into_data().convert::<f32>().iter::<f32>().collect();
            all.extend(values.chunks_exact(length).map(<[f32]>::to_vec));
        }
        Ok(all)
    }
}

fn ranks(queries: &[Vec<f32>], candidates: &[Vec<f32>]) -> Vec<usize> {
    queries
        .iter()
        .enumerate()
        .map(|(i, query)| distance::rank(query, candidates, i))
        .collect()
}

impl Recall {
    fn of(ranks: &[usize]) -> Self {
        let share =
            |k: usize| ranks.iter().filter(|r| **r < k).count() as f64 / ranks.len().max(1) as f64;
        let mut sorted = ranks.to_vec();
        sorted.sort_unstable();
        let median_rank = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        Recall {
            first: share(1),
            among_5: share(NEAREST),
            median_rank,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_of_known_ranks() {
        let recall = Recall::of(&[0, 0, 4, 5, 100]);
        assert_eq!(
            recall,
            Recall {
                first: 0.4,
                among_5: 0.6,
                median_rank: 4
            }
        );
    }

    #[test]
    fn the_choice_depends_on_the_seed_alone() {
        let ids = || (0..500).collect::<Vec<_>>();
        assert_eq!(choose(ids(), 200, 3), choose(ids(), 200, 3));
        assert_ne!(choose(ids(), 200, 3), choose(ids(), 200, 4));
        assert_eq!(choose(ids(), 200, 3)[..100], choose(ids(), 100, 3));
    }
}
