//! One block of VAR: self attention, then feed-forward, both modulated by the class.

use burn::{
    module::{Module, Param, ParamId},
    tensor::{Device, Distribution, Shape, Tensor},
};

use super::config::{Modulation, VarConfig};
use crate::attention::{PassContext, SelfAttention, SelfAttentionConfig};
use crate::blocks;
#[cfg(feature = "cuda")]
use crate::card::stream::{Added, Kept, Stream};
use crate::dtype::value;
use crate::layers::{AdaLn, FeedForward, Linear, add_scaled, linear, project_f32, silu};

/// Factors on the deviation of fresh gains, and of scales and shifts.
const INIT_GAIN: f64 = 1e-5;
const INIT_ADA: f64 = 0.5;

/// One block of the transformer.
#[derive(Module, Debug)]
pub struct Block {
    /// Class to gains, scales and shifts, after a SiLU; none where they are shared.
    pub ada: Option<Linear>,
    /// Added to the shared gains, scales and shifts, `[1, 1, 6, C]`; none where the block has its own layer.
    pub modulation: Option<Param<Tensor<4>>>,
    /// Self attention.
    pub attn: SelfAttention,
    /// Feed-forward.
    pub ffn: FeedForward,
}

impl Block {
    pub(super) fn init(config: &VarConfig, device: &Device) -> Self {
        let (c, std, depth) = (config.width, config.init_std(), config.depth);
        let own = config.modulation == Modulation::Own;
        let attention = SelfAttentionConfig {
            width: c,
            heads: config.heads,
            kind: config.attention,
            depth,
            init_std: std,
        };
        Self {
            ada: own.then(|| fresh_ada(config, device)),
            modulation: (!own).then(|| fresh_modulation(c, device)),
            attn: SelfAttention::init(&attention, device),
            ffn: FeedForward::init(c, config.ffn_hidden(), std, depth, device),
        }
    }

    /// The block's gains, scales and shifts for classes `cond`, `[b, C]`, and what all blocks share of them.
    pub(super) fn modulate(&self, cond: &Tensor<2>, shared: Option<&Tensor<4>>) -> AdaLn {
        AdaLn::new(&match (&self.ada, &self.modulation, shared) {
            (Some(ada), ..) => modulation_of(cond, ada),
            (None, Some(own), Some(shared)) => shared.clone() + value(own),
            _ => unreachable!("a block without modulation"),
        })
    }

    /// # Shapes
    /// `x` and the result are `[b, l, C]` in f32. `cache` as in [`SelfAttention::forward`].
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        ada: &AdaLn,
        pass: PassContext,
        cache: impl FnOnce(&Tensor<4>, Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        let normed = ada.norm(x.clone(), 0);
        let attended = self.attn.forward_cached(normed, pass, cache);
        let x = add_scaled(x, attended, ada.gain(0));
        let normed = ada.norm(x.clone(), 1);
        add_scaled(x, self.ffn.forward(normed, pass.precision), ada.gain(1))
    }
}

#[cfg(feature = "cuda")]
impl Block {
    /// Whether [`Block::pass`] takes the block.
    pub(super) fn passes(&self) -> bool {
        let Self { attn, ffn, .. } = self;
        let linears = [&attn.q, &attn.k, &attn.v, &attn.proj, &ffn.fc1, &ffn.fc2];
        crate::card::stream::takes(&linears, attn.q.weight.dims()[1] / attn.heads)
    }

    /// The residual stream after the block, with the norm of the block after it.
    pub(super) fn pass(
        &self,
        stream: Stream,
        images: usize,
        [own, next]: [&crate::card::Adapted; 2],
        pass: PassContext,
        kept: Kept,
    ) -> Stream {
        let [first, second] = &own.gains;
        let added = |gain, next| Added { gain, next };
        stream
            .self_attention(&self.attn, images, pass, kept, added(first, &own.norms[1]))
            .feed_forward(&self.ffn, added(second, &next.norms[0]))
    }

    /// The residual stream after a block that [`Block::pass`] does not take.
    pub(super) fn on_card(
        &self,
        stream: Stream,
        images: usize,
        adapted: &crate::card::Adapted,
        pass: PassContext,
        cache: impl FnOnce(&Tensor<4>, Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<2> {
        use crate::card::{Branch, add, add_norm};
        let [_, between] = &adapted.norms;
        let [first, second] = &adapted.gains;
        let Stream { x, rows } = stream;
        let y = self.attn.on_card(rows, images, pass, cache);
        let (x, rows) = add_norm(x, Branch::of(y, &self.attn.proj, first), between);
        let y = self.ffn.on_card(rows);
        add(x, Branch::of(y, &self.ffn.fc2, second))
    }
}

impl blocks::Block for Block {
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

    fn adaptable(&mut self) -> Vec<(&'static str, Vec<&mut Linear>)> {
        let Self { attn, ffn, ada, .. } = self;
        let mut all = vec![
            ("attn.mat_qkv", vec![&mut attn.q, &mut attn.k, &mut attn.v]),
            ("attn.proj", vec![&mut attn.proj]),
            ("ffn.fc1", vec![&mut ffn.fc1]),
            ("ffn.fc2", vec![&mut ffn.fc2]),
        ];
        all.extend(ada.as_mut().map(|ada| ("ada_lin.1", vec![ada])));
        all
    }
}

/// Gains, scales and shifts, `[b, 1, 6, C]`, that a layer makes of classes `cond`, `[b, C]`.
pub(super) fn modulation_of(cond: &Tensor<2>, layer: &Linear) -> Tensor<4> {
    let [b, c] = cond.dims();
    project_f32(silu(cond.clone()), layer).reshape([b, 1, 6, c])
}

/// A fresh layer of gains (nearly zero), scales and shifts.
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
