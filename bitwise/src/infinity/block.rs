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

/// Factors on the standard deviation of initial AdaLN gains, and of scales and shifts (`train.sh` of the reference).
const INIT_GAIN: f64 = 5e-6;
const INIT_SHIFT: f64 = 1e-3;

/// The largest factor on the cosine similarity of a query and a key.
const MAX_COSINE_SCALE: f64 = 100.0;

/// Self attention of the image tokens: cosine similarity with a learned factor per head.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// Queries.
    pub q: Linear,
    /// Keys, without bias.
    pub k: Linear,
    /// Values.
    pub v: Linear,
    /// Logarithm of the factor on the cosine similarity, `[1, h, 1, 1]`, clamped to `ln 100`.
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

    /// Queries, keys and values of `x`, `[b, l, c]`: each `[b, h, l, d]` in the weights' dtype, queries and keys rotated.
    fn heads(&self, x: Tensor<3>, context: PassContext) -> [Tensor<4>; 3] {
        let [b, l, c] = x.dims();
        let [_, h, ..] = self.log_scale.dims();
        let dtype = working_dtype(&self.q);
        let shape = [b, l, h, c / h];
        let rows = cast(x.reshape([b * l, c]), dtype);
        let rows = |layer| project_raw_in(rows.clone(), layer, context.precision).reshape(shape);
        let (q, k, v) = (f32(rows(&self.q)), f32(rows(&self.k)), rows(&self.v));
        let factor = value(&self.log_scale)
            .clamp_max(MAX_COSINE_SCALE.ln())
            .exp();
        let q = q.clone() * (inverse_norm(q) * factor.reshape([1, 1, h, 1]));
        let k = k.clone() * inverse_norm(k);
        let [q, k] = [q, k].map(|heads| cast(context.rope.apply(heads), dtype));
        [q, k, v].map(|heads| heads.swap_dims(1, 2)) // [b, h, l, d]
    }

    /// `[b, l, c]` to `[b, l, c]`. `cache` takes the new keys and values and returns all visible ones.
    fn forward(
        &self,
        x: Tensor<3>,
        context: PassContext,
        cache: impl FnOnce(Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        let [q, k, v] = self.heads(x, context);
        let (k, v) = cache(k, v);
        let attended = f32(merge_heads(attend(q, k, v, context.hidden)));
        project_in(attended, &self.proj, context.precision)
    }
}

/// Standard deviation of initial output projections: smaller in deeper models.
fn out_std(config: &InfinityConfig) -> f64 {
    config.init_std() / (2.0 * config.depth as f64).sqrt()
}

/// Cross attention of the image tokens to the text.
#[derive(Module, Debug)]
pub struct CrossAttention {
    /// Queries, from the image.
    pub q: Linear,
    /// Keys, from the text, without bias.
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

    /// Keys and values of text tokens `[b, l, c]`: each `[b, h, l, d]`.
    fn keys(&self, text: Tensor<3>, heads: usize) -> (Tensor<4>, Tensor<4>) {
        let [b, l, c] = text.dims();
        let rows = cast(text.reshape([b * l, c]), working_dtype(&self.k));
        let k = project_raw(rows.clone(), &self.k).reshape([b, l, c]);
        let v = project_raw(rows, &self.v).reshape([b, l, c]);
        (split_heads(k, heads), split_heads(v, heads))
    }

    fn forward(&self, x: Tensor<3>, text: &TextKeys, context: PassContext) -> Tensor<3> {
        let [_, h, _, d] = text.k.dims();
        let q = project_in(x, &self.q, context.precision) * (d as f64).powf(-0.5);
        let q = cast(split_heads(q, h), text.k.dtype());
        let attended = attend(q, text.k.clone(), text.v.clone(), context.text_hidden);
        project_in(f32(merge_heads(attended)), &self.proj, context.precision)
    }
}

/// Keys and values of the text for one block.
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
    /// Hidden to width, after a GELU.
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
    /// This block's part of the AdaLN gains, scales and shifts, `[1, 1, 6, C]`: gains of attention and feed-forward,
    /// scales of both, shifts of both.
    pub modulation: Param<Tensor<4>>,
    /// Self attention.
    pub sa: SelfAttention,
    /// Norm before cross attention, with learned weights.
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

    /// `x`, `[b, l, c]` in f32, to the same shape; `shared` is the shared part of the modulation, `[b, 1, 6, c]`.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        shared: Tensor<4>,
        text: &TextKeys,
        context: PassContext,
        cache: impl FnOnce(Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        let [b, _, c] = x.dims();
        let all = shared + value(&self.modulation);
        let pick = |i: usize| {
            let one = all.clone().slice([0..b, 0..1, i..i + 1, 0..c]);
            one.reshape([b, 1, c])
        };
        let [gain1, gain2, scale1, scale2, shift1, shift2] = std::array::from_fn(pick);
        let normed = modulate(x.clone(), scale1, shift1);
        let attended = self.sa.forward(normed, context, cache);
        let x = x + attended * gain1;
        let normed = normalize(x.clone()) * value(&self.ca_norm.gamma).unsqueeze();
        let normed = match &self.ca_norm.beta {
            Some(beta) => normed + value(beta).unsqueeze(),
            None => normed,
        };
        let x = x + self.ca.forward(normed, text, context);
        let normed = modulate(x.clone(), scale2, shift2);
        x + self.ffn.forward(normed, context.precision) * gain2
    }
}

impl blocks::Block for Block {
    /// The linear layers of both attentions and of the feed-forward layers.
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

/// Inputs that all blocks of a pass share.
#[derive(Clone, Copy)]
pub(crate) struct PassContext<'a> {
    /// Rotary positions of the tokens.
    pub rope: &'a RopeTable,
    /// Mask among the image tokens; true hides.
    pub hidden: Option<&'a Tensor<4, Bool>>,
    /// Mask of the text; true hides.
    pub text_hidden: Option<&'a Tensor<4, Bool>>,
    /// Of matrix products with f32 weights.
    pub precision: Precision,
}
