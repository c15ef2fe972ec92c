//! `nextscale eval recall`: is a generated image nearest to the one that its prompt describes?
//!
//! There are two lists of prompts: captions that training saw, and pairs of concept and style that it never saw. For each
//! list a pool of candidate images is chosen. Some of them are generated from their default caption, and the whole pool is
//! sorted by distance to each generated image. A third list is the caller's: prompts in other words, each with the name of what is meant. A model that ignores the prompt finds its reference among the nearest k of n
//! with probability k / n.

use std::collections::HashMap;
use std::sync::Arc;

use nextscale_data::{Dataset, captions};
use nextscale_models::device::Dtype;
use nextscale_models::generator::{ImageGenerator, ImageInput, ImagePlan};
use nextscale_models::sampling::{Sampling, SamplingPlan};
use nextscale_models::shortcuts::ShortcutChoice;
use nextscale_models::{Model, ModelError, pixels};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::error::EvalError;
use crate::measure::{MeasureOptions, Measured, OnProgress, check_temperature};
use crate::metrics::{mean_colours, rank};

/// Squares along each side whose mean colours are compared.
const SQUARES: usize = 16;
/// A reference counts as found among this many nearest candidates.
const NEAREST: usize = 5;
/// Generated images of each list on the contact sheet.
const TILES: usize = 32;

/// What to measure.
#[derive(Debug, Clone)]
pub struct RecallOptions {
    /// The model: a name or a folder.
    pub model: String,
    /// Number of prompts from the training set.
    pub seen: usize,
    /// Number of prompts held out from training.
    pub held_out: usize,
    /// Prompts in other words, each with the name of what is meant.
    pub meant: Vec<Meant>,
    /// Number of images that each generated one is compared with.
    pub candidates: usize,
    /// Guidance scale; the model's if absent.
    pub cfg_scale: Option<f64>,
    /// Temperature, at least 0; the model's if absent.
    pub temperature: Option<f64>,
    /// What images leave out to be faster.
    pub shortcuts: ShortcutChoice,
    /// Data set, seed, batch and device.
    pub measure: MeasureOptions,
}

/// A prompt in other words than the captions'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meant {
    /// The prompt.
    pub prompt: String,
    /// The name of the images that are meant.
    pub name: String,
}

impl Meant {
    /// Reads lines of a prompt and a name with a tab between them. Empty lines, and those that begin with `#`, are passed over.
    ///
    /// # Errors
    /// A line without a tab, in a sentence.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        let lines = (1..).zip(text.lines());
        let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let meant = lines.map(|(number, line)| {
            let (prompt, name) = line.split_once('\t').ok_or_else(|| {
                format!("line {number}: give a prompt and the name of what is meant, with a tab between them")
            })?;
            let (prompt, name) = (prompt.trim().to_owned(), name.trim().to_owned());
            Ok(Self { prompt, name })
        });
        meant.collect()
    }
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
    /// Figures of each list of prompts.
    pub lists: Vec<ListReport>,
}

/// Figures of one list of prompts.
#[derive(Debug, Serialize)]
pub struct ListReport {
    /// `seen`, `held out` or `in other words`.
    pub list: &'static str,
    /// Number of images that each generated one was compared with.
    pub candidates: usize,
    /// The recall among the five nearest of a model that ignores the prompt.
    pub chance: f64,
    /// Compared by pixels.
    pub pixels: Recall,
    /// Compared by the features of the auto-encoder.
    pub features: Recall,
    /// Each prompt.
    pub prompts: Vec<PromptReport>,
}

/// Fractions of prompts whose reference is found.
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
    /// The prompt as it was given to the model.
    pub prompt: String,
    /// Rank of the reference by pixels.
    pub pixel_rank: usize,
    /// Rank of the reference by features.
    pub feature_rank: usize,
}

/// Generates an image for each prompt and ranks its reference among the candidates.
///
/// # Errors
/// The model or the data set cannot be used, or the model does not generate images of the data set's size.
pub fn run(
    options: &RecallOptions,
    progress: OnProgress<'_>,
) -> Result<Measured<Report>, EvalError> {
    let (measure, set) = (&options.measure, Dataset::load(&options.measure.data)?);
    let side = set.size();
    if !side.is_multiple_of(SQUARES) {
        return Err(EvalError::Squares {
            side,
            squares: SQUARES,
        });
    }
    check_temperature(options.temperature)?;
    let model = Arc::new(Model::open(&options.model)?);
    let mut sampling = model.infinity()?.sampling.clone();
    sampling.cfg = options.cfg_scale.unwrap_or(sampling.cfg);
    sampling.temperature = options.temperature.unwrap_or(sampling.temperature);
    let placement = measure.open(Dtype::F32)?;
    let generator = ImageGenerator::load(&model, &placement)?;
    let plan = generator.plan(side, side)?;
    let scales = plan.schedule().len();
    let shortcuts = options.shortcuts.resolve_for(&model, scales);
    let shortcuts = shortcuts.map_err(ModelError::from)?;
    let plan = plan.with_shortcuts(shortcuts.of_transformer());
    let subject = Subject {
        sampling: generator
            .sampling_plan(&sampling, &plan)
            .guided_until(shortcuts.guidance_until),
        generator: &generator,
        plan: &plan,
        set: &set,
        options,
    };
    let (lists, tiles) = subject.lists(progress)?;
    let report = Report {
        model: model.manifest().name().to_owned(),
        fingerprint: model.fingerprint(),
        seed: measure.seed,
        sampling,
        lists,
    };
    Ok(Measured {
        report,
        tiles,
        side,
    })
}

/// Up to `count` of the images in a random order that depends on the seed alone.
fn choose(mut ids: Vec<usize>, count: usize, seed: u64) -> Vec<usize> {
    ids.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    ids.truncate(count);
    ids
}

/// Prompts, and the images that each generated one is compared with.
struct Asked {
    prompts: Vec<String>,
    /// The reference of each prompt: a position in the pool.
    references: Vec<usize>,
    /// Numbers of images.
    pool: Vec<usize>,
}

impl Asked {
    /// The number of each prompt's reference.
    fn ids(&self) -> impl Iterator<Item = usize> {
        self.references.iter().map(|&at| self.pool[at])
    }

    fn ranks(&self, queries: &[Vec<f32>], candidates: &[Vec<f32>]) -> Vec<usize> {
        let queries = queries.iter().zip(&self.references);
        queries
            .map(|(query, &reference)| rank(query, candidates, reference))
            .collect()
    }
}

/// What is measured, loaded.
struct Subject<'a> {
    generator: &'a ImageGenerator,
    plan: &'a ImagePlan,
    sampling: SamplingPlan,
    set: &'a Dataset,
    options: &'a RecallOptions,
}

impl Subject<'_> {
    /// The figures of both lists of prompts, and tiles of references and generated images.
    fn lists(
        &self,
        progress: OnProgress<'_>,
    ) -> Result<(Vec<ListReport>, Vec<Vec<u8>>), EvalError> {
        let (options, set) = (self.options, self.set);
        let (mut lists, mut tiles) = (Vec::new(), Vec::new());
        for (list, ids, count) in [
            ("seen", set.train_ids(), options.seen),
            ("held out", set.held_out_ids(), options.held_out),
        ] {
            if count == 0 || ids.is_empty() {
                continue;
            }
            let pool = choose(ids, options.candidates.max(count), options.measure.seed);
            let caption = |&id: &usize| captions::canonical(set.entry(id));
            let asked = pool.iter().take(count);
            let asked = Asked {
                prompts: asked.clone().map(caption).collect(),
                references: (0..asked.len()).collect(),
                pool,
            };
            lists.push(self.list(list, &asked, &mut tiles, progress)?);
        }
        if !options.meant.is_empty() {
            let asked = self.meant()?;
            lists.push(self.list("in other words", &asked, &mut tiles, progress)?);
        }
        if lists.is_empty() {
            return Err(EvalError::NoPrompt);
        }
        Ok((lists, tiles))
    }

    /// What is meant by prompts in other words, and as many other images as there are candidates: of each name the one that answers it
    /// without a style.
    fn meant(&self) -> Result<Asked, EvalError> {
        let (options, entries) = (self.options, self.set.entries());
        let plain: HashMap<&str, usize> = entries
            .iter()
            .filter(|entry| entry.plain)
            .map(|entry| (entry.name.as_str(), entry.id))
            .collect();
        let (mut pool, mut references) = (vec![], vec![]);
        for Meant { name, .. } in &options.meant {
            let id = plain.get(name.as_str());
            let id = *id.ok_or_else(|| EvalError::NoSuchName { name: name.clone() })?;
            references.push(
                pool.iter()
                    .position(|&known| known == id)
                    .unwrap_or(pool.len()),
            );
            if references.last() == Some(&pool.len()) {
                pool.push(id);
            }
        }
        let others = plain.values().filter(|id| !pool.contains(id));
        let mut others: Vec<usize> = others.copied().collect();
        others.sort_unstable();
        let count = options.candidates.saturating_sub(pool.len());
        pool.extend(choose(others, count, options.measure.seed));
        let prompts = options.meant.iter().map(|meant| meant.prompt.clone());
        Ok(Asked {
            prompts: prompts.collect(),
            references,
            pool,
        })
    }

    /// The figures of a list of prompts, and its tiles.
    fn list(
        &self,
        list: &'static str,
        asked: &Asked,
        tiles: &mut Vec<Vec<u8>>,
        progress: OnProgress<'_>,
    ) -> Result<ListReport, EvalError> {
        let generated = self.generate(asked, progress)?;
        for (id, image) in asked.ids().zip(&generated).take(TILES) {
            tiles.extend([self.set.image(id, captions::WHITE), image.clone()]);
        }
        Ok(self.compare(list, asked, &generated))
    }

    /// Generates images of the prompts, on white, each with its own seed.
    fn generate(&self, asked: &Asked, progress: OnProgress<'_>) -> Result<Vec<Vec<u8>>, EvalError> {
        let mut generated = Vec::new();
        let (seed, batch) = (self.options.measure.seed, self.options.measure.batch);
        let seeds: Vec<u64> = asked.ids().map(|id| seed.wrapping_add(id as u64)).collect();
        for (prompts, seeds) in asked.prompts.chunks(batch).zip(seeds.chunks(batch)) {
            let input = ImageInput::new(
                self.generator.encode(prompts, "")?,
                seeds.to_vec(),
                self.sampling.clone(),
            );
            let latent = self.generator.run(self.plan, input)?.last();
            let latent = latent.ok_or_else(|| ModelError::refused("the schedule has no scale"))?;
            let images = self.generator.autoencoder().decode(latent, None);
            generated.extend(pixels::to_bytes(images)?);
            progress(generated.len(), asked.prompts.len());
        }
        Ok(generated)
    }

    /// Ranks the references of the generated images.
    fn compare(&self, list: &'static str, asked: &Asked, generated: &[Vec<u8>]) -> ListReport {
        let (set, pool) = (self.set, &asked.pool);
        let originals = pool.iter().map(|&id| set.image(id, captions::WHITE));
        let originals: Vec<Vec<u8>> = originals.collect();
        let colours = |all: &[Vec<u8>]| -> Vec<Vec<f32>> {
            let one = |image: &Vec<u8>| mean_colours(image, set.size(), SQUARES);
            all.iter().map(one).collect()
        };
        let pixel_ranks = asked.ranks(&colours(generated), &colours(&originals));
        let feature_ranks = asked.ranks(&self.features(generated), &self.features(&originals));
        let prompts = asked.ids().zip(&asked.prompts);
        let prompts = prompts.zip(pixel_ranks.iter().zip(&feature_ranks));
        ListReport {
            list,
            candidates: pool.len(),
            chance: NEAREST.min(pool.len()) as f64 / pool.len() as f64,
            pixels: Recall::of(&pixel_ranks),
            features: Recall::of(&feature_ranks),
            prompts: prompts
                .map(
                    |((id, prompt), (&pixel_rank, &feature_rank))| PromptReport {
                        id,
                        prompt: prompt.clone(),
                        pixel_rank,
                        feature_rank,
                    },
                )
                .collect(),
        }
    }

    /// The latent of each image as the decoder sees it: the sum of its codes over all scales.
    fn features(&self, images: &[Vec<u8>]) -> Vec<Vec<f32>> {
        let (autoencoder, side) = (self.generator.autoencoder(), self.set.size());
        let mut features = Vec::with_capacity(images.len());
        for chunk in images.chunks(self.options.measure.batch) {
            let bytes = chunk.iter().map(Vec::as_slice);
            let latent = autoencoder.encode(pixels::from_bytes(
                bytes,
                [side, side],
                self.generator.device(),
            ));
            let latent = autoencoder.quantize(latent, self.plan.cells()).sum;
            let length = latent.dims().iter().skip(1).product();
            let values: Vec<f32> = latent.into_data().convert::<f32>().iter::<f32>().collect();
            features.extend(values.chunks_exact(length).map(<[f32]>::to_vec));
        }
        features
    }
}

impl Recall {
    fn of(ranks: &[usize]) -> Self {
        let found = |k: usize| ranks.iter().filter(|rank| **rank < k).count() as f64;
        let share = |k: usize| found(k) / ranks.len().max(1) as f64;
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
        let expected = Recall {
            first: 0.4,
            among_5: 0.6,
            median_rank: 4,
        };
        assert_eq!(Recall::of(&[0, 0, 4, 5, 100]), expected);
    }

    #[test]
    fn prompts_and_what_they_mean_are_read() {
        let read = Meant::parse("# test\n\na sleepy puppy\tdog \n").unwrap();
        let meant = Meant {
            prompt: "a sleepy puppy".to_owned(),
            name: "dog".to_owned(),
        };
        assert_eq!(read, [meant]);
        let error = Meant::parse("a\tb\na puppy, dog\n").unwrap_err();
        assert!(error.starts_with("line 2: give a prompt"), "{error}");
    }

    #[test]
    fn the_choice_depends_on_the_seed_alone() {
        let ids = || (0..500).collect::<Vec<_>>();
        assert_eq!(choose(ids(), 200, 3), choose(ids(), 200, 3));
        assert_ne!(choose(ids(), 200, 3), choose(ids(), 200, 4));
        assert_eq!(choose(ids(), 200, 3)[..100], choose(ids(), 100, 3));
    }
}
