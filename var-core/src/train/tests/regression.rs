//! A toy problem: a small network learns a fixed linear map.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData, activation};
use rand::Rng as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::train::{AdamWConfig, Batches, Budget, Decay, LearningRate, Loss, Task, TrainOptions};

#[derive(Module, Debug)]
pub(super) struct Toy {
    pub(super) first: Linear,
    pub(super) second: Linear,
    pub(super) embedding: Param<Tensor<2>>,
}

/// The same network every time. Its numbers do not come from the device's generator, which other tests use at the same time.
pub(super) fn toy(device: &Device) -> Toy {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut numbers =
        |count: usize| -> Vec<f32> { (0..count).map(|_| rng.random_range(-0.5..0.5)).collect() };
    let mut layer = |input: usize, output: usize| {
        let mut layer = LinearConfig::new(input, output).init(device);
        let weight = TensorData::new(numbers(input * output), [input, output]);
        layer.weight = Param::from_tensor(Tensor::from_data(weight, device));
        layer.bias = Some(Param::from_tensor(Tensor::zeros([output], device)));
        layer
    };
    Toy {
        first: layer(4, 16),
        second: layer(16, 2),
        embedding: Param::from_tensor(Tensor::ones([3, 2], device)),
    }
}

pub(super) struct Regression {
    device: Device,
    /// Steps so far; every fifth one moves the embedding.
    steps: AtomicU64,
}

impl Regression {
    pub(super) fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            steps: AtomicU64::new(0),
        }
    }
}

impl Regression {
    /// The loss of a batch.
    fn loss(&self, model: &Toy, (x, y): <Self as Task>::Batch) -> Loss {
        let n = x.len() / 4;
        let x = Tensor::<2>::from_data(TensorData::new(x, [n, 4]), &self.device);
        let y = Tensor::<2>::from_data(TensorData::new(y, [n, 2]), &self.device);
        let hidden = activation::gelu(model.first.forward(x));
        let shift = model.embedding.val().mean_dim(0) - 1.0;
        let error = model.second.forward(hidden) + shift - y;
        let total = error.clone().square().mean();
        Loss {
            parts: vec![("worst", error.abs().max())],
            total,
            examples: n,
        }
    }
}

impl Task for Regression {
    type Model = Toy;
    type Batch = (Vec<f32>, Vec<f32>);

    fn gradients(&self, model: &Toy, batch: Self::Batch) -> (Loss, GradientsParams) {
        self.loss(model, batch).gradients(model)
    }

    fn evaluate(&self, average: &Toy) -> Vec<(String, f64)> {
        let weight = average.first.weight.val();
        assert!(!weight.is_autodiff());
        vec![(
            "weight".to_owned(),
            weight.abs().mean().into_scalar::<f32>() as f64,
        )]
    }

    fn after_step(&self, mut model: Toy, step: u64, progress: f64) -> Toy {
        assert!((0.0..1.0).contains(&progress));
        let steps = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        assert_eq!(steps, step + 1, "a resumed run remembers its steps");
        if steps.is_multiple_of(5) {
            let moved = |value: Tensor<2>| (value + 0.01).detach().require_grad();
            model.embedding = model.embedding.map(moved);
        }
        model
    }

    fn measure(&self) -> Vec<(String, f64)> {
        let steps = self.steps.load(Ordering::Relaxed);
        vec![("steps.all".into(), steps as f64)]
    }

    fn state(&self) -> Option<String> {
        Some(self.steps.load(Ordering::Relaxed).to_string())
    }

    fn restore_state(&self, memory: &str) -> Result<(), serde_json::Error> {
        self.steps
            .store(serde_json::from_str(memory)?, Ordering::Relaxed);
        Ok(())
    }

    fn no_decay(&self) -> &[&str] {
        &["embedding"]
    }
}

pub(super) struct Points {
    pub(super) broken_at: u64,
}

impl Batches for Points {
    type Batch = (Vec<f32>, Vec<f32>);

    fn batch(&mut self, step: u64) -> Self::Batch {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        rng.set_stream(step);
        let x: Vec<f32> = (0..32 * 4).map(|_| rng.random_range(-1.0..1.0)).collect();
        let mut y: Vec<f32> = x
            .chunks(4)
            .flat_map(|p| [p[0] - 2.0 * p[1], p[2] * 0.5 + p[3]])
            .collect();
        if step == self.broken_at {
            y[0] = f32::NAN;
        }
        (x, y)
    }
}

pub(super) fn options(steps: u64) -> TrainOptions {
    TrainOptions {
        budget: Budget::Steps(steps),
        learning_rate: LearningRate {
            peak: 1e-2,
            warmup_steps: 5,
            warmup_start: 0.0,
            decay: Decay::Cosine,
            flat: 0.0,
            end: 0.0,
        },
        adamw: AdamWConfig::default(),
        muon: None,
        average_decay: 0.9,
        log_every: 1,
        evaluate_every: 20,
        checkpoint_minutes: 1e9,
        parallel: 1,
        accumulate: 1,
        shard_optimizer: false,
        keep: 2,
    }
}

pub(super) fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("nextscale-train-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

pub(super) const SOUND: Points = Points {
    broken_at: u64::MAX,
};
