//! Low-rank adapters in training (LoRA, arXiv 2106.09685): the model is frozen, and for some linear layers of every block two thin
//! matrices are trained, whose product is added to the layer's weights.

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor};
use serde::{Deserialize, Serialize};

use crate::blocks::Block;
use crate::layers::LowRank;

/// Which layers are adapted, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Columns of the first matrix and rows of the second.
    pub rank: usize,
    /// The product is added times `alpha / rank`; the rank if absent.
    pub alpha: Option<f64>,
    /// Layers by their official name in a block, such as `sa.mat_qkv`, by its end, `mat_qkv`, or by its beginning, `ffn`. All
    /// linear layers of the blocks if empty.
    pub targets: Vec<String>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: None,
            targets: Vec::new(),
        }
    }
}

impl LoraConfig {
    /// The strength.
    pub fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(self.rank as f64)
    }

    /// The official names of the layers of `block` that are adapted.
    ///
    /// # Errors
    /// A sentence, if a target is the name of no layer, or the rank is 0.
    pub fn layers<B: Block>(&self, block: &B) -> Result<Vec<&'static str>, String> {
        if self.rank == 0 || !self.alpha().is_finite() {
            return Err("rank must be at least 1, and alpha a number".into());
        }
        let mut block = block.clone();
        let all: Vec<&str> = block
            .adaptable()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let is = |name: &str, target: &str| {
            let inside = |rest: Option<&str>| rest.is_some_and(|rest| rest.starts_with('.'));
            let ends = name
                .strip_suffix(target)
                .is_some_and(|rest| rest.ends_with('.'));
            name == target || ends || inside(name.strip_prefix(target))
        };
        if let Some(unknown) = self
            .targets
            .iter()
            .find(|t| !all.iter().any(|name| is(name, t)))
        {
            let known = all.join(", ");
            return Err(format!(
                "targets: `{unknown}` is no layer of a block; there are {known}"
            ));
        }
        let chosen =
            |name: &&str| self.targets.is_empty() || self.targets.iter().any(|t| is(name, t));
        Ok(all.into_iter().filter(chosen).collect())
    }

    /// The inputs and outputs of each layer of `block` that is adapted, in the order of [`layers`](Self::layers).
    ///
    /// # Errors
    /// As [`LoraConfig::layers`].
    pub fn shapes<B: Block>(&self, block: &B) -> Result<Vec<[usize; 2]>, String> {
        let chosen = self.layers(block)?;
        let mut block = block.clone();
        let layers = block.adaptable().into_iter();
        let layers = layers.filter(|(name, _)| chosen.contains(name));
        let shapes = layers.map(|(_, parts)| {
            let inputs = parts[0].weight.dims()[0];
            [inputs, parts.iter().map(|part| part.weight.dims()[1]).sum()]
        });
        Ok(shapes.collect())
    }
}

/// The two matrices of one layer.
#[derive(Module, Debug)]
pub struct Adapter {
    /// `[input, r]`.
    pub down: Param<Tensor<2>>,
    /// `[r, output]`; zeros at first, so that training starts from the model as it is.
    pub up: Param<Tensor<2>>,
}

/// The adapters of all blocks.
#[derive(Module, Debug)]
pub struct Adapters {
    /// Block by block, the layers of each in the order of [`LoraConfig::layers`].
    pub layers: Vec<Adapter>,
}

impl Adapters {
    /// Fresh adapters for `depth` blocks like `block`, on an autodiff device. `down` is drawn from the device's generator,
    /// uniformly within `1 / sqrt(input)` as in PEFT.
    ///
    /// # Errors
    /// As [`LoraConfig::layers`].
    pub fn init<B: Block>(
        config: &LoraConfig,
        block: &B,
        depth: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let shapes = config.shapes(block)?;
        let plain = device.clone().without_autodiff();
        let fresh = |&[inputs, outputs]: &[usize; 2]| {
            let bound = (inputs as f64).powf(-0.5);
            let uniform = Distribution::Uniform(-bound, bound);
            let down = Tensor::<2>::random([inputs, config.rank], uniform, &plain);
            let up = Tensor::<2>::zeros([config.rank, outputs], &plain);
            let trained = |x: Tensor<2>| Param::from_tensor(Tensor::from_inner(x).require_grad());
            Adapter {
                down: trained(down),
                up: trained(up),
            }
        };
        let layers = (0..depth).flat_map(|_| shapes.iter().map(fresh));
        Ok(Self {
            layers: layers.collect(),
        })
    }

    /// Adds those of block `i` to it; `chosen` are the names of the adapted layers. Without `recorded` they have no gradients.
    pub fn add_to<B: Block>(
        &self,
        block: &mut B,
        i: usize,
        chosen: &[&'static str],
        scale: f32,
        recorded: bool,
    ) {
        let own = &self.layers[i * chosen.len()..(i + 1) * chosen.len()];
        let value = |param: &Param<Tensor<2>>| {
            let value = param.val();
            if value.is_autodiff() && !recorded {
                value.inner()
            } else {
                value
            }
        };
        let layers = block.adaptable().into_iter();
        let layers = layers.filter(|(name, _)| chosen.contains(name));
        for ((_, parts), adapter) in layers.zip(own) {
            let (down, up) = (value(&adapter.down), value(&adapter.up));
            let mut from = 0;
            for part in parts {
                let to = from + part.weight.dims()[1];
                part.low_rank = Some(LowRank {
                    down: down.clone(),
                    up: up.clone().slice_dim(1, from..to),
                    scale,
                });
                from = to;
            }
        }
    }
}
