//! Batch norm (arXiv 1502.03167) with running statistics as PyTorch keeps them.

use burn::module::{Module, Param, ParamId};
use burn::nn::Initializer;
use burn::tensor::module::batch_norm_train;
use burn::tensor::{Device, Tensor};

/// Added to the variance.
const EPSILON: f64 = 1e-5;
/// Share of the running statistics that a batch replaces.
const MOMENTUM: f64 = 0.1;

/// Normalises each channel over a batch. In training the statistics are those of the batch; the running ones are kept for whoever
/// evaluates the network.
///
/// The library's layer puts the biased variance into its running statistics, and loses them where copies of a module compute on
/// several threads. Here a pass returns the statistics, and [`BatchNorm::updated`] puts them in.
#[derive(Module, Debug)]
pub(crate) struct BatchNorm {
    /// Factors, `[c]`.
    pub gamma: Param<Tensor<1>>,
    /// Offsets, `[c]`.
    pub beta: Param<Tensor<1>>,
    /// Running means, `[c]`, not trained.
    pub mean: Param<Tensor<1>>,
    /// Running variances, `[c]`, not trained.
    pub variance: Param<Tensor<1>>,
}

/// Mean and unbiased variance of each channel of a batch, `[c]`, without autodiff.
#[derive(Clone, Debug)]
pub(crate) struct Statistics {
    /// Means.
    pub mean: Tensor<1>,
    /// Variances.
    pub variance: Tensor<1>,
}

impl BatchNorm {
    /// Factors around 1 (normal, standard deviation 0.02) and offsets of 0, as the reference's `weights_init` has them.
    pub(crate) fn init(channels: usize, device: &Device) -> Self {
        let factors = Initializer::Normal {
            mean: 1.0,
            std: 0.02,
        };
        let constant = |value| Param::initialized(ParamId::new(), value);
        Self {
            gamma: factors.init([channels], device),
            beta: Initializer::Zeros.init([channels], device),
            mean: constant(Tensor::zeros([channels], device)),
            variance: constant(Tensor::ones([channels], device)),
        }
    }

    /// `[b, c, h, w]` on an autodiff device, normalised with the statistics of the batch, which come with it.
    pub(crate) fn forward(&self, x: Tensor<4>) -> (Tensor<4>, Statistics) {
        let [b, _, h, w] = x.dims();
        let n = (b * h * w) as f64;
        let result = batch_norm_train(x, self.gamma.val(), self.beta.val(), EPSILON);
        let statistics = Statistics {
            mean: result.mean.inner(),
            variance: result.variance.inner() * (n / (n - 1.0)),
        };
        (result.output, statistics)
    }

    /// The layer after a batch with these statistics.
    #[must_use]
    pub(crate) fn updated(mut self, batch: &Statistics) -> Self {
        let moved = |running: Tensor<1>, batch: &Tensor<1>| {
            let batch = Tensor::from_inner(batch.clone());
            running * (1.0 - MOMENTUM) + batch * MOMENTUM
        };
        self.mean = self.mean.map(|running| moved(running, &batch.mean));
        self.variance = self.variance.map(|running| moved(running, &batch.variance));
        self
    }
}
