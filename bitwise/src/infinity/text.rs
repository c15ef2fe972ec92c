//! Text conditioning: pooled prompts and keys and values for cross attention.

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Bool, Device, Tensor},
};
use nextscale_var_core::{attention::attend, mask};

use super::config::InfinityConfig;
use nextscale_var_core::dtype::{cast, f32, value};
use nextscale_var_core::layers::{
    EPS, Linear, gelu, linear, merge_heads, project, project_raw, split_heads,
};

/// Text features of a batch of prompts.
#[derive(Debug, Clone)]
pub struct TextCondition {
    /// `[b, l, T]`; rows after the end of a prompt are padding and never read.
    pub features: Tensor<3>,
    /// Tokens of each prompt, 1 to `l`, including the end-of-text token.
    pub lens: Vec<usize>,
}

impl TextCondition {
    /// Wraps padded features.
    ///
    /// # Panics
    /// If there is not one length per prompt, or a length is 0 or larger than `l`.
    pub fn new(features: Tensor<3>, lens: Vec<usize>) -> Self {
        let [b, l, _] = features.dims();
        assert_eq!(b, lens.len(), "{b} prompts and {} lengths", lens.len());
        assert!(
            lens.iter().all(|&n| 0 < n && n <= l),
            "prompt lengths {lens:?} must be from 1 to {l}"
        );
        Self { features, lens }
    }

    /// From features without padding, `[sum of lens, T]`, one prompt after the other.
    ///
    /// # Panics
    /// If the lengths do not add up to the rows.
    pub fn from_compact(features: Tensor<2>, lens: &[usize]) -> Self {
        let [rows, t] = features.dims();
        assert_eq!(
            rows,
            lens.iter().sum::<usize>(),
            "prompt lengths {lens:?} must add up to the rows"
        );
        let width = lens.iter().copied().max().unwrap_or(0);
        let mut start = 0;
        let padded = lens.iter().map(|&len| {
            let prompt = features.clone().slice([start..start + len, 0..t]);
            start += len;
            widen(prompt.reshape([1, len, t]), width)
        });
        Self::new(Tensor::cat(padded.collect(), 0), lens.to_vec())
    }

    /// Number of prompts.
    pub fn batch(&self) -> usize {
        self.lens.len()
    }

    /// The prompts of `self` followed by those of `other`, padded to the longer width.
    pub fn concat(&self, other: &Self) -> Self {
        let width = self.features.dims()[1].max(other.features.dims()[1]);
        let halves = [self, other].map(|half| widen(half.features.clone(), width));
        let lens = self.lens.iter().chain(&other.lens).copied().collect();
        Self::new(Tensor::cat(halves.into(), 0), lens)
    }
}

/// Pads `[b, l, t]` with zeros to `[b, width, t]`.
fn widen(x: Tensor<3>, width: usize) -> Tensor<3> {
    let [b, l, t] = x.dims();
    if l == width {
        return x;
    }
    let zeros = Tensor::zeros([b, width - l, t], (&x.device(), x.dtype()));
    Tensor::cat(vec![x, zeros], 1)
}

/// A batch of prompts as the blocks use it.
#[derive(Debug, Clone)]
pub struct TextState {
    /// Pooled prompts, `[b, C]`: the first token, and the condition of the norms.
    pub cond: Tensor<2>,
    /// Text tokens at the transformer's width, `[b, l, C]`: the input of keys and values of cross attention.
    pub kv: Tensor<3>,
    /// The shared part of the blocks' AdaLN gains, scales and shifts, `[b, 1, 6, C]`.
    pub modulation: Tensor<4>,
    /// `[b, 1, 1, l]`, true after the end of a prompt.
    pub(crate) hidden: Option<Tensor<4, Bool>>,
}

impl TextState {
    /// What the blocks read of it, as tensors of one rank: the text, `[b, l, C]`, the modulation, `[b, 6, C]`, and the pooled
    /// prompts, `[b, 1, C]`.
    pub(crate) fn parts(&self) -> Vec<Tensor<3>> {
        let [b, _, six, c] = self.modulation.dims();
        vec![
            self.kv.clone(),
            self.modulation.clone().reshape([b, six, c]),
            self.cond.clone().unsqueeze_dim(1),
        ]
    }

    /// The prompts with these [`TextState::parts`]; `text` says how long they are.
    pub(crate) fn of_parts(parts: &[Tensor<3>], text: &TextCondition) -> Self {
        let [kv, modulation, cond] = parts else {
            panic!("{} parts of prompts instead of three", parts.len());
        };
        let [b, six, c] = modulation.dims();
        Self {
            kv: kv.clone(),
            modulation: modulation.clone().reshape([b, 1, six, c]),
            cond: cond.clone().reshape([b, c]),
            hidden: hidden(text),
        }
    }

    /// The first `rows` prompts.
    pub(crate) fn rows(&self, rows: usize) -> Self {
        Self {
            cond: self.cond.clone().slice_dim(0, 0..rows),
            kv: self.kv.clone().slice_dim(0, 0..rows),
            modulation: self.modulation.clone().slice_dim(0, 0..rows),
            hidden: self
                .hidden
                .as_ref()
                .map(|hidden| hidden.clone().slice_dim(0, 0..rows)),
        }
    }
}

/// Attention with one learned query, which pools a prompt of any length to one vector.
#[derive(Module, Debug)]
pub struct AttentivePool {
    /// The query, `[1, h, C / h]`.
    pub query: Param<Tensor<3>>,
    /// Keys, without bias.
    pub k: Linear,
    /// Values.
    pub v: Linear,
    /// Output projection.
    pub proj: Linear,
}

impl AttentivePool {
    pub(crate) fn init(config: &InfinityConfig, device: &Device) -> Self {
        let (c, t, std) = (config.width, config.text_channels, config.init_std());
        let heads = config.pool_heads();
        let normal = Initializer::Normal { mean: 0.0, std };
        Self {
            query: normal.init([1, heads, c / heads], device),
            k: linear(t, c, false, std, device),
            v: linear(t, c, true, std, device),
            proj: linear(c, c, true, std, device),
        }
    }

    /// `[b, l, T]` to `[b, C]`.
    pub(crate) fn forward(&self, x: Tensor<3>, hidden: Option<&Tensor<4, Bool>>) -> Tensor<2> {
        let [b, l, t] = x.dims();
        let [_, h, d] = self.query.dims();
        let rows = x.reshape([b * l, t]);
        let k = project_raw(rows.clone(), &self.k).reshape([b, l, h * d]);
        let v = project_raw(rows, &self.v).reshape([b, l, h * d]);
        let q = value(&self.query) * (d as f64).powf(-0.5);
        let q = q.reshape([1, h, 1, d]).expand([b, h, 1, d]);
        let q = cast(q, k.dtype());
        let pooled = attend(q, split_heads(k, h), split_heads(v, h), hidden);
        project(f32(merge_heads(pooled)), &self.proj).reshape([b, h * d])
    }
}

/// Projects text tokens to the transformer's width.
#[derive(Module, Debug)]
pub struct TextProjection {
    /// T to C.
    pub fc1: Linear,
    /// C to C, after a GELU.
    pub fc2: Linear,
}

impl TextProjection {
    pub(crate) fn init(config: &InfinityConfig, device: &Device) -> Self {
        let (c, t, std) = (config.width, config.text_channels, config.init_std());
        Self {
            fc1: linear(t, c, true, std, device),
            fc2: linear(c, c, true, std, device),
        }
    }

    /// `[b, l, T]` to `[b, l, C]`.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        project(gelu(project(x, &self.fc1)), &self.fc2)
    }
}

/// RMS norm over the last axis with weights `[T]`.
pub(crate) fn rms_norm(x: Tensor<3>, weight: &Param<Tensor<1>>) -> Tensor<3> {
    let square = (x.clone() * x.clone()).mean_dim(2);
    x * (square + EPS).sqrt().recip() * value(weight).unsqueeze()
}

/// The padding mask of prompts.
pub(crate) fn hidden(text: &TextCondition) -> Option<Tensor<4, Bool>> {
    mask::padding(&text.lens, text.features.dims()[1], &text.features.device())
}
