//! Which layers of a model need a large cache of keys and values, as `nextscale calibrate` has measured it (ScaleKV, arXiv 2505.19602).

use std::path::Path;

use nextscale_files::bounded;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::model::Model;

/// Of so many layers one is a drafter: two of the 32 of Infinity-2B and three of the 40 of Infinity-8B, as in the paper's budgets.
const LAYERS_PER_DRAFTER: f64 = 16.0;
/// The largest index that is read, in bytes.
const MOST: u64 = 1 << 20;

/// The layers of a model, sorted into two kinds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheIndex {
    /// Name of the model.
    pub model: String,
    /// Fingerprint of its weights; none if its files have no known checksums.
    pub fingerprint: Option<String>,
    /// Rows and columns of the scales that were measured.
    pub scales: Vec<[usize; 2]>,
    /// Images that were measured.
    pub images: usize,
    /// Each layer, from the first.
    pub layers: Vec<LayerIndex>,
}

/// What an index knows of a layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerIndex {
    /// How much it keeps.
    pub kind: LayerKind,
    /// The share of attention that stays if each head keeps a tenth of the earlier tokens, those that get most; the mean of all scales.
    pub selectivity: f64,
    /// The same of each scale but the first.
    pub by_scale: Vec<f64>,
}

/// How much of the cache a layer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// It attends to many tokens of all scales, and keeps them.
    Drafter,
    /// It attends to its own scale and few earlier tokens.
    Refiner,
}

impl CacheIndex {
    /// The index of a model from the selectivity of each layer at each scale but the first, the mean of `images` images of these scales. The least
    /// selective layers become drafters.
    ///
    /// # Panics
    /// If there are no layers, or only one scale.
    pub fn new(
        model: &Model,
        scales: Vec<[usize; 2]>,
        images: usize,
        selectivity: Vec<Vec<f64>>,
    ) -> Self {
        let mean = |values: &Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let means: Vec<f64> = selectivity.iter().map(mean).collect();
        let drafters = (means.len() as f64 / LAYERS_PER_DRAFTER).round().max(1.0);
        let mut order: Vec<usize> = (0..means.len()).collect();
        order.sort_by(|&a, &b| means[a].total_cmp(&means[b]));
        order.truncate(drafters as usize);
        let layers = selectivity.into_iter().enumerate();
        let layers = layers.map(|(layer, by_scale)| LayerIndex {
            kind: if order.contains(&layer) {
                LayerKind::Drafter
            } else {
                LayerKind::Refiner
            },
            selectivity: means[layer],
            by_scale,
        });
        Self {
            model: model.manifest().name().to_owned(),
            fingerprint: model.fingerprint(),
            scales,
            images,
            layers: layers.collect(),
        }
    }

    /// Reads an index.
    ///
    /// # Errors
    /// A file that cannot be read, and one that is no index.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let bytes = bounded::read(path, MOST).map_err(|reason| ModelError::Io {
            action: "read",
            path: path.to_owned(),
            reason,
        })?;
        serde_json::from_slice(&bytes).map_err(|error| ModelError::Content {
            path: path.to_owned(),
            message: format!("is no cache index: {error}"),
            hint: Some("`nextscale calibrate` writes one".to_owned()),
        })
    }

    /// The numbers of the layers that are drafters, from 0.
    pub fn drafters(&self) -> Vec<usize> {
        let layers = self.layers.iter().enumerate();
        let drafters = layers.filter(|(_, layer)| layer.kind == LayerKind::Drafter);
        drafters.map(|(layer, _)| layer).collect()
    }

    /// What is said if it is the index of another model than this one.
    pub(crate) fn check(&self, model: &Model) -> Result<(), String> {
        let (name, depth) = (model.manifest().name(), model.depth());
        let other = if self.model != name {
            format!("of the model `{}`, not of `{name}`", self.model)
        } else if self.layers.len() != depth {
            format!("of {} layers, but `{name}` has {depth}", self.layers.len())
        } else if self.fingerprint.is_some() && self.fingerprint != model.fingerprint() {
            format!("of other weights than these of `{name}`")
        } else {
            return Ok(());
        };
        Err(format!(
            "the cache index is {other}; `nextscale calibrate` makes one"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::DEFAULT;

    #[test]
    fn the_least_selective_layers_are_drafters() {
        let model = Model::open(DEFAULT).unwrap();
        let depth = model.depth();
        let mut selectivity = vec![vec![0.9, 0.8]; depth];
        selectivity[2] = vec![0.2, 0.9];
        let index = CacheIndex::new(&model, vec![[1, 1], [2, 2], [3, 3]], 4, selectivity);
        assert_eq!(index.drafters(), [2]);
        assert!((index.layers[2].selectivity - 0.55).abs() < 1e-9);
        assert_eq!(index.check(&model), Ok(()));
        let text = serde_json::to_string(&index).unwrap();
        assert!(
            text.contains(r#"{"kind":"drafter","selectivity":0.55"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<CacheIndex>(&text).unwrap(), index);
        for (other, said) in [
            (
                CacheIndex {
                    model: "x".to_owned(),
                    ..index.clone()
                },
                "of the model `x`",
            ),
            (
                CacheIndex {
                    fingerprint: Some("0".to_owned()),
                    ..index.clone()
                },
                "of other weights",
            ),
            (
                CacheIndex {
                    layers: index.layers[1..].to_vec(),
                    ..index.clone()
                },
                "layers, but",
            ),
        ] {
            let told = other.check(&model).unwrap_err();
            assert!(told.contains(said), "{told}");
        }
        let many = |layers| CacheIndex::new(&model, vec![], 1, vec![vec![0.5]; layers]);
        assert_eq!(many(32).drafters(), [0, 1]);
        assert_eq!(many(40).drafters(), [0, 1, 2]);
    }
}
