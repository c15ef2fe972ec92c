//! The encoder of T5 v1.1 and flan-T5.

mod config;

use burn::module::Module;
use burn::nn::{
    Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig, RmsNorm, RmsNormConfig,
};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

pub use config::T5Config;

impl T5Config {
    /// A new encoder with T5's initialisation: embeddings of unit variance, and queries scaled by `1 / sqrt(d)`, because the
    /// attention is not (`T5PreTrainedModel._init_weights`).
    ///
    /// # Panics
    /// If a size is zero or the buckets do not fit the distance.
    pub fn init(&self, device: &Device) -> T5Encoder {
        self.init_with(1.0, device)
    }

    /// As [`T5Config::init`], with embeddings of standard deviation `embedding_std`.
    ///
    /// T5 was trained with updates in proportion to the weights. With AdamW every weight moves by about the learning rate,
    /// so embeddings of unit variance would hardly change direction. For training from scratch they should start small.
    ///
    /// # Panics
    /// As [`T5Config::init`].
    pub fn init_with(&self, embedding_std: f64, device: &Device) -> T5Encoder {
        self.check().unwrap_or_else(|e| panic!("{e}"));
        let blocks = (0..self.num_layers).map(|_| T5Block::new(self, device));
        T5Encoder {
            shared: EmbeddingConfig::new(self.vocab_size, self.d_model)
                .with_initializer(normal(embedding_std))
                .init(device),
            relative_bias: EmbeddingConfig::new(
                self.relative_attention_num_buckets,
                self.num_heads,
            )
            .with_initializer(normal((self.d_model as f64).powf(-0.5)))
            .init(device),
            blocks: blocks.collect(),
            norm: self.norm(device),
            max_distance: self.relative_attention_max_distance,
        }
    }

    fn norm(&self, device: &Device) -> RmsNorm {
        RmsNormConfig::new(self.d_model)
            .with_epsilon(self.layer_norm_epsilon)
            .init(device)
    }
}

fn normal(std: f64) -> Initializer {
    Initializer::Normal { mean: 0.0, std }
}

fn linear(from: usize, to: usize, std: f64, device: &Device) -> Linear {
    LinearConfig::new(from, to)
        .with_bias(false)
        .with_initializer(normal(std))
        .init(device)
}

/// A T5 encoder: ids to features.
#[derive(Module, Debug)]
pub struct T5Encoder {
    shared: Embedding,
    relative_bias: Embedding,
    blocks: Vec<T5Block>,
    norm: RmsNorm,
    max_distance: usize,
}

impl T5Encoder {
    /// Number of blocks.
    pub(crate) fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// Features of token ids (`T5Stack.forward` of transformers). Rows of the padding are meaningless; drop them by the
    /// lengths.
    ///
    /// # Shapes
    /// `ids` and `valid` are `[b, l]`; `valid` is true for tokens (`</s>` included) and false for padding, and every row
    /// needs one valid token. The result is `[b, l, c]`.
    pub fn forward(&self, ids: Tensor<2, Int>, valid: Tensor<2, Bool>) -> Tensor<3> {
        let [b, l] = ids.dims();
        let bias = self.position_bias(l, &ids.device());
        let hidden_keys = valid.bool_not().reshape([b, 1, 1, l]);
        let mut x = self.embed(ids);
        for block in &self.blocks {
            x = block.forward(x, &bias, &hidden_keys);
        }
        self.norm.forward(x)
    }

    /// Every stage of [`T5Encoder::forward`]: the embedding, the output of each block, and the normalised features; all
    /// `[b, l, c]`.
    pub fn stages(&self, ids: Tensor<2, Int>, valid: Tensor<2, Bool>) -> Vec<Tensor<3>> {
        let [b, l] = ids.dims();
        let bias = self.position_bias(l, &ids.device());
        let hidden_keys = valid.bool_not().reshape([b, 1, 1, l]);
        let mut stages = vec![self.embed(ids)];
        for block in &self.blocks {
            let x = stages[stages.len() - 1].clone();
            stages.push(block.forward(x, &bias, &hidden_keys));
        }
        stages.push(self.norm.forward(stages[stages.len() - 1].clone()));
        stages
    }

    /// The device of the weights, on which features are computed.
    pub fn weights_device(&self) -> Device {
        self.shared.weight.device()
    }

    /// Feature width, c.
    pub fn width(&self) -> usize {
        self.shared.weight.dims()[1]
    }

    /// Rows of the embedding table.
    pub fn vocab_size(&self) -> usize {
        self.shared.weight.dims()[0]
    }

    /// The token embeddings, `[b, l]` to `[b, l, c]`, unscaled.
    fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.shared.forward(ids)
    }

    /// The bias that all blocks add to their scores, `[1, n, l, l]`.
    fn position_bias(&self, l: usize, device: &Device) -> Tensor<4> {
        let [buckets, n] = self.relative_bias.weight.dims();
        let rows: Vec<i32> = (0..l * l)
            .map(|at| {
                let (query, key) = ((at / l) as i64, (at % l) as i64);
                relative_bucket(key - query, buckets, self.max_distance) as i32
            })
            .collect();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [l * l]), device);
        let table = self.relative_bias.weight.val();
        table
            .select(0, rows)
            .reshape([1, l, l, n])
            .permute([0, 3, 1, 2]) // [1, n, l, l]
    }
}

/// The bucket of the distance `key - query`: half of the buckets are for keys to the right, and in each half small distances
/// have their own bucket and larger ones share logarithmic buckets up to `max_distance`
/// (`T5Attention._relative_position_bucket` of transformers, in f32 as there).
pub fn relative_bucket(distance: i64, buckets: usize, max_distance: usize) -> usize {
    let half = buckets / 2;
    let exact = half / 2;
    let side = if distance > 0 { half } else { 0 };
    let n = distance.unsigned_abs() as usize;
    if n < exact {
        return side + n;
    }
    let octaves = (max_distance as f64 / exact as f64).ln() as f32;
    let steps = (n as f32 / exact as f32).ln() / octaves * (half - exact) as f32;
    side + (exact + steps as usize).min(half - 1)
}

/// One block: self-attention, then the gated feed-forward, each with an RMS norm before it and a residual around it.
#[derive(Module, Debug)]
struct T5Block {
    attention_norm: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    ffn_norm: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
    heads: usize,
}

impl T5Block {
    fn new(config: &T5Config, device: &Device) -> Self {
        let (c, f) = (config.d_model, config.d_ff);
        let inner = config.num_heads * config.d_kv;
        let std = |fan: usize| (fan as f64).powf(-0.5);
        Self {
            attention_norm: config.norm(device),
            query: linear(c, inner, std(c * config.d_kv), device),
            key: linear(c, inner, std(c), device),
            value: linear(c, inner, std(c), device),
            output: linear(inner, c, std(inner), device),
            ffn_norm: config.norm(device),
            gate: linear(c, f, std(c), device),
            up: linear(c, f, std(c), device),
            down: linear(f, c, std(f), device),
            heads: config.num_heads,
        }
    }

    /// # Shapes
    /// `x` and the result are `[b, l, c]`, `bias` is `[1, n, l, l]`, and `hidden_keys` `[b, 1, 1, l]`, true for padding.
    fn forward(&self, x: Tensor<3>, bias: &Tensor<4>, hidden_keys: &Tensor<4, Bool>) -> Tensor<3> {
        let [b, l, _] = x.dims();
        let n = self.heads;
        let h = self.attention_norm.forward(x.clone());
        let heads = |linear: &Linear| {
            let y = linear.forward(h.clone());
            let inner = y.dims()[2];
            y.reshape([b, l, n, inner / n]).swap_dims(1, 2) // [b, n, l, d]
        };
        let (q, k, v) = (heads(&self.query), heads(&self.key), heads(&self.value));
        let scores = q.matmul(k.swap_dims(2, 3)) + bias.clone();
        let hidden = hidden_keys.clone().expand([b, n, l, l]);
        let weights = softmax(scores.mask_fill(hidden, MASKED), 3);
        let mixed = weights.matmul(v).swap_dims(1, 2); // [b, l, n, d]
        let x = x + self.output.forward(mixed.reshape([b as i32, l as i32, -1]));

        let h = self.ffn_norm.forward(x.clone());
        let gated = gelu_tanh(self.gate.forward(h.clone())) * self.up.forward(h);
        x + self.down.forward(gated)
    }
}

/// The score of a hidden key. Its weight is exactly zero after the softmax, also in half precision.
const MASKED: f32 = -60000.0;

/// GELU with the tanh approximation, `gelu_new` of transformers. The cube is a product because powers of negative numbers
/// are not safe on every device.
fn gelu_tanh(x: Tensor<3>) -> Tensor<3> {
    let cube = x.clone() * x.clone() * x.clone();
    let inner = (x.clone() + cube * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
    x * (inner.tanh() + 1.0) * 0.5
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    fn tiny() -> T5Config {
        T5Config::new(20, 16, 2, 4, 24)
    }

    fn ids(rows: &[[i32; 4]], device: &Device) -> Tensor<2, Int> {
        let flat: Vec<i32> = rows.iter().flatten().copied().collect();
        Tensor::from_data(TensorData::new(flat, [rows.len(), 4]), device)
    }

    fn valid(rows: &[[bool; 4]], device: &Device) -> Tensor<2, Bool> {
        let flat: Vec<bool> = rows.iter().flatten().copied().collect();
        Tensor::from_data(TensorData::new(flat, [rows.len(), 4]), device)
    }

    #[test]
    fn buckets_at_the_borders() {
        let bucket = |d| relative_bucket(d, 32, 128);
        assert_eq!(
            [bucket(0), bucket(-7), bucket(-8), bucket(-16)],
            [0, 7, 8, 10]
        );
        assert_eq!([bucket(1), bucket(7), bucket(8)], [17, 23, 24]);
        assert_eq!([bucket(-128), bucket(-5000), bucket(5000)], [15, 15, 31]);
    }

    #[test]
    fn padding_changes_no_feature() {
        let device = Device::flex();
        let t5 = tiny().init(&device);
        let rows = valid(&[[true, true, true, false]], &device);
        let a = t5.forward(ids(&[[5, 6, 1, 0]], &device), rows.clone());
        let b = t5.forward(ids(&[[5, 6, 1, 9]], &device), rows);
        let gap = (a - b).slice([0..1, 0..3, 0..16]).abs().max();
        assert_eq!(gap.into_scalar::<f32>(), 0.0);
    }

    #[test]
    fn every_parameter_gets_a_gradient() {
        let device = Device::flex().autodiff();
        let t5 = tiny().init(&device);
        let all = valid(&[[true; 4]], &device);
        let y = t5.forward(ids(&[[5, 6, 7, 1]], &device), all);
        let target = Tensor::random(y.dims(), Distribution::Normal(0.0, 1.0), &device);
        let grads = (y - target).square().mean().backward();
        let size = |g: Option<Tensor<2>>| g.map(|g| g.abs().sum().into_scalar::<f32>());
        let first = &t5.blocks[0];
        for w in [
            &first.query.weight,
            &first.gate.weight,
            &t5.relative_bias.weight,
            &t5.shared.weight,
        ] {
            assert!(size(w.grad(&grads)).is_some_and(|s| s > 0.0));
        }
    }
}
