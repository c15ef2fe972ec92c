//! One block: self attention, cross attention, feed-forward.

use burn::{
    module::{Module, Param, ParamId},
    nn::{LayerNorm, LayerNormConfig},
    tensor::{Bool, Device, Distribution, Shape, Tensor},
};
use nextscale_var_core::{attention::attend, blocks, matmul::Precision, rope::RopeTable};

use super::InfinityConfig;
use nextscale_var_core::dtype::{cast, f32, value};
use nextscale_var_core::layers::{
    Linear, gelu, inverse_norm, linear, merge_heads, modulate, normalize, project_in, project_raw,
    project_raw_in, split_heads, working_dtype,
};

/// Deviation factors of fresh AdaLN gains, and of scales and shifts (`train.sh` of the reference).
const INIT_GAIN: f64 = 5e-6;
const INIT_SHIFT: f64 = 1e-3;

/// Largest factor on the cosine between a query and a key.
const MAX_COSINE_SCALE: f64 = 100.0;

/// Attention among the tokens of the picture: cosine similarities with a learned factor a head.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// Queries.
    pub q: Linear,
    /// Keys, without a bias.
    pub k: Linear,
    /// Values.
    pub v: Linear,
    /// Logarithm of the factor on the cosine, `[1, h, 1, 1]`, at most `ln 100`.
    pub log_scale: Param<Tensor<4>>,
    /// Output projection.
    pub proj: Linear,
}

impl SelfAttention {
    fn init(config: &InfinityConfig, device: &Device) -> Self {
        let (c, std) = (config.width, config.init_std());
        let start = burn::nn::Initializer::Constant { value: 4f64.ln() };
        Self {
            q: linear(c, c, true, std, device),
            k: linear(c, c, false, std, device),
            v: linear(c, c, true, std, device),
            log_scale: start.init([1, config.heads, 1, 1], device),
            proj: linear(c, c, true, out_std(config), device),
        }
    }

    /// Queries, keys and values of `x`, `[b, l, c]`: each `[b, h, l, d]`, turned, in the weights' dtype.
    fn heads(&self, x: Tensor<3>, scene: Scene) -> [Tensor<4>; 3] {
        let [b, l, c] = x.dims();
        let [_, h, ..] = self.log_scale.dims();
        let dtype = working_dtype(&self.q);
        let shape = [b, l, h, c / h];
        let rows = cast(x.reshape([b * l, c]), dtype);
        let rows = |layer| project_raw_in(rows.clone(), layer, scene.precision).reshape(shape);
        let (q, k, v) = (f32(rows(&self.q)), f32(rows(&self.k)), rows(&self.v));
        let factor = value(&self.log_scale)
            .clamp_max(MAX_COSINE_SCALE.ln())
            .exp();
        let q = q.clone() * (inverse_norm(q) * factor.reshape([1, 1, h, 1]));
        let k = k.clone() * inverse_norm(k);
        let [q, k] = [q, k].map(|heads| cast(scene.rope.apply(heads), dtype));
        [q, k, v].map(|heads| heads.swap_dims(1, 2)) // [b, h, l, d]
    }

    /// `[b, l, c]` to `[b, l, c]`; `remember` sees the new keys and values and returns all visible ones.
    fn forward(
        &self,
        x: Tensor<3>,
        scene: Scene,
        remember: impl FnOnce(Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        let [q, k, v] = self.heads(x, scene);
        let (k, v) = remember(k, v);
        let seen = f32(merge_heads(attend(q, k, v, scene.hidden)));
        project_in(seen, &self.proj, scene.precision)
    }
}

/// Deviation of fresh output projections: smaller the deeper the model.
fn out_std(config: &InfinityConfig) -> f64 {
    config.init_std() / (2.0 * config.depth as f64).sqrt()
}

/// Attention of the picture's tokens to the text.
#[derive(Module, Debug)]
pub struct CrossAttention {
    /// Queries, from the picture.
    pub q: Linear,
    /// Keys, from the text, without a bias.
    pub k: Linear,
    /// Values, from the text.
    pub v: Linear,
    /// Output projection.
    pub proj: Linear,
}

impl CrossAttention {
    fn init(config: &InfinityConfig, device: &Device) -> Self {
        let (c, std) = (config.width, config.init_std());
        Self {
            q: linear(c, c, true, std, device),
            k: linear(c, c, false, std, device),
            v: linear(c, c, true, std, device),
            proj: linear(c, c, true, out_std(config), device),
        }
    }

    /// Keys and values of text tokens `[b, l, c]`: `[b, h, l, d]`.
    fn keys(&self, text: Tensor<3>, heads: usize) -> (Tensor<4>, Tensor<4>) {
        let [b, l, c] = text.dims();
        let rows = cast(text.reshape([b * l, c]), working_dtype(&self.k));
        let k = project_raw(rows.clone(), &self.k).reshape([b, l, c]);
        let v = project_raw(rows, &self.v).reshape([b, l, c]);
        (split_heads(k, heads), split_heads(v, heads))
    }

    fn forward(&self, x: Tensor<3>, text: &TextKeys, scene: Scene) -> Tensor<3> {
        let [_, h, _, d] = text.k.dims();
        let q = project_in(x, &self.q, scene.precision) * (d as f64).powf(-0.5);
        let q = cast(split_heads(q, h), text.k.dtype());
        let seen = attend(q, text.k.clone(), text.v.clone(), scene.text_hidden);
        project_in(f32(merge_heads(seen)), &self.proj, scene.precision)
    }
}

/// Keys and values that one block made of the text.
#[derive(Debug, Clone)]
pub(crate) struct TextKeys {
    k: Tensor<4>,
    v: Tensor<4>,
}

/// The feed-forward layers.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// Width to hidden.
    pub fc1: Linear,
    /// Hidden to width, behind a GELU.
    pub fc2: Linear,
}

impl FeedForward {
    fn init(config: &InfinityConfig, device: &Device) -> Self {
        let (c, hidden) = (config.width, config.ffn_hidden());
        Self {
            fc1: linear(c, hidden, true, config.init_std(), device),
            fc2: linear(hidden, c, true, out_std(config), device),
        }
    }

    fn forward(&self, x: Tensor<3>, precision: Precision) -> Tensor<3> {
        let hidden = gelu(project_in(x, &self.fc1, precision));
        project_in(hidden, &self.fc2, precision)
    }
}

/// One block of the transformer.
#[derive(Module, Debug)]
pub struct Block {
    /// This block's part of gains, scales and shifts, `[1, 1, 6, C]`, in the order gain of attention and of
    /// feed-forward, scale of both, shift of both.
    pub modulation: Param<Tensor<4>>,
    /// Self attention.
    pub sa: SelfAttention,
    /// Norm before cross attention, with weights.
    pub ca_norm: LayerNorm,
    /// Cross attention.
    pub ca: CrossAttention,
    /// Feed-forward.
    pub ffn: FeedForward,
}

impl Block {
    pub(crate) fn init(config: &InfinityConfig, device: &Device) -> Self {
        let c = config.width;
        let fresh = move |device: &Device, require_grad: bool| {
            let part = |rows: usize, factor: f64| {
                let normal = Distribution::Normal(0.0, factor / (c as f64).sqrt());
                Tensor::<4>::random([1, 1, rows, c], normal, device)
            };
            let both = vec![part(2, INIT_GAIN), part(4, INIT_SHIFT)];
            Tensor::cat(both, 2).set_require_grad(require_grad)
        };
        let shape = Shape::new([1, 1, 6, c]);
        Self {
            modulation: Param::uninitialized(ParamId::new(), fresh, device.clone(), true, shape),
            sa: SelfAttention::init(config, device),
            ca_norm: LayerNormConfig::new(c).with_epsilon(1e-6).init(device),
            ca: CrossAttention::init(config, device),
            ffn: FeedForward::init(config, device),
        }
    }

    pub(crate) fn text_keys(&self, text: Tensor<3>) -> TextKeys {
        let [_, h, ..] = self.sa.log_scale.dims();
        let (k, v) = self.ca.keys(text, h);
        TextKeys { k, v }
    }

    /// `x` is `[b, l, c]` in f32; `shared` is `[b, 1, 6, c]`.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        shared: Tensor<4>,
        text: &TextKeys,
        scene: Scene,
        remember: impl FnOnce(Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        let [b, _, c] = x.dims();
        let all = shared + value(&self.modulation);
        let pick = |i: usize| {
            let one = all.clone().slice([0..b, 0..1, i..i + 1, 0..c]);
            one.reshape([b, 1, c])
        };
        let [gain1, gain2, scale1, scale2, shift1, shift2] = std::array::from_fn(pick);
        let normed = modulate(x.clone(), scale1, shift1);
        let seen = self.sa.forward(normed, scene, remember);
        let x = x + seen * gain1;
        let normed = normalize(x.clone()) * value(&self.ca_norm.gamma).unsqueeze();
        let normed = match &self.ca_norm.beta {
            Some(beta) => normed + value(beta).unsqueeze(),
            None => normed,
        };
        let x = x + self.ca.forward(normed, text, scene);
        let normed = modulate(x.clone(), scale2, shift2);
        x + self.ffn.forward(normed, scene.precision) * gain2
    }
}

impl blocks::Block for Block {
    /// Those of both attentions and of the feed-forward layers.
    fn linears(&mut self) -> Vec<&mut Linear> {
        let Self { sa, ca, ffn, .. } = self;
        vec![
            &mut sa.q,
            &mut sa.k,
            &mut sa.v,
            &mut sa.proj,
            &mut ca.q,
            &mut ca.k,
            &mut ca.v,
            &mut ca.proj,
            &mut ffn.fc1,
            &mut ffn.fc2,
        ]
    }
}

/// What the tokens of one pass share.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    /// Positions of the tokens of this pass.
    pub rope: &'a RopeTable,
    /// Mask among the picture's tokens.
    pub hidden: Option<&'a Tensor<4, Bool>>,
    /// Mask of the text.
    pub text_hidden: Option<&'a Tensor<4, Bool>>,
    /// Of the matrix products.
    pub precision: Precision,
}
