//! One block: self attention, then feed-forward, both modulated by the class.

use burn::{
    module::{Module, Param, ParamId},
    nn::Initializer,
    tensor::{Bool, Device, Distribution, Shape, Tensor},
};

use super::{AttentionKind, Modulation, VarConfig};
use crate::attention::attend;
use crate::blocks;
use crate::dtype::{cast, f32, value};
use crate::layers::{
    Linear, gelu, inverse_norm, linear, merge_heads, modulate, project_in, project_raw_in,
    working_dtype,
};
use crate::matmul::Precision;

/// Deviation factors of fresh gains, and of scales and shifts.
const INIT_GAIN: f64 = 1e-5;
const INIT_ADA: f64 = 0.5;

/// Largest factor on the cosine between a query and a key.
const MAX_COSINE_SCALE: f64 = 100.0;

/// Attention among the tokens of the picture.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// Queries.
    pub q: Linear,
    /// Keys, without a bias.
    pub k: Linear,
    /// Values.
    pub v: Linear,
    /// Logarithm of the factor on the cosine, `[1, h, 1, 1]`, at most `ln 100`; none where products are compared.
    pub log_scale: Option<Param<Tensor<4>>>,
    /// Output projection.
    pub proj: Linear,
    /// Attention heads, h.
    pub heads: usize,
}

impl SelfAttention {
    fn init(config: &VarConfig, device: &Device) -> Self {
        let (c, std) = (config.width, config.init_std());
        let start = Initializer::Constant { value: 4f64.ln() };
        let cosine = config.attention == AttentionKind::Cosine;
        Self {
            q: linear(c, c, true, std, device),
            k: linear(c, c, false, std, device),
            v: linear(c, c, true, std, device),
            log_scale: cosine.then(|| start.init([1, config.heads, 1, 1], device)),
            proj: linear(c, c, true, out_std(config), device),
            heads: config.heads,
        }
    }

    /// Queries, keys and values of `x`, `[b, l, c]`: each `[b, h, l, d]`, in the weights' dtype.
    fn split(&self, x: Tensor<3>, scene: Scene) -> [Tensor<4>; 3] {
        let [b, l, c] = x.dims();
        let (h, dtype) = (self.heads, working_dtype(&self.q));
        let rows = cast(x.reshape([b * l, c]), dtype);
        let shape = [b, l, h, c / h];
        let of = |layer| project_raw_in(rows.clone(), layer, scene.precision).reshape(shape);
        let (q, k, v) = (f32(of(&self.q)), f32(of(&self.k)), of(&self.v));
        let (q, k) = match &self.log_scale {
            Some(log_scale) => {
                let factor = value(log_scale).clamp_max(MAX_COSINE_SCALE.ln()).exp();
                let factor = factor.reshape([1, 1, h, 1]);
                let turned = q.clone() * (inverse_norm(q) * factor);
                (turned, k.clone() * inverse_norm(k))
            }
            None => (q * (0.25 / ((c / h) as f64).sqrt()), k),
        };
        [cast(q, dtype), cast(k, dtype), v].map(|heads| heads.swap_dims(1, 2)) // [b, h, l, d]
    }

    /// `[b, l, c]` to `[b, l, c]`; `remember` sees the new keys and values and returns all visible ones.
    fn forward(
        &self,
        x: Tensor<3>,
        scene: Scene,
        remember: impl FnOnce(Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        let [q, k, v] = self.split(x, scene);
        let (k, v) = remember(k, v);
        let seen = f32(merge_heads(attend(q, k, v, scene.hidden)));
        project_in(seen, &self.proj, scene.precision)
    }
}

/// Deviation of fresh output projections: smaller the deeper the model.
fn out_std(config: &VarConfig) -> f64 {
    config.init_std() / (2.0 * config.depth as f64).sqrt()
}

/// The feed-forward layers.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// Width to hidden.
    pub fc1: Linear,
    /// Hidden to width, behind a GELU.
    pub fc2: Linear,
}

/// One block of the transformer.
#[derive(Module, Debug)]
pub struct Block {
    /// Class to gains, scales and shifts, behind a SiLU; none where they are shared.
    pub ada: Option<Linear>,
    /// What is added to the shared gains, scales and shifts, `[1, 1, 6, C]`; none where they are the block's own.
    pub modulation: Option<Param<Tensor<4>>>,
    /// Self attention.
    pub attn: SelfAttention,
    /// Feed-forward.
    pub ffn: FeedForward,
}

impl Block {
    pub(crate) fn init(config: &VarConfig, device: &Device) -> Self {
        let (c, std) = (config.width, config.init_std());
        let (own, hidden) = (config.modulation == Modulation::Own, config.ffn_hidden());
        Self {
            ada: own.then(|| fresh_ada(config, device)),
            modulation: (!own).then(|| fresh_modulation(c, device)),
            attn: SelfAttention::init(config, device),
            ffn: FeedForward {
                fc1: linear(c, hidden, true, std, device),
                fc2: linear(hidden, c, true, out_std(config), device),
            },
        }
    }

    /// `x` is `[b, l, C]` in f32; `modulation` is `[b, 1, 6, C]`: gains of attention and of feed-forward, their
    /// scales, their shifts.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        modulation: Tensor<4>,
        scene: Scene,
        remember: impl FnOnce(Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        let [b, _, c] = x.dims();
        let pick = |i: usize| {
            let one = modulation.clone().slice_dim(2, i..i + 1);
            one.reshape([b, 1, c])
        };
        let [gain1, gain2, scale1, scale2, shift1, shift2] = std::array::from_fn(pick);
        let normed = modulate(x.clone(), scale1, shift1);
        let x = x + self.attn.forward(normed, scene, remember) * gain1;
        let normed = modulate(x.clone(), scale2, shift2);
        let hidden = gelu(project_in(normed, &self.ffn.fc1, scene.precision));
        x + project_in(hidden, &self.ffn.fc2, scene.precision) * gain2
    }
}

impl blocks::Block for Block {
    /// Those of attention and of the feed-forward layers.
    fn linears(&mut self) -> Vec<&mut Linear> {
        let Self { attn, ffn, .. } = self;
        vec![
            &mut attn.q,
            &mut attn.k,
            &mut attn.v,
            &mut attn.proj,
            &mut ffn.fc1,
            &mut ffn.fc2,
        ]
    }
}

/// A fresh layer of gains (nearly nothing), scales and shifts.
fn fresh_ada(config: &VarConfig, device: &Device) -> Linear {
    let (c, std) = (config.width, config.init_std());
    let mut layer = linear(c, 6 * c, true, std, device);
    let fresh = move |device: &Device, require_grad: bool| {
        let part = |columns: usize, factor: f64| {
            Tensor::<2>::random(
                [c, columns],
                Distribution::Normal(0.0, std * factor),
                device,
            )
        };
        let both = vec![part(2 * c, INIT_GAIN), part(4 * c, INIT_ADA)];
        Tensor::cat(both, 1).set_require_grad(require_grad)
    };
    let shape = Shape::new([c, 6 * c]);
    layer.weight = Param::uninitialized(ParamId::new(), fresh, device.clone(), true, shape);
    layer
}

/// Fresh offsets to the shared gains, scales and shifts.
fn fresh_modulation(c: usize, device: &Device) -> Param<Tensor<4>> {
    let fresh = move |device: &Device, require_grad: bool| {
        let part = |rows: usize, factor: f64| {
            let normal = Distribution::Normal(0.0, factor / (c as f64).sqrt());
            Tensor::<4>::random([1, 1, rows, c], normal, device)
        };
        let both = vec![part(2, INIT_GAIN), part(4, INIT_ADA)];
        Tensor::cat(both, 2).set_require_grad(require_grad)
    };
    let shape = Shape::new([1, 1, 6, c]);
    Param::uninitialized(ParamId::new(), fresh, device.clone(), true, shape)
}

/// What the tokens of one pass share.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    /// Mask among the picture's tokens.
    pub hidden: Option<&'a Tensor<4, Bool>>,
    /// Of the matrix products.
    pub precision: Precision,
}
