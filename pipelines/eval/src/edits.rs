//! `nextscale eval edits`: does an edited image show what its instruction asks for?
//!
//! Images that training never saw are edited by instructions whose results are known exactly. All results of one image, and
//! the image as it was, are candidates; an edit is right if its own is the nearest of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use nextscale_data::{Dataset, Edit, EditKind, Editor};
use nextscale_metrics::pairs::{mse, psnr};
use nextscale_models::device::Dtype;
use nextscale_models::generator::{ImageGenerator, ImageInput, ImagePlan};
use nextscale_models::sampling::{Sampling, SamplingPlan};
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
/// Instructions of one kind for each image, if there are as many.
const OF_A_KIND: usize = 3;
/// An edit whose result differs less from the image than this is left out: a mirrored ball says nothing.
const LEAST_CHANGE: f64 = 2e-3;
/// Edits on the contact sheet: each is three tiles.
const TILES: usize = 32;

/// What to measure.
#[derive(Debug, Clone)]
pub struct EditOptions {
    /// The model: a name or a folder.
    pub model: String,
    /// Number of images to edit.
    pub count: usize,
    /// Edit images of the training set instead of held-out ones.
    pub seen: bool,
    /// Guidance scale; the model's if absent.
    pub cfg_scale: Option<f64>,
    /// Temperature, at least 0; the model's if absent.
    pub temperature: Option<f64>,
    /// Data set, seed, batch and device.
    pub measure: MeasureOptions,
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
    /// Number of images that were edited.
    pub images: usize,
    /// Mean number of candidates of an edit.
    pub candidates: f64,
    /// All edits.
    pub all: Figures,
    /// The edits of each kind.
    pub kinds: Vec<(EditKind, Figures)>,
}

/// Figures of some edits.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// How many there are.
    pub edits: usize,
    /// Share of them whose result is the nearest candidate.
    pub right: f64,
    /// Mean PSNR against the exact result, dB.
    pub psnr: f64,
    /// The same of the exact results after the auto-encoder, which is the best that the model can reach.
    pub best_psnr: f64,
}

/// Edits images and compares them with the exact results.
///
/// # Errors
/// The model or the data set cannot be used, or the model does not edit images of the data set's size by instruction.
pub fn run(options: &EditOptions, progress: OnProgress<'_>) -> Result<Measured<Report>, EvalError> {
    let measure = &options.measure;
    let set = Arc::new(Dataset::load(&measure.data)?);
    let side = set.size();
    if !side.is_multiple_of(SQUARES) {
        let squares = SQUARES;
        return Err(EvalError::Squares { side, squares });
    }
    check_temperature(options.temperature)?;
    let model = Arc::new(Model::open(&options.model)?);
    let mut sampling = model.infinity()?.sampling.clone();
    sampling.cfg = options.cfg_scale.unwrap_or(sampling.cfg);
    sampling.temperature = options.temperature.unwrap_or(sampling.temperature);
    let generator = ImageGenerator::load(&model, &measure.open(Dtype::F32)?)?;
    let plan = generator.plan(side, side)?;
    let images = edits(&set, options)?;
    let subject = Subject {
        sampling: generator.sampling_plan(&sampling, &plan),
        generator: &generator,
        plan: &plan,
        measure,
        side,
    };
    let all: Vec<&Edit> = images.iter().flatten().map(|(_, edit)| edit).collect();
    let results = subject.results(&all, progress)?;
    let tiles = all.iter().zip(&results).step_by(all.len().div_ceil(TILES));
    let tiles = tiles.flat_map(|(edit, result)| [&edit.source, result, &edit.target]);
    let tiles = tiles.cloned().collect();
    let (candidates, all, kinds) = subject.figures(&images, &results)?;
    let report = Report {
        model: model.manifest().name().to_owned(),
        fingerprint: model.fingerprint(),
        seed: measure.seed,
        sampling,
        images: images.len(),
        candidates,
        all,
        kinds,
    };
    Ok(Measured {
        report,
        tiles,
        side,
    })
}

/// The edits of each image, with their kinds.
type OfImage = Vec<(EditKind, Edit)>;

/// The edits of some images, which depend on the seed alone.
fn edits(set: &Arc<Dataset>, options: &EditOptions) -> Result<Vec<OfImage>, EvalError> {
    let mut rng = ChaCha8Rng::seed_from_u64(options.measure.seed);
    let editor = Editor::new(set, !options.seen);
    let mut ids = editor.ids().to_vec();
    if ids.is_empty() {
        return Err(EvalError::NoImages {
            folder: options.measure.data.clone(),
            kind: if options.seen { "training" } else { "held-out" },
        });
    }
    ids.shuffle(&mut rng);
    ids.truncate(options.count);
    let of_image = |index: usize| {
        let mut all = OfImage::new();
        for kind in EditKind::ALL {
            let mut found = 0;
            // Drawn several times, for kinds with several instructions.
            for _ in 0..4 * OF_A_KIND {
                let edit = editor.plain(index, kind, &mut rng);
                let new = |edit: &Edit| all.iter().all(|(_, e)| e.instruction != edit.instruction);
                let changes = |edit: &Edit| mse(&edit.source, &edit.target) >= LEAST_CHANGE;
                if let Some(edit) = edit.filter(|e| found < OF_A_KIND && new(e) && changes(e)) {
                    all.push((kind, edit));
                    found += 1;
                }
            }
        }
        all
    };
    Ok(ids.into_iter().map(of_image).collect())
}

/// What is measured, loaded.
struct Subject<'a> {
    generator: &'a ImageGenerator,
    plan: &'a ImagePlan,
    sampling: SamplingPlan,
    measure: &'a MeasureOptions,
    side: usize,
}

impl Subject<'_> {
    /// The edited images, as the model makes them.
    fn results(
        &self,
        edits: &[&Edit],
        progress: OnProgress<'_>,
    ) -> Result<Vec<Vec<u8>>, EvalError> {
        let mut results = Vec::with_capacity(edits.len());
        for chunk in edits.chunks(self.measure.batch) {
            let prompts: Vec<&str> = chunk.iter().map(|edit| &*edit.instruction).collect();
            let seeds = (results.len() as u64..).map(|i| self.measure.seed.wrapping_add(i));
            let sources = chunk.iter().map(|edit| &*edit.source);
            let input = ImageInput::new(
                self.generator.encode(&prompts, "")?,
                seeds.take(chunk.len()).collect(),
                self.sampling.clone(),
            );
            let input = ImageInput {
                source: Some(self.encode(sources)),
                ..input
            };
            let latent = self.generator.run(self.plan, input)?.last();
            let latent = latent.ok_or_else(|| ModelError::refused("the schedule has no scale"))?;
            let images = self.generator.autoencoder().decode(latent, None);
            results.extend(pixels::to_bytes(images)?);
            progress(results.len(), edits.len());
        }
        Ok(results)
    }

    fn encode<'a>(&self, images: impl Iterator<Item = &'a [u8]>) -> burn::tensor::Tensor<5> {
        let shape = [self.side; 2];
        let images = pixels::from_bytes(images, shape, self.generator.device());
        self.generator.autoencoder().encode(images)
    }

    /// An image after the auto-encoder.
    fn reconstructed(&self, image: &[u8]) -> Result<Vec<u8>, EvalError> {
        let autoencoder = self.generator.autoencoder();
        let latent = self.encode(std::iter::once(image));
        let sum = autoencoder.quantize(latent, self.plan.cells()).sum;
        let bytes = pixels::to_bytes(autoencoder.decode(sum, None))?;
        Ok(bytes.into_iter().next().unwrap_or_default())
    }

    /// The mean number of candidates, and the figures of all edits and of each kind.
    #[allow(clippy::type_complexity)]
    fn figures(
        &self,
        images: &[OfImage],
        results: &[Vec<u8>],
    ) -> Result<(f64, Figures, Vec<(EditKind, Figures)>), EvalError> {
        let mut results = results.iter();
        let (mut all, mut kinds) = (Sums::default(), BTreeMap::<usize, Sums>::new());
        let mut candidates = 0;
        let colours = |image: &[u8]| mean_colours(image, self.side, SQUARES);
        for edits in images {
            let targets: Vec<Vec<f32>> = edits.iter().map(|(_, e)| colours(&e.target)).collect();
            for (i, ((kind, edit), result)) in edits.iter().zip(&mut results).enumerate() {
                let mut choice = targets.clone();
                choice.push(colours(&edit.source));
                candidates += choice.len();
                let best = self.reconstructed(&edit.target)?;
                let one = Sums {
                    edits: 1,
                    right: usize::from(rank(&colours(result), &choice, i) == 0),
                    psnr: psnr(mse(result, &edit.target)),
                    best_psnr: psnr(mse(&best, &edit.target)),
                };
                all.add(&one);
                let position = EditKind::ALL.iter().position(|k| k == kind);
                kinds
                    .entry(position.unwrap_or_default())
                    .or_default()
                    .add(&one);
            }
        }
        let kinds = kinds
            .iter()
            .map(|(&k, sums)| (EditKind::ALL[k], sums.mean()));
        let candidates = candidates as f64 / all.edits.max(1) as f64;
        Ok((candidates, all.mean(), kinds.collect()))
    }
}

#[derive(Default)]
struct Sums {
    edits: usize,
    right: usize,
    psnr: f64,
    best_psnr: f64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.edits += other.edits;
        self.right += other.right;
        self.psnr += other.psnr;
        self.best_psnr += other.best_psnr;
    }

    fn mean(&self) -> Figures {
        let n = self.edits.max(1) as f64;
        Figures {
            edits: self.edits,
            right: self.right as f64 / n,
            psnr: self.psnr / n,
            best_psnr: self.best_psnr / n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_of_edits() {
        let mut sums = Sums::default();
        for (right, psnr) in [(1, 20.0), (0, 10.0)] {
            sums.add(&Sums {
                edits: 1,
                right,
                psnr,
                best_psnr: 30.0,
            });
        }
        let expected = Figures {
            edits: 2,
            right: 0.5,
            psnr: 15.0,
            best_psnr: 30.0,
        };
        assert_eq!(sums.mean(), expected);
    }
}
