//! Times training steps of a small transformer: `cargo run -p nextscale-bitwise --example step_speed [batch] [depth]`.

use std::time::Instant;

use burn::tensor::{Device, Distribution, Int, Tensor};
use nextscale_bitwise::infinity::{InfinityConfig, Plan, TextCondition};
use nextscale_bitwise::tokens::TeacherForcing;
use nextscale_bitwise::train::{ScaleWeighting, loss};
use nextscale_tokenizer::ScaleSchedule;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |or: usize| arguments.next().and_then(|a| a.parse().ok()).unwrap_or(or);
    let (b, depth, rounds) = (number(64), number(8), number(6));
    let device = Device::flex().autodiff();
    let config = InfinityConfig {
        width: 256,
        depth,
        heads: 4,
        code_dim: 64,
        text_channels: 256,
        text_max_len: 64,
        mlp_ratio: 4.0,
        block_chunks: 1,
        levels: 15,
    };
    let schedule = ScaleSchedule::square(&[1, 2, 3, 4]).expect("a schedule");
    let model = config.init(&device);
    let plan = Plan::teacher_forcing(&config, &schedule, schedule.last(), &device);
    let normal = Distribution::Normal(0.0, 1.0);
    let batch = TeacherForcing {
        inputs: Tensor::random([b, 29, 64], normal, &device),
        bits: Tensor::<3, Int>::zeros([b, 30, 64], &device),
    };
    let lens: Vec<usize> = (0..b).map(|i| 6 + i % 7).collect();
    let text = TextCondition::new(Tensor::random([b, 12, 256], normal, &device), lens);
    let weights = ScaleWeighting::Uniform.weights(&schedule, &device);
    for round in 0..rounds {
        let start = Instant::now();
        let value = loss(&model, &batch, &text, &plan, &weights).loss;
        let forward = start.elapsed().as_secs_f64();
        let gradients = value.backward();
        let both = start.elapsed().as_secs_f64();
        let value: f32 = value.into_scalar();
        println!(
            "{round}: forward {forward:.3} s, both {both:.3} s, {:.1} pictures/s, loss {value:.4}",
            b as f64 / both
        );
        drop(gradients);
    }
}
