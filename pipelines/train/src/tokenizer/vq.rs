//! `nextscale train tokenizer` with `kind: vq`: VAR's auto-encoder, whose latent is written as indices of a codebook.
//!
//! The loss is the error of the repainted pictures plus that of the quantiser, `mean_k beta |sg(f_k) - f|^2 +
//! |f_k - sg(f)|^2` ([`VqVae::quantise`]): the gradient of the decoder passes straight through to the encoder, the
//! quantiser's trains codebook and phi and keeps the latent near its codes. Codes that were not used for a while get
//! the place of a cell that has none near it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context as _, ensure};
use burn::tensor::{Device, Tensor};
use nextscale_tokenizer::revival::CodeHistory;
use nextscale_tokenizer::usage::count;
use nextscale_tokenizer::vqvae::Quantised;
use nextscale_tokenizer::{Quantizer as _, Scale, ScaleSchedule, VqVae, VqVaeConfig};
use nextscale_var_core::train::{Loss, Task, TrainOptions};
use serde::{Deserialize, Serialize};

use crate::batches::images::{Augment, PictureBatch, PictureBatches};
use crate::shuffle::stream;
use crate::tokenizer::TokenizerKind;
use crate::tokenizer::reconstruction::{HeldOut, Repainting, repainting, tensor};
use nextscale_data::Dataset;

/// What `nextscale train tokenizer` reads for a tokenizer with a codebook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VqRun {
    /// [`TokenizerKind::Vq`].
    pub kind: TokenizerKind,
    /// Folder of the pictures, as `nextscale data build` made it.
    pub data: PathBuf,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Pictures a step.
    pub batch: usize,
    /// How pictures are varied.
    #[serde(default)]
    pub augment: Augment,
    /// Sizes of the auto-encoder.
    pub model: VqVaeConfig,
    /// Height and width of every scale; the last one is the size of the latent.
    pub scales: Vec<(usize, usize)>,
    /// Weights of the parts of the loss.
    #[serde(default)]
    pub loss: VqLoss,
    /// What happens to codes that are not used.
    #[serde(default)]
    pub revival: Revival,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

/// Weights of the parts of the loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VqLoss {
    /// Mean absolute error.
    pub l1: f64,
    /// Mean squared error.
    pub l2: f64,
    /// Mean absolute error of the differences between neighbours.
    pub edge: f64,
    /// The quantiser's loss.
    pub quantiser: f64,
    /// Within it, the weight of the commitment: how strongly the latent is drawn to its codes.
    pub beta: f64,
}

impl Default for VqLoss {
    fn default() -> Self {
        Self {
            l1: 0.5,
            l2: 5.0,
            edge: 0.25,
            quantiser: 1.0,
            beta: 0.25,
        }
    }
}

/// When codes that no scale uses get a new place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Revival {
    /// A code is dead when it was not used for so many steps. The log counts as used what is not dead.
    pub after_steps: u64,
    /// Steps between two looks for dead codes; 0 never looks.
    pub every_steps: u64,
    /// Part of the budget, 0 to 1, behind which codes stay where they are.
    pub until: f64,
}

impl Default for Revival {
    fn default() -> Self {
        Self {
            after_steps: 100,
            every_steps: 20,
            until: 0.8,
        }
    }
}

impl VqRun {
    /// The schedule that the quantiser follows.
    ///
    /// # Errors
    /// When the scales are no schedule.
    pub fn schedule(&self) -> anyhow::Result<ScaleSchedule> {
        let scales = self.scales.iter().map(|&(h, w)| Scale::image(h, w));
        ScaleSchedule::new(scales.collect()).context("scales")
    }

    /// The batches of the run.
    pub fn batches(&self, set: Arc<Dataset>) -> PictureBatches {
        PictureBatches::new(set, self.seed, self.batch, self.augment)
    }

    /// Refuses sizes that don't fit together.
    ///
    /// # Errors
    /// When the last scale is not the latent of a picture, the norm groups don't divide the channels, a number that
    /// must not be 0 is 0, or a weight is negative.
    pub fn check(&self, set: &Dataset) -> anyhow::Result<()> {
        let VqVaeConfig {
            vocabulary,
            channels,
            base_channels,
            mult,
            phis,
            phi_ratio,
            norm_groups,
            ..
        } = &self.model;
        ensure!(!mult.is_empty(), "model: mult must not be empty");
        for (key, value) in [
            ("vocabulary", vocabulary),
            ("channels", channels),
            ("phis", phis),
        ] {
            ensure!(*value > 0, "model: {key} must not be 0");
        }
        ensure!(
            (0.0..=1.0).contains(phi_ratio),
            "model: phi_ratio {phi_ratio} is no share between 0 and 1"
        );
        for channels in mult.iter().map(|mult| mult * base_channels) {
            ensure!(
                *norm_groups > 0 && channels > 0 && channels.is_multiple_of(*norm_groups),
                "model: {norm_groups} norm groups don't divide {channels} channels"
            );
        }
        let (last, stride) = (self.schedule()?.last(), self.model.stride());
        ensure!(
            set.size().is_multiple_of(stride)
                && (last.h, last.w) == (set.size() / stride, set.size() / stride),
            "the last scale is {}x{}, but a picture of {} pixels has a latent of {side}x{side} at a stride of {stride}",
            last.h,
            last.w,
            set.size(),
            side = set.size() / stride,
        );
        ensure!(self.batch > 0, "batch must be at least 1");
        let VqLoss {
            l1,
            l2,
            edge,
            quantiser,
            beta,
        } = self.loss;
        ensure!(
            [l1, l2, edge, quantiser, beta].iter().all(|&w| w >= 0.0),
            "loss: weights must not be negative"
        );
        ensure!(
            self.revival.after_steps > 0,
            "revival.after_steps must be at least 1"
        );
        Ok(())
    }
}

/// The task.
pub struct VqTask {
    run: VqRun,
    schedule: ScaleSchedule,
    size: usize,
    device: Device,
    held_out: HeldOut,
    gathered: Mutex<Gathered>,
}

/// What the batches of a step leave behind.
struct Gathered {
    step: u64,
    usage: CodeHistory,
    moved: u64,
    /// By the batch's number: counts of codes, and cells where dead codes may go.
    batches: Vec<(u64, Vec<Vec<u32>>, Vec<Cell>)>,
}

/// A cell of a latent and how far its code is from it, squared.
#[derive(Clone)]
struct Cell {
    vector: Vec<f32>,
    error: f32,
}

/// A [`Gathered`] between two runs of the program.
#[derive(Serialize, Deserialize)]
struct Memory {
    step: u64,
    moved: u64,
    usage: CodeHistory,
}

impl VqTask {
    /// The task of a run on an autodiff device.
    ///
    /// # Errors
    /// When the scales are no schedule.
    pub fn new(run: VqRun, set: &Dataset, device: Device) -> anyhow::Result<Self> {
        let schedule = run.schedule()?;
        Ok(Self {
            size: set.size(),
            held_out: HeldOut::new(set, 256),
            gathered: Mutex::new(Gathered {
                step: 0,
                usage: CodeHistory::new(schedule.len(), run.model.vocabulary),
                moved: 0,
                batches: Vec::new(),
            }),
            schedule,
            run,
            device,
        })
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether dead codes are looked for behind the step numbered `step`, from 0.
    fn looks(&self, step: u64) -> bool {
        let every = self.run.revival.every_steps;
        every > 0 && (step + 1).is_multiple_of(every)
    }

    /// Notes which codes a batch used and, when dead codes are to be looked for, the cells that it had.
    fn gather(&self, model: &VqVae, number: u64, quantised: &Quantised) {
        let counts = count(&quantised.codes, model.codebook.vocabulary());
        let step = number / self.run.train.parallel.max(1) as u64;
        let mut cells = Vec::new();
        if self.looks(step) {
            for (codes, seen) in quantised.codes.iter().zip(&quantised.cells) {
                let vectors = model.codebook.embed(codes).detach();
                cells.extend(list(seen.clone(), vectors));
            }
        }
        self.gathered().batches.push((number, counts, cells));
    }
}

/// The cells `[b, c, t, h, w]` and their distances to the `vectors` of their codes.
fn list(cells: Tensor<5>, vectors: Tensor<5>) -> Vec<Cell> {
    let [b, c, t, h, w] = cells.dims();
    let rows = |x: Tensor<5>| {
        let x = x.permute([0, 2, 3, 4, 1]).reshape([b * t * h * w, c]);
        let x: Vec<f32> = x.into_data().convert::<f32>().iter().collect();
        x
    };
    let (cells, vectors) = (rows(cells), rows(vectors));
    let square = |(a, b): (&f32, &f32)| (a - b) * (a - b);
    let pairs = cells.chunks_exact(c).zip(vectors.chunks_exact(c));
    pairs
        .map(|(cell, vector)| Cell {
            vector: cell.to_vec(),
            error: cell.iter().zip(vector).map(square).sum(),
        })
        .collect()
}

/// At most `count` of the cells, drawn without repetition with chances in proportion to their errors, as k-means++
/// draws its centres: the largest of `ln(u) / error` win, with `u` uniform in (0, 1).
fn draw(cells: Vec<Cell>, count: usize, rng: &mut impl rand::Rng) -> Vec<Vec<f32>> {
    let mut keyed: Vec<(f64, Cell)> = cells
        .into_iter()
        .map(|cell| {
            let u = 1.0 - rng.random::<f64>();
            (u.ln() / f64::from(cell.error), cell)
        })
        .filter(|(key, cell)| cell.error > 0.0 && key.is_finite())
        .collect();
    keyed.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    keyed.truncate(count);
    keyed.into_iter().map(|(_, cell)| cell.vector).collect()
}

impl Task for VqTask {
    type Model = VqVae;
    type Batch = PictureBatch;

    fn loss(&self, model: &VqVae, batch: PictureBatch) -> Loss {
        let pixels = tensor(batch.pixels, self.size, &self.device);
        let weights = &self.run.loss;
        let quantised = model.quantise(model.encode(pixels.clone()), &self.schedule, weights.beta);
        self.gather(model, batch.number, &quantised);
        let error = model.reconstruct(quantised.latent) - pixels;
        let Repainting { total, l2 } = repainting(error, weights.l1, weights.l2, weights.edge);
        Loss {
            total: total + quantised.loss.clone() * weights.quantiser,
            parts: vec![("mse", l2), ("quantiser", quantised.loss.detach())],
            examples: batch.count,
        }
    }

    /// Adds up what the batches of the step used, and gives dead codes a new place.
    fn after_step(&self, mut model: VqVae, step: u64, progress: f64) -> VqVae {
        let Revival {
            after_steps, until, ..
        } = self.run.revival;
        let mut gathered = self.gathered();
        let mut batches = std::mem::take(&mut gathered.batches);
        // Threads finish in any order.
        batches.sort_by_key(|(number, ..)| *number);
        let mut sums = vec![vec![0; model.codebook.vocabulary()]; self.schedule.len()];
        let mut cells = Vec::new();
        for (_, counts, seen) in batches {
            let all = sums.iter_mut().flatten().zip(counts.iter().flatten());
            all.for_each(|(sum, count)| *sum += count);
            cells.extend(seen);
        }
        let now = step + 1;
        gathered.step = now;
        gathered.usage.record(now, &sums);
        if self.looks(step) && progress < until {
            let dead = gathered.usage.dead(now, after_steps);
            let mut rng = stream(self.run.seed ^ 0x6465_6164, step);
            let places = draw(cells, dead.len(), &mut rng);
            let moved: Vec<_> = dead.into_iter().zip(places).collect();
            let codes: Vec<usize> = moved.iter().map(|(code, _)| *code).collect();
            gathered.usage.place(now, &codes);
            gathered.moved += codes.len() as u64;
            if !moved.is_empty() {
                model.codebook = model.codebook.with_vectors(&moved);
            }
        }
        model
    }

    /// Share of the codes that are not dead (`used`), to how many equally frequent codes their use amounts
    /// (`perplexity`), how many were given a new place (`revived`); the first two also for each scale, from 0.
    fn measure(&self) -> Vec<(String, f64)> {
        let gathered = self.gathered();
        let Gathered {
            step, usage, moved, ..
        } = &*gathered;
        let within = self.run.revival.after_steps;
        let mut all = vec![
            ("used".to_owned(), usage.used(*step, within)),
            ("perplexity".to_owned(), usage.perplexity()),
            ("revived".to_owned(), *moved as f64),
        ];
        for k in 0..usage.scales() {
            all.push((format!("used.{k}"), usage.used_on(k, *step, within)));
            all.push((format!("perplexity.{k}"), usage.perplexity_on(k)));
        }
        all
    }

    /// PSNR of the held-out pictures with all scales (`psnr`) and without the quantiser (`psnr_free`), in dB, and the
    /// share of the codes that they use.
    fn evaluate(&self, average: &VqVae) -> Vec<(&'static str, f64)> {
        let device = self.device.clone().inner();
        let vocabulary = average.codebook.vocabulary();
        let mut used = vec![false; vocabulary];
        let [codes, free] = self.held_out.psnr(&device, |pixels| {
            let z = average.encode(pixels);
            let encoded = average.pyramid().encode(z.clone(), &self.schedule);
            for counts in count(&encoded.codes, vocabulary) {
                let all = used.iter_mut().zip(counts);
                all.for_each(|(used, count)| *used |= count > 0);
            }
            [average.decode(encoded.sum), average.decode(z)]
        });
        let used = used.iter().filter(|used| **used).count() as f64 / vocabulary as f64;
        vec![
            ("psnr", codes),
            ("psnr_free", free),
            ("held_out_used", used),
        ]
    }

    fn state(&self) -> Option<String> {
        let gathered = self.gathered();
        let memory = Memory {
            step: gathered.step,
            moved: gathered.moved,
            usage: gathered.usage.clone(),
        };
        Some(serde_json::to_string(&memory).expect("numbers are JSON"))
    }

    fn restore_state(&self, memory: &str) -> Result<(), serde_json::Error> {
        use serde::de::Error as _;
        let memory: Memory = serde_json::from_str(memory)?;
        let (scales, codes) = (self.schedule.len(), self.run.model.vocabulary);
        if !memory.usage.fits(scales, codes) {
            let message = format!("not the use of {codes} codes on {scales} scales");
            return Err(serde_json::Error::custom(message));
        }
        let mut gathered = self.gathered();
        gathered.step = memory.step;
        gathered.moved = memory.moved;
        gathered.usage = memory.usage;
        Ok(())
    }

    fn no_decay(&self) -> &[&str] {
        &["codebook"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_far_from_their_codes_are_drawn_first_and_none_twice() {
        let cells: Vec<Cell> = (0..100u16)
            .map(|i| Cell {
                vector: vec![f32::from(i)],
                error: if i < 90 { 1e-6 } else { f32::from(i) },
            })
            .collect();
        let mut drawn = draw(cells.clone(), 10, &mut stream(1, 1));
        assert_eq!(drawn, draw(cells.clone(), 10, &mut stream(1, 1)));
        assert_ne!(drawn, draw(cells.clone(), 10, &mut stream(1, 2)));
        drawn.sort_by(|a, b| a[0].total_cmp(&b[0]));
        drawn.dedup();
        assert_eq!(drawn.len(), 10);
        assert!(
            drawn.iter().filter(|v| v[0] >= 90.0).count() >= 9,
            "{drawn:?}"
        );
        assert_eq!(draw(cells[..3].to_vec(), 10, &mut stream(1, 1)).len(), 3);
        let exact = Cell {
            vector: vec![0.0],
            error: 0.0,
        };
        assert!(draw(vec![exact], 1, &mut stream(1, 1)).is_empty());
    }
}
