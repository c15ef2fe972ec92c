//! The raster transformer.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use nextscale_var_core::attention::attend;
use nextscale_var_core::dtype::{f32, value};
use nextscale_var_core::layers::{
    Linear, linear, merge_heads, project_f32, project_in, silu, split_heads,
};
use nextscale_var_core::mask::BlockCausal;
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::rope::{RopeTable, THETA};

use super::config::RasterConfig;

/// Standard deviation of fresh weights, and the epsilon of the norms.
const STD: f64 = 0.02;
const EPS: f64 = 1e-5;

/// RMS norm over the channels.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[c]`.
    pub weight: Param<Tensor<1>>,
}

impl RmsNorm {
    fn init(c: usize, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([c], device),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let square = (x.clone() * x.clone()).mean_dim(2);
        x * (square + EPS).sqrt().recip() * value(&self.weight).unsqueeze()
    }
}

/// One block.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before the attention.
    pub attention_norm: RmsNorm,
    /// Queries.
    pub q: Linear,
    /// Keys.
    pub k: Linear,
    /// Values.
    pub v: Linear,
    /// Output projection of the attention.
    pub o: Linear,
    /// Norm before the feed-forward layers.
    pub ffn_norm: RmsNorm,
    /// Width to hidden units, before a SiLU.
    pub w1: Linear,
    /// Width to hidden units.
    pub w3: Linear,
    /// Hidden units to width.
    pub w2: Linear,
}

/// What all blocks of a pass share.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    /// The rotations of the codes among the tokens.
    pub rope: Option<&'a RopeTable>,
    /// Whether the first token is the class.
    pub class: bool,
    /// True where a token must not attend.
    pub hidden: Option<&'a Tensor<4, Bool>>,
    pub precision: Precision,
}

impl Pass<'_> {
    /// Rotates queries or keys, `[b, l, h, d]`; those of the class become zero.
    fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let l = x.dims()[1];
        let class = usize::from(self.class);
        let codes = self
            .rope
            .map(|rope| rope.apply(x.clone().slice_dim(1, class..l)));
        let zeros = self.class.then(|| x.slice_dim(1, 0..1).zeros_like());
        Tensor::cat(zeros.into_iter().chain(codes).collect(), 1)
    }
}

impl Block {
    fn init(config: &RasterConfig, device: &Device) -> Self {
        let (c, hidden) = (config.width, config.hidden());
        let layer = |from, to| linear(from, to, false, STD, device);
        Self {
            attention_norm: RmsNorm::init(c, device),
            q: layer(c, c),
            k: layer(c, c),
            v: layer(c, c),
            o: layer(c, c),
            ffn_norm: RmsNorm::init(c, device),
            w1: layer(c, hidden),
            w3: layer(c, hidden),
            w2: layer(hidden, c),
        }
    }

    /// `[b, l, c]` to the same shape. `cache` takes the new keys and values, `[b, h, l, d]`, and returns all that are seen.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        heads: usize,
        pass: Pass,
        cache: impl FnOnce(Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        let [_, _, c] = x.dims();
        let normed = self.attention_norm.forward(x.clone());
        let project = |layer| project_in(normed.clone(), layer, pass.precision);
        let turned = |layer| {
            let heads = split_heads(project(layer), heads).swap_dims(1, 2);
            pass.rotate(heads).swap_dims(1, 2)
        };
        let q = turned(&self.q) * ((c / heads) as f64).powf(-0.5);
        let (k, v) = cache(turned(&self.k), split_heads(project(&self.v), heads));
        let attended = merge_heads(attend(q, k, v, pass.hidden));
        let x = x + project_in(attended, &self.o, pass.precision);
        let normed = self.ffn_norm.forward(x.clone());
        let gate = silu(project_in(normed.clone(), &self.w1, pass.precision));
        let up = project_in(normed, &self.w3, pass.precision);
        x + project_in(gate * up, &self.w2, pass.precision)
    }
}

/// The transformer.
#[derive(Module, Debug)]
pub struct Raster {
    /// Embeddings of the classes, the last for none, `[classes + 1, C]`.
    pub class_embed: Param<Tensor<2>>,
    /// Embeddings of the codes, `[V, C]`.
    pub code_embed: Param<Tensor<2>>,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// The last norm.
    pub norm: RmsNorm,
    /// Tokens to logits of the codes.
    pub head: Linear,
    #[module(skip)]
    config: RasterConfig,
}

impl RasterConfig {
    /// A model with random weights; the head is zero, as in the official code.
    ///
    /// # Panics
    /// If the sizes contradict each other.
    pub fn init(&self, device: &Device) -> Raster {
        self.check();
        let normal = Initializer::Normal {
            mean: 0.0,
            std: STD,
        };
        let mut head = linear(self.width, self.vocabulary, false, STD, device);
        head.weight = Initializer::Zeros.init([self.width, self.vocabulary], device);
        Raster {
            class_embed: normal.init([self.classes + 1, self.width], device),
            code_embed: normal.init([self.vocabulary, self.width], device),
            blocks: (0..self.depth).map(|_| Block::init(self, device)).collect(),
            norm: RmsNorm::init(self.width, device),
            head,
            config: *self,
        }
    }

    /// The rotations of all codes.
    pub fn rope(&self, device: &Device) -> RopeTable {
        let [h, w] = self.grid;
        let rows = (0..h).flat_map(|row| (0..w).map(move |column| [row as f32, column as f32]));
        RopeTable::new(&rows.collect::<Vec<_>>(), self.head_dim(), THETA, device)
    }
}

impl Raster {
    /// The shapes.
    pub fn config(&self) -> &RasterConfig {
        &self.config
    }

    /// Embeddings of classes, `[b, 1, C]`; the number of classes stands for none.
    ///
    /// # Panics
    /// If a label is not a class.
    pub fn embed_classes(&self, labels: &[usize]) -> Tensor<3> {
        let classes = self.config.classes;
        let rows = labels.iter().map(|&label| {
            assert!(label <= classes, "class {label} of {classes}");
            label as i32
        });
        let rows = TensorData::new(rows.collect::<Vec<_>>(), [labels.len()]);
        let rows = Tensor::<1, Int>::from_data(rows, &self.class_embed.device());
        value(&self.class_embed).select(0, rows).unsqueeze_dim(1)
    }

    /// Embeddings of codes, `[b, n]` to `[b, n, C]`.
    pub fn embed_codes(&self, codes: Tensor<2, Int>) -> Tensor<3> {
        let [b, n] = codes.dims();
        let rows = value(&self.code_embed).select(0, codes.reshape([b * n]));
        rows.reshape([b, n, self.config.width])
    }

    /// Logits `[b, n, V]` of all codes, each from the class and the codes before it.
    ///
    /// # Shapes
    /// `codes` is `[b, n]` with `n` at most those of the grid; the last is not read. `labels` has one class per image.
    ///
    /// # Panics
    /// If a label is not a class, or there are more codes than in a grid.
    pub fn forward(
        &self,
        codes: Tensor<2, Int>,
        labels: &[usize],
        precision: Precision,
    ) -> Tensor<3> {
        let [_, n] = codes.dims();
        let device = codes.device();
        assert!(n <= self.config.tokens(), "{n} codes in a grid");
        let mut tokens = vec![self.embed_classes(labels)];
        if n > 1 {
            tokens.push(self.embed_codes(codes.slice_dim(1, 0..n - 1)));
        }
        let x = Tensor::cat(tokens, 1);
        let hidden = (0..n).flat_map(|i| (0..n).map(move |j| j > i)).collect();
        let mask = BlockCausal::from_hidden(hidden, n, &device);
        let rope = (n > 1).then(|| self.config.rope(&device).slice(0, n - 1));
        let pass = Pass {
            rope: rope.as_ref(),
            class: true,
            hidden: Some(mask.mask()),
            precision,
        };
        let heads = self.config.heads;
        let x = self
            .blocks
            .iter()
            .fold(x, |x, block| block.forward(x, heads, pass, |k, v| (k, v)));
        self.logits(x)
    }

    /// One more token, `[b, 1, C]`, through all blocks, with the keys and values of those before it: logits, `[b, 1, V]`.
    pub(super) fn next(
        &self,
        x: Tensor<3>,
        pass: Pass,
        mut cache: impl FnMut(usize, Tensor<4>, Tensor<4>) -> (Tensor<4>, Tensor<4>),
    ) -> Tensor<3> {
        let heads = self.config.heads;
        let blocks = self.blocks.iter().enumerate();
        let x = blocks.fold(x, |x, (i, block)| {
            block.forward(x, heads, pass, |k, v| cache(i, k, v))
        });
        self.logits(x)
    }

    fn logits(&self, x: Tensor<3>) -> Tensor<3> {
        project_f32(self.norm.forward(f32(x)), &self.head)
    }
}
