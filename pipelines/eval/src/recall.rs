//! `nextscale eval recall`: is the painted picture nearest to the one that its prompt describes?
//!
//! For each of two lists (captions that training saw, and pairs of concept and style that it never saw) a pool of
//! candidate pictures is chosen; some of them are painted from their default caption, and the whole pool is sorted by
//! distance to what was painted. A model that ignores the prompt finds its reference among the nearest k of n with
//! probability k / n.

use anyhow::Context as _;
use burn::tensor::Device;
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::generate::{GenerateInput, generate};
use nextscale_bitwise::infinity::{Infinity, Plan, TextCondition};
use nextscale_bitwise::vae::BsqVae;
use nextscale_text::TextEncoder;
use nextscale_tokenizer::Pyramid;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::common::{Common, Measured, OnProgress};
use crate::pixels;
use nextscale_data::{Dataset, captions};
use nextscale_models::bundle::{BlockStorage, Bundle, Manifest, Sampling};

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

/// The parts of a model, loaded.
struct Painter<'a> {
    manifest: &'a Manifest,
    text: TextEncoder,
    model: Infinity,
    vae: BsqVae,
    bsq: Bsq,
    plan: Plan,
    sampling: Sampling,
    device: Device,
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
    let bundle = Bundle::open(&args.model)?;
    let mut sampling = bundle.manifest().sampling.clone();
    sampling.cfg = args.cfg_scale.unwrap_or(sampling.cfg);
    sampling.tau = args.temperature.unwrap_or(sampling.tau);
    anyhow::ensure!(sampling.tau >= 0.0, "--temperature must not be negative");
    let painter = Painter::load(&bundle, set.size(), sampling, device)?;
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
            painter.paint(&set, &pool[..count.min(pool.len())], &args.common, progress)?;
        for (&id, picture) in pool.iter().zip(&painted).take(32) {
            pairs.extend([set.image(id, captions::WHITE), picture.clone()]);
        }
        lists.push(painter.compare(list, &set, &pool, &painted, args.common.batch));
    }
    anyhow::ensure!(!lists.is_empty(), "there is no prompt to paint");
    let report = Report {
        model: bundle.manifest().name.clone(),
        fingerprint: bundle.fingerprint(),
        seed: args.common.seed,
        sampling: painter.sampling.clone(),
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

impl<'a> Painter<'a> {
    fn load(
        bundle: &'a Bundle,
        side: usize,
        sampling: Sampling,
        device: Device,
    ) -> anyhow::Result<Self> {
        let manifest = bundle.manifest();
        let size = manifest.size(Some(side), Some(side)).map_err(|_| {
            anyhow::anyhow!(
                "the model `{}` does not paint {side}x{side} pixels",
                bundle.name()
            )
        })?;
        let schedule = size.schedule().map_err(anyhow::Error::msg)?;
        let reference = size.reference().unwrap_or(schedule.last());
        Ok(Self {
            text: bundle.text_encoder(&device)?,
            model: bundle.transformer(
                &device,
                burn::tensor::FloatDType::F32,
                BlockStorage::Loaded,
            )?,
            vae: bundle.vae(&device)?,
            bsq: Bsq::new(manifest.vae.bits),
            plan: Plan::stepwise(&manifest.transformer, &schedule, reference, &device),
            manifest,
            sampling,
            device,
        })
    }

    /// Paints the default captions of the pictures `ids`, on white, one seed a prompt.
    fn paint(
        &self,
        set: &Dataset,
        ids: &[usize],
        common: &Common,
        progress: &OnProgress,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let scales = self.plan.schedule().len();
        let mut painted = Vec::new();
        for chunk in ids.chunks(common.batch) {
            let prompt = |&id: &usize| {
                self.manifest
                    .prompt
                    .apply(&captions::canonical(set.entry(id)))
            };
            let prompts: Vec<String> = chunk.iter().map(prompt).collect();
            let text = self
                .text
                .encode(&prompts)
                .context("the prompts cannot be encoded")?;
            let text = TextCondition::new(text.features, text.lens);
            let seeds: Vec<u64> = chunk
                .iter()
                .map(|&id| common.seed.wrapping_add(id as u64))
                .collect();
            let (sampler, options) = self.sampling.start(&seeds, scales);
            let input = GenerateInput {
                quantizer: &self.bsq,
                plan: &self.plan,
                patching: self.manifest.patching,
                text,
                negative: None,
                options,
                sampler,
            };
            let all = generate(&self.model, input);
            let last = all.last().context("the schedule has no scale")?;
            painted.extend(pixels::to_bytes(self.vae.decode(last.features)));
            progress(painted.len(), ids.len());
        }
        Ok(painted)
    }

    /// Ranks the references of the painted pictures, which are the first of the pool.
    fn compare(
        &self,
        list: &'static str,
        set: &Dataset,
        pool: &[usize],
        painted: &[Vec<u8>],
        batch: usize,
    ) -> ListReport {
        let originals: Vec<Vec<u8>> = pool
            .iter()
            .map(|&id| set.image(id, captions::WHITE))
            .collect();
        let coarse = |all: &[Vec<u8>]| -> Vec<Vec<f32>> {
            all.iter()
                .map(|p| pixels::coarse(p, set.size(), COARSE))
                .collect()
        };
        let pixel_ranks = ranks(&coarse(painted), &coarse(&originals));
        let features = |all: &[Vec<u8>]| self.features(all, set.size(), batch);
        let feature_ranks = ranks(&features(painted), &features(&originals));
        let prompt = |(i, &id): (usize, &usize)| PromptReport {
            id,
            prompt: captions::canonical(set.entry(id)),
            pixel_rank: pixel_ranks[i],
            feature_rank: feature_ranks[i],
        };
        ListReport {
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
        }
    }

    /// The latent of each picture as the decoder sees it: the sum of its codes over all scales.
    fn features(&self, pictures: &[Vec<u8>], size: usize, batch: usize) -> Vec<Vec<f32>> {
        let cells = self.manifest.patching.cells(self.plan.schedule());
        let mut all = Vec::with_capacity(pictures.len());
        for chunk in pictures.chunks(batch) {
            let latent = self
                .vae
                .encode(pixels::to_tensor(chunk, size, &self.device));
            let latent = Pyramid::plain(&self.bsq).encode(latent, &cells).sum;
            let length = latent.dims().iter().skip(1).product();
            let values: Vec<f32> = latent.into_data().convert::<f32>().iter::<f32>().collect();
            all.extend(values.chunks_exact(length).map(<[f32]>::to_vec));
        }
        all
    }
}

fn ranks(queries: &[Vec<f32>], candidates: &[Vec<f32>]) -> Vec<usize> {
    queries
        .iter()
        .enumerate()
        .map(|(i, query)| pixels::rank(query, candidates, i))
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
