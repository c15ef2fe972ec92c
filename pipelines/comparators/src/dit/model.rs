//! The diffusion transformer.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::gelu_approximate;
use burn::tensor::{Device, Int, Tensor, TensorData};
use nextscale_var_core::attention::attend;
use nextscale_var_core::dtype::value;
use nextscale_var_core::layers::{
    Linear, linear, merge_heads, modulate, project_f32, project_in, silu, split_heads,
};
use nextscale_var_core::matmul::Precision;

use super::config::DitConfig;
use super::position;

/// Sines and cosines of a time.
pub(super) const FREQUENCIES: usize = 256;
/// Standard deviation of fresh embeddings.
const STD: f64 = 0.02;

/// One block.
#[derive(Module, Debug)]
pub struct Block {
    /// Queries.
    pub q: Linear,
    /// Keys.
    pub k: Linear,
    /// Values.
    pub v: Linear,
    /// Output projection of the attention.
    pub proj: Linear,
    /// Width to hidden units, before a GELU (tanh).
    pub fc1: Linear,
    /// Hidden units to width.
    pub fc2: Linear,
    /// Condition to shift, scale and gate of the attention, and those of the feed-forward layers, after a SiLU.
    pub ada: Linear,
}

/// A layer with weights as Xavier and Glorot have them, and a bias of zeros.
fn xavier(from: usize, to: usize, device: &Device) -> Linear {
    let mut layer = linear(from, to, true, 0.0, device);
    layer.weight = Initializer::XavierUniform { gain: 1.0 }.init_with(
        [from, to],
        Some(from),
        Some(to),
        device,
    );
    layer
}

/// A layer of zeros.
fn zeros(from: usize, to: usize, device: &Device) -> Linear {
    let mut layer = linear(from, to, true, 0.0, device);
    layer.weight = Initializer::Zeros.init([from, to], device);
    layer
}

/// Parts of a modulation, `[b, 1, c]` each, from `[b, n c]`.
fn parts<const N: usize>(all: Tensor<2>) -> [Tensor<3>; N] {
    let [_, width] = all.dims();
    let c = width / N;
    let all = all.unsqueeze_dim::<3>(1);
    std::array::from_fn(|i| all.clone().slice_dim(2, i * c..(i + 1) * c))
}

impl Block {
    fn init(c: usize, device: &Device) -> Self {
        Self {
            q: xavier_third(c, device),
            k: xavier_third(c, device),
            v: xavier_third(c, device),
            proj: xavier(c, c, device),
            fc1: xavier(c, 4 * c, device),
            fc2: xavier(4 * c, c, device),
            ada: zeros(c, 6 * c, device),
        }
    }

    /// `[b, l, c]` to the same shape, under a condition `[b, c]` after a SiLU.
    fn forward(
        &self,
        x: Tensor<3>,
        condition: Tensor<2>,
        heads: usize,
        precision: Precision,
    ) -> Tensor<3> {
        let [_, _, c] = x.dims();
        let all = parts::<6>(project_f32(condition, &self.ada));
        let [shift, scale, gate, shift_2, scale_2, gate_2] = all;
        let normed = modulate(x.clone(), scale, shift);
        let project = |layer| split_heads(project_in(normed.clone(), layer, precision), heads);
        let q = project(&self.q) * ((c / heads) as f64).powf(-0.5);
        let attended = merge_heads(attend(q, project(&self.k), project(&self.v), None));
        let x = x + project_in(attended, &self.proj, precision) * gate;
        let normed = modulate(x.clone(), scale_2, shift_2);
        let hidden = gelu_approximate(project_in(normed, &self.fc1, precision));
        x + project_in(hidden, &self.fc2, precision) * gate_2
    }
}

/// A third of a layer that makes queries, keys and values at once.
fn xavier_third(c: usize, device: &Device) -> Linear {
    let mut layer = linear(c, c, true, 0.0, device);
    layer.weight =
        Initializer::XavierUniform { gain: 1.0 }.init_with([c, c], Some(c), Some(3 * c), device);
    layer
}

/// The transformer.
#[derive(Module, Debug)]
pub struct Dit {
    /// Patches to tokens.
    pub patch_embed: Linear,
    /// Waves of the time to a condition: first layer, before a SiLU.
    pub time_1: Linear,
    /// Second layer.
    pub time_2: Linear,
    /// Embeddings of the classes, the last for none, `[classes + 1, C]`.
    pub class_embed: Param<Tensor<2>>,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// Condition to shift and scale of the last norm, after a SiLU.
    pub head_ada: Linear,
    /// Tokens to patches.
    pub head: Linear,
    #[module(skip)]
    config: DitConfig,
}

impl DitConfig {
    /// A model with random weights. What it predicts is zero at first, and its blocks change nothing.
    ///
    /// # Panics
    /// If the sizes contradict each other.
    pub fn init(&self, device: &Device) -> Dit {
        self.check();
        let (c, cells) = (self.width, self.patch * self.patch);
        let normal = Initializer::Normal {
            mean: 0.0,
            std: STD,
        };
        Dit {
            patch_embed: xavier(self.channels * cells, c, device),
            time_1: linear(FREQUENCIES, c, true, STD, device),
            time_2: linear(c, c, true, STD, device),
            class_embed: normal.init([self.classes + 1, c], device),
            blocks: (0..self.depth).map(|_| Block::init(c, device)).collect(),
            head_ada: zeros(c, 2 * c, device),
            head: zeros(c, self.outputs() * cells, device),
            config: *self,
        }
    }
}

impl Dit {
    /// The shapes.
    pub fn config(&self) -> &DitConfig {
        &self.config
    }

    /// What is predicted for a noisy latent.
    ///
    /// # Shapes
    /// - `x`: `[b, c, s, s]`
    /// - `times`: one per image, as the model was trained: 0 to 1000
    /// - `labels`: one per image; the number of classes stands for none
    /// - result: `[b, c or 2 c, s, s]` in f32
    ///
    /// # Panics
    /// If the shapes do not fit, or a label is not a class.
    pub fn forward(
        &self,
        x: Tensor<4>,
        times: &[f32],
        labels: &[usize],
        precision: Precision,
    ) -> Tensor<4> {
        let (config, device) = (&self.config, x.device());
        let n = config.side / config.patch;
        let x = project_f32(self.patches(x), &self.patch_embed);
        let mut x = x + position::grid(n, config.width, &device);
        let condition = silu(self.condition(times, labels, &device));
        for block in &self.blocks {
            x = block.forward(x, condition.clone(), config.heads, precision);
        }
        let [shift, scale] = parts::<2>(project_f32(condition, &self.head_ada));
        self.unpatch(project_f32(modulate(x, scale, shift), &self.head))
    }

    /// `[b, C]`: time and class.
    fn condition(&self, times: &[f32], labels: &[usize], device: &Device) -> Tensor<2> {
        assert_eq!(times.len(), labels.len(), "times and labels");
        let classes = self.config.classes;
        let rows = labels.iter().map(|&label| {
            assert!(label <= classes, "class {label} of {classes}");
            label as i32
        });
        let rows = TensorData::new(rows.collect::<Vec<_>>(), [labels.len()]);
        let class = value(&self.class_embed).select(0, Tensor::<1, Int>::from_data(rows, device));
        let waves = position::times(times, FREQUENCIES, device);
        project_f32(silu(project_f32(waves, &self.time_1)), &self.time_2) + class
    }

    /// `[b, c, s, s]` to `[b, n n, c p p]`.
    fn patches(&self, x: Tensor<4>) -> Tensor<3> {
        let ([b, c, s, _], p) = (x.dims(), self.config.patch);
        let n = s / p;
        let x = x.reshape([b, c, n, p, n, p]).permute([0, 2, 4, 1, 3, 5]);
        x.reshape([b, n * n, c * p * p])
    }

    /// `[b, n n, p p c]` to `[b, c, s, s]`.
    fn unpatch(&self, x: Tensor<3>) -> Tensor<4> {
        let ([b, _, _], p, c) = (x.dims(), self.config.patch, self.config.outputs());
        let n = self.config.side / p;
        let x = x.reshape([b, n, n, p, p, c]).permute([0, 5, 1, 3, 2, 4]);
        x.reshape([b, c, n * p, n * p])
    }
}
