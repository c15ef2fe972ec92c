//! The sizes of the paper's comparison, and what it says of them.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::measure::seconds;
use super::options::{ModelSize, Paradigm};
use super::shapes::bytes;
use crate::report::{Cell, Section, Table};
use crate::room::fits;

/// Steps of DiT-XL/2 in its paper.
const STEPS: usize = 250;
/// The side of the latent at 256 x 256.
const SIDE: usize = 16;

/// A model of the comparison.
struct Compared {
    name: &'static str,
    paradigm: Paradigm,
    size: ModelSize,
    steps: usize,
    /// What table 1 of the VAR paper (arXiv 2404.02905) says of the time of its kind, relative to VAR.
    paper: &'static str,
}

const COMPARED: [Compared; 3] = [
    Compared {
        name: "VAR-d16",
        paradigm: Paradigm::Var,
        size: ModelSize {
            width: 1024,
            depth: 16,
            heads: 16,
        },
        steps: 0,
        paper: "1",
    },
    Compared {
        name: "LlamaGen-L (256 codes, cache)",
        paradigm: Paradigm::RasterKept,
        size: ModelSize {
            width: 1024,
            depth: 24,
            heads: 16,
        },
        steps: 0,
        paper: "about 20 (VQGAN)",
    },
    Compared {
        name: "DiT-XL/2 (250 steps)",
        paradigm: Paradigm::Dit,
        size: ModelSize {
            width: 1152,
            depth: 28,
            heads: 16,
        },
        steps: STEPS,
        paper: "about 45",
    },
];

/// Seconds of an image of each; none of what does not fit the memory.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Measured(Vec<Option<f64>>);

impl Measured {
    pub(super) fn count() -> usize {
        COMPARED.len()
    }

    pub(super) fn done(&self) -> usize {
        self.0.len()
    }

    /// The name of the next.
    pub(super) fn next(&self) -> Option<&'static str> {
        COMPARED.get(self.0.len()).map(|compared| compared.name)
    }

    pub(super) fn measure_next(&mut self, device: &Device) {
        if let Some(next) = COMPARED.get(self.0.len()) {
            let room = fits(bytes(next.paradigm, next.size, SIDE), device);
            let took = room.then(|| seconds(next.paradigm, next.size, SIDE, next.steps, device));
            self.0.push(took);
        }
    }

    pub(super) fn section(&self) -> Section {
        let var = self.0.first().copied().flatten();
        let rows = COMPARED.iter().zip(&self.0).map(|(compared, &took)| {
            vec![
                Cell::from(compared.name),
                took.map_or_else(
                    || Cell::from("left out: does not fit the memory"),
                    Cell::from,
                ),
                Cell::from(took.zip(var).map(|(took, var)| took / var)),
                Cell::from(compared.paper),
            ]
        });
        let columns = ["model", "seconds", "relative to VAR", "the paper says"];
        Section {
            title: "256 x 256 at the sizes of the paper".to_owned(),
            text: vec![
                "One image, one row (no guidance), random weights, without the decoder. Of DiT's 250 steps a few are measured; the others take as long."
                    .to_owned(),
                "The last column is what the paper reports for its own comparison, of other implementations on another machine: it is no measurement of this one."
                    .to_owned(),
            ],
            charts: vec![],
            tables: vec![Table {
                name: "paper-sizes".to_owned(),
                title: "Seconds of an image".to_owned(),
                columns: columns.map(str::to_owned).to_vec(),
                rows: rows.collect(),
            }],
            ..Section::default()
        }
    }
}
