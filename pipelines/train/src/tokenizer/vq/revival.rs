//! Codes that are no longer used get the vector of a cell that has no code near it.

use burn::tensor::Tensor;
use nextscale_tokenizer::revival::CodeHistory;
use nextscale_tokenizer::usage::count;
use nextscale_tokenizer::vqvae::Quantised;
use nextscale_tokenizer::{Quantizer as _, VqVae};
use serde::{Deserialize, Serialize};

use crate::shuffle::rng_for;

/// When unused codes are revived.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Revival {
    /// A code is dead if no scale has used it for this many steps. The log counts all other codes as used.
    pub after_steps: u64,
    /// Steps between two searches for dead codes; 0 never searches.
    pub every_steps: u64,
    /// Fraction of the budget after which codes are no longer revived.
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

impl Revival {
    /// Whether dead codes are searched for after the step numbered `step`, from 0.
    fn is_due(&self, step: u64) -> bool {
        self.every_steps > 0 && (step + 1).is_multiple_of(self.every_steps)
    }
}

/// The use of the codebook so far, which is part of the checkpoints.
#[derive(Serialize, Deserialize)]
pub(super) struct CodebookUse {
    /// Steps done.
    step: u64,
    /// Codes revived so far.
    moved: u64,
    usage: CodeHistory,
    /// What the batches of the current step used.
    #[serde(skip)]
    batches: Vec<BatchCodes>,
}

/// What a batch used.
#[derive(Serialize, Deserialize)]
pub(super) struct BatchCodes {
    /// The number of the batch: threads finish in any order.
    number: u64,
    /// How often each code occurs on each scale.
    counts: Vec<Vec<u32>>,
    /// Cells that may become codes.
    cells: Vec<Cell>,
}

impl BatchCodes {
    /// Counts the codes of the batch `number` of the step numbered `step`; also collects its cells if dead codes are to be
    /// revived after the step.
    pub(super) fn new(
        revival: &Revival,
        model: &VqVae,
        step: u64,
        number: u64,
        quantised: &Quantised,
    ) -> Self {
        let mut cells = Vec::new();
        if revival.is_due(step) {
            for (codes, scale) in quantised.codes.iter().zip(&quantised.cells) {
                let vectors = model.codebook.embed(codes).detach();
                cells.extend(list(scale.clone(), vectors));
            }
        }
        Self {
            number,
            counts: count(&quantised.codes, model.codebook.vocabulary()),
            cells,
        }
    }
}

/// A cell of a latent and its squared distance to its code.
#[derive(Clone, Serialize, Deserialize)]
struct Cell {
    vector: Vec<f32>,
    error: f32,
}

impl CodebookUse {
    /// Nothing used yet, of `codes` codes on `scales` scales.
    pub(super) fn new(scales: usize, codes: usize) -> Self {
        Self {
            step: 0,
            moved: 0,
            usage: CodeHistory::new(scales, codes),
            batches: Vec::new(),
        }
    }

    /// Whether this is the use of `codes` codes on `scales` scales.
    pub(super) fn fits(&self, scales: usize, codes: usize) -> bool {
        self.usage.fits(scales, codes)
    }

    /// Adds the codes of a batch of the current step.
    pub(super) fn add(&mut self, batch: BatchCodes) {
        self.batches.push(batch);
    }

    /// What the batches of the current step used, as bytes.
    pub(super) fn batches(&self) -> Vec<u8> {
        serde_json::to_vec(&self.batches).expect("numbers are JSON")
    }

    /// Takes what all processes' batches of the current step used, as [`batches`](Self::batches) wrote it.
    pub(super) fn set_batches(&mut self, all: Vec<Vec<u8>>) {
        let read = |bytes: Vec<u8>| serde_json::from_slice::<Vec<BatchCodes>>(&bytes);
        let all = all
            .into_iter()
            .map(|bytes| read(bytes).expect("written by the same program"));
        self.batches = all.flatten().collect();
    }

    /// Adds up what the batches of the step numbered `step`, from 0, used.
    fn finish_step(&mut self, step: u64, codes: usize) -> Vec<Cell> {
        let mut batches = std::mem::take(&mut self.batches);
        batches.sort_by_key(|batch| batch.number);
        let mut sums = vec![vec![0; codes]; self.usage.scales()];
        let mut cells = Vec::new();
        for batch in batches {
            let all = sums.iter_mut().flatten().zip(batch.counts.iter().flatten());
            all.for_each(|(sum, count)| *sum += count);
            cells.extend(batch.cells);
        }
        self.step = step + 1;
        self.usage.record(self.step, &sums);
        cells
    }

    /// Finishes the step numbered `step`, from 0, and revives dead codes; `progress` is the fraction of the budget spent.
    pub(super) fn revive(
        &mut self,
        revival: &Revival,
        mut model: VqVae,
        step: u64,
        progress: f64,
        seed: u64,
    ) -> VqVae {
        let cells = self.finish_step(step, model.codebook.vocabulary());
        if !revival.is_due(step) || progress >= revival.until {
            return model;
        }
        let dead = self.usage.dead(self.step, revival.after_steps);
        let mut rng = rng_for(seed ^ 0x6465_6164, step);
        let vectors = draw(cells, dead.len(), &mut rng);
        let revived: Vec<_> = dead.into_iter().zip(vectors).collect();
        let codes: Vec<usize> = revived.iter().map(|(code, _)| *code).collect();
        self.usage.place(self.step, &codes);
        self.moved += codes.len() as u64;
        if !revived.is_empty() {
            model.codebook = model.codebook.with_vectors(&revived);
        }
        model
    }

    /// Share of the codes that are not dead (`used`), the perplexity of their use (`perplexity`) and the number of revived
    /// codes (`revived`); the first two also for each scale, from 0.
    pub(super) fn measurements(&self, revival: &Revival) -> Vec<(String, f64)> {
        let (step, usage, within) = (self.step, &self.usage, revival.after_steps);
        let mut all = vec![
            ("used".to_owned(), usage.used(step, within)),
            ("perplexity".to_owned(), usage.perplexity()),
            ("revived".to_owned(), self.moved as f64),
        ];
        for k in 0..usage.scales() {
            all.push((format!("used.{k}"), usage.used_on(k, step, within)));
            all.push((format!("perplexity.{k}"), usage.perplexity_on(k)));
        }
        all
    }
}

/// The cells `[b, c, t, h, w]` and their distances to the `vectors` of their codes.
fn list(cells: Tensor<5>, vectors: Tensor<5>) -> Vec<Cell> {
    let [b, c, t, h, w] = cells.dims();
    let rows = |x: Tensor<5>| -> Vec<f32> {
        let x = x.permute([0, 2, 3, 4, 1]).reshape([b * t * h * w, c]);
        x.into_data().convert::<f32>().iter().collect()
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

/// At most `count` of the cells, drawn without replacement with probabilities in proportion to their errors, as k-means++
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
        let mut drawn = draw(cells.clone(), 10, &mut rng_for(1, 1));
        assert_eq!(drawn, draw(cells.clone(), 10, &mut rng_for(1, 1)));
        assert_ne!(drawn, draw(cells.clone(), 10, &mut rng_for(1, 2)));
        drawn.sort_by(|a, b| a[0].total_cmp(&b[0]));
        drawn.dedup();
        assert_eq!(drawn.len(), 10);
        assert!(
            drawn.iter().filter(|v| v[0] >= 90.0).count() >= 9,
            "{drawn:?}"
        );
        assert_eq!(draw(cells[..3].to_vec(), 10, &mut rng_for(1, 1)).len(), 3);
        let exact = Cell {
            vector: vec![0.0],
            error: 0.0,
        };
        assert!(draw(vec![exact], 1, &mut rng_for(1, 1)).is_empty());
    }
}
