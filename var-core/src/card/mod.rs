//! Kernels of our own for what a block does between its matrix products, and for attention. On a card each of them takes the
//! place of many small ones of the tensor library.

mod attention;
mod cube;
mod gate;
pub mod graph;
mod heads;
mod layers;
mod linear;
mod ops;
mod pinned;
mod place;
mod rows;
mod run;
mod sample;
pub mod stream;

use burn::backend::Dispatch;
use burn::module::Param;
use burn::tensor::{Bool, DType, Int, Tensor};
use nextscale_tokenizer::cpu::is_cuda;

use self::heads::{Rule, Steps};
use self::ops::CardOps;
use crate::attention::operands;
use crate::dtype::value;
use crate::layers::{AdaLn, Linear};
use crate::rope::RopeTable;
use crate::sampler::SamplerConfig;

pub use self::heads::HeadNorm;
pub(crate) use self::linear::in_f32;
pub use self::linear::{gelu, product};
pub(crate) use self::pinned::Pinned;

/// Whether a tensor is on a CUDA card and not recorded for gradients.
pub fn runs<const D: usize>(x: &Tensor<D>) -> bool {
    is_cuda(&x.device()) && !x.is_autodiff()
}

/// Whether [`heads`] and [`attention`] take heads of `d` numbers.
pub fn takes_heads(d: usize) -> bool {
    matches!(d, 32 | 64 | 128)
}

/// What follows a norm: `norm(x) * (plus + scale) + shift`.
#[derive(Debug, Clone)]
pub struct Affine {
    /// `[r, c]` in f32, where each row serves as many rows of `x`.
    pub scale: Tensor<2>,
    /// As the scale.
    pub shift: Tensor<2>,
    /// 1 for AdaLN, 0 for a norm with weights of its own.
    pub plus: f32,
    /// Whether the norm takes the mean off first: a layer norm, not an RMS norm.
    pub centred: bool,
}

impl Affine {
    /// An RMS norm with these scales, `[c]`.
    pub fn rms(scale: &Param<Tensor<1>>) -> Self {
        let scale = value(scale).unsqueeze::<2>();
        Self {
            shift: scale.zeros_like(),
            scale,
            plus: 0.0,
            centred: false,
        }
    }

    /// The norm as the kernels take it.
    fn rule(&self) -> rows::Rule {
        rows::Rule {
            plus: self.plus,
            centred: self.centred,
        }
    }
}

/// A block's [`AdaLn`] as the kernels take it.
#[derive(Debug, Clone)]
pub struct Adapted {
    /// The norms before attention and feed-forward layers.
    pub norms: [Affine; 2],
    /// The gains of both, `[b, c]`.
    pub gains: [Tensor<2>; 2],
}

impl Adapted {
    /// The same numbers.
    pub fn new(ada: &AdaLn) -> Self {
        let norm = |i: usize| Affine {
            scale: flat(&ada.scales[i]),
            shift: flat(&ada.shifts[i]),
            plus: 1.0,
            centred: true,
        };
        Self {
            norms: [norm(0), norm(1)],
            gains: [flat(&ada.gains[0]), flat(&ada.gains[1])],
        }
    }
}

impl Adapted {
    /// That of the first `rows` of a batch.
    pub fn rows(&self, rows: usize) -> Self {
        let first = |x: &Tensor<2>| x.clone().slice_dim(0, 0..rows);
        let norm = |norm: &Affine| Affine {
            scale: first(&norm.scale),
            shift: first(&norm.shift),
            ..norm.clone()
        };
        let [a, b] = &self.norms;
        Self {
            norms: [norm(a), norm(b)],
            gains: [first(&self.gains[0]), first(&self.gains[1])],
        }
    }
}

/// That of all blocks, if the condition is on a card.
pub(crate) fn adapted(condition: &Tensor<2>, blocks: &[AdaLn]) -> Vec<Adapted> {
    if runs(condition) {
        blocks.iter().map(Adapted::new).collect()
    } else {
        vec![]
    }
}

/// `[b, 1, c]` as `[b, c]`.
fn flat(x: &Tensor<3>) -> Tensor<2> {
    let [b, _, c] = x.dims();
    x.clone().reshape([b, c])
}

/// What is added to the residual stream: `(y + bias) * gain`.
#[derive(Debug, Clone)]
pub struct Branch {
    /// `[n, c]`, in the type of the weights.
    pub y: Tensor<2>,
    /// `[c]`, in the type of the weights.
    pub bias: Tensor<1>,
    /// `[r, c]` in f32, where each row serves as many rows of `y`.
    pub gain: Tensor<2>,
}

impl Branch {
    /// The output `y` of a layer without its bias, times a gain.
    pub fn of(y: Tensor<2>, layer: &Linear, gain: &Tensor<2>) -> Self {
        let [_, c] = y.dims();
        let bias = match &layer.bias {
            Some(bias) => bias.val(),
            None => Tensor::zeros([c], (&y.device(), y.dtype())),
        };
        Self {
            y,
            bias,
            gain: gain.clone(),
        }
    }
}

/// The norm of `x`, `[n, c]` in f32, in another type.
pub fn norm(x: Tensor<2>, affine: &Affine, dtype: DType) -> Tensor<2> {
    let [x, scale, shift] =
        [x, affine.scale.clone(), affine.shift.clone()].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::card_norm(x, scale, shift, affine.rule(), dtype))
}

/// The sum of `x`, `[n, c]` in f32, and a branch, and the norm of the sum in the type of the branch.
pub fn add_norm(x: Tensor<2>, branch: Branch, affine: &Affine) -> (Tensor<2>, Tensor<2>) {
    let Branch { y, bias, gain } = branch;
    let [x, y, gain] = [x, y, gain].map(Tensor::into_dispatch);
    let [scale, shift] = [affine.scale.clone(), affine.shift.clone()].map(Tensor::into_dispatch);
    let bias = bias.into_dispatch();
    let (sum, normed) = Dispatch::card_add_norm(x, y, bias, gain, scale, shift, affine.rule());
    (Tensor::from_dispatch(sum), Tensor::from_dispatch(normed))
}

/// The sum of `x`, `[n, c]` in f32, and a branch.
pub fn add(x: Tensor<2>, branch: Branch) -> Tensor<2> {
    let Branch { y, bias, gain } = branch;
    let [x, y, gain] = [x, y, gain].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::card_add(x, y, bias.into_dispatch(), gain))
}

/// How heads are made of a product.
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a> {
    /// Images, heads, tokens and numbers of a head: 32, 64 or 128.
    pub shape: [usize; 4],
    /// The bias of the product's layer.
    pub bias: Option<&'a Param<Tensor<1>>>,
    /// What each is divided by.
    pub norm: HeadNorm,
    /// Logarithm of the factor of each head, `[1, h, 1, 1]`; the factor is at most 100.
    pub log_scale: Option<&'a Param<Tensor<4>>>,
    /// Weights of the numbers of a head, `[d]`, the same for all heads.
    pub weight: Option<&'a Param<Tensor<1>>>,
    /// Another factor.
    pub scale: f64,
    /// Rotary positions.
    pub rope: Option<&'a RopeTable>,
    /// The type of the heads.
    pub dtype: DType,
}

impl Heads<'_> {
    /// The same as the kernel takes it.
    fn rule(&self) -> Rule {
        Rule {
            shape: self.shape,
            steps: Steps {
                biased: self.bias.is_some(),
                norm: self.norm,
                learned: self.log_scale.is_some(),
                weighted: self.weight.is_some(),
                rotated: self.rope.is_some(),
                own_positions: self.rope.is_some_and(|rope| {
                    let [images, _, tokens, _] = self.shape;
                    images > 1 && rope.tokens() == images * tokens
                }),
            },
            scale: self.scale as f32,
            dtype: self.dtype,
        }
    }
}

/// How the product of the queries of cross attention becomes heads of a shape, of weights of a type.
pub fn cross_heads(q: &Linear, shape: [usize; 4], weights: DType) -> Heads<'_> {
    Heads {
        shape,
        bias: q.bias.as_ref(),
        norm: HeadNorm::Nothing,
        log_scale: None,
        weight: None,
        scale: (shape[3] as f64).powf(-0.5),
        rope: None,
        dtype: operands(weights),
    }
}

/// The heads `[b, h, l, d]` of a product `x`, `[b l, h d]`.
pub fn heads(x: Tensor<2>, heads: Heads) -> Tensor<4> {
    let rule = heads.rule();
    let x = x.into_dispatch();
    let bias = heads
        .bias
        .map_or_else(|| x.clone(), |bias| bias.val().into_dispatch());
    let logarithm = heads
        .log_scale
        .map_or_else(|| x.clone(), |log| log.val().into_dispatch());
    let weight = heads
        .weight
        .map_or_else(|| x.clone(), |weight| weight.val().into_dispatch());
    Tensor::from_dispatch(match heads.rope {
        None => Dispatch::card_heads(x, bias, logarithm, weight, rule),
        Some(rope) => {
            let [cos, sin] = rope.tables().map(|x| x.clone().into_dispatch());
            Dispatch::card_rotated_heads(x, bias, logarithm, weight, cos, sin, rule)
        }
    })
}

/// `softmax(q k^T) v`, without a scale, as `[b, n, h, d]` in another type: `q` is `[b, h, n, d]`, `k` and `v` are `[b, g, m, d]` with `g`
/// dividing `h`, all in f16 or all in bf16. `hidden` broadcasts to `[b, h, n, m]` and is true where a query must not attend.
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<&Tensor<4, Bool>>,
    dtype: DType,
) -> Tensor<4> {
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    Tensor::from_dispatch(match hidden {
        None => Dispatch::card_attention(q, k, v, dtype),
        Some(hidden) => {
            Dispatch::card_masked_attention(q, k, v, hidden.clone().into_dispatch(), dtype)
        }
    })
}

/// Whether [`sample`] takes rows of so many values.
pub(crate) fn takes_values(values: usize) -> bool {
    values <= sample::MOST
}

/// One index for each row of logits, `[n, v]` in f32: of the values that top-k and top-p keep, the first up to which their
/// probabilities exceed `u`, `[n, 1]`, of their total. The result is `[n, 1]`.
pub fn sample(logits: Tensor<2>, u: Tensor<2>, config: &SamplerConfig) -> Tensor<2, Int> {
    let draw = sample::Draw {
        temperature: config.temperature as f32,
        top_k: config.top_k as u32,
        rare: if config.top_p > 0.0 {
            (1.0 - config.top_p) as f32
        } else {
            -1.0
        },
    };
    let [logits, u] = [logits, u].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::card_sample(logits, u, draw))
}

/// `target` with other numbers in the same buffer, whoever else holds it: each of its `rows` begins with the numbers of the same row of
/// `source`, which is of the same type and not longer, and ends with zeros.
pub fn place<const D: usize, const S: usize>(
    target: Tensor<D>,
    source: Tensor<S>,
    rows: usize,
) -> Tensor<D> {
    let [target, source] = [target.into_dispatch(), source.into_dispatch()];
    Tensor::from_dispatch(Dispatch::card_place(target, source, rows))
}

/// [`place`] of a mask of the same shape.
pub fn place_mask(target: Tensor<4, Bool>, source: Tensor<4, Bool>) -> Tensor<4, Bool> {
    let [target, source] = [target, source].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::card_place_mask(target, source, 1))
}
