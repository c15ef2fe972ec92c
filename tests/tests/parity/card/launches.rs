//! How many kernels a block takes in a scale.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use cubecl_runtime::logging::{LaunchObservation, LaunchObserver};
use nextscale_bitwise::infinity::{InfinityConfig, Plan as InfinityPlan, TextCondition};
use nextscale_tests::Report;
use nextscale_tokenizer::ScaleSchedule;
use nextscale_var_core::attention::AttentionKind;
use nextscale_var_core::var::{Modulation, Plan as VarPlan, VarConfig};
use nextscale_video::infinity_star::{Limits, Segment, State};
use nextscale_video::{CodeBits, InfinityStarConfig};

use crate::card::models::To;

#[derive(Default)]
struct Count(AtomicUsize);

impl LaunchObserver for Count {
    fn launched(&self, _: &'static str) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Kernels that `work` launches.
fn launches(device: &Device, work: impl FnOnce()) -> usize {
    device.sync().expect("a card that works");
    let count = Arc::new(Count::default());
    let watching = LaunchObservation::new(count.clone());
    work();
    device.sync().expect("a card that works");
    drop(watching);
    count.0.load(Ordering::SeqCst)
}

/// Those of one more block, in the third scale of an image.
pub(super) fn check(report: &mut Report, card: &Device) {
    let each = |of: fn(usize, &Device) -> usize| of(5, card).saturating_sub(of(4, card)) as f32;
    report.within("launches a block of infinity", each(infinity), 13.0);
    report.within("launches a block of var", each(var), 8.0);
    report.within("launches a block of star", each(star), 9.0);
}

fn infinity(depth: usize, card: &Device) -> usize {
    let config = InfinityConfig {
        width: 128,
        depth,
        heads: 2,
        code_dim: 8,
        text_channels: 128,
        text_max_len: 9,
        block_chunks: 1,
        ..InfinityConfig::infinity_125m()
    };
    let schedule = ScaleSchedule::square(&[1, 2, 5, 9]).expect("a schedule");
    // Not drawn on the card, whose generator an emulated one lacks.
    let model = config
        .init(&Device::flex())
        .map(&mut To(DType::BF16))
        .to_device(card);
    let text = TextCondition::new(Tensor::ones([2, 5, 128], card), vec![5, 3]);
    let plan = InfinityPlan::stepwise(&config, &schedule, schedule.last(), card);
    let mut state = model.start(&text, &plan);
    let mut step = |k: usize, tokens: Option<usize>| {
        let input = tokens.map(|n| Tensor::ones([2, n, 8], card));
        model.forward_scale(k, input, &mut state, &plan, None);
    };
    step(0, None);
    step(1, Some(4));
    launches(card, || step(2, Some(25)))
}

fn var(depth: usize, card: &Device) -> usize {
    let config = VarConfig {
        width: 128,
        depth,
        heads: 2,
        classes: 5,
        vocabulary: 24,
        channels: 4,
        schedule: ScaleSchedule::square(&[1, 2, 5, 9]).expect("a schedule"),
        mlp_ratio: 4.0,
        modulation: Modulation::Own,
        attention: AttentionKind::Cosine,
    };
    // Not drawn on the card, whose generator an emulated one lacks.
    let model = config
        .init(&Device::flex())
        .map(&mut To(DType::BF16))
        .to_device(card);
    let plan = VarPlan::stepwise(&config, card);
    let mut state = model.start(&[3, 5], &plan);
    let mut step = |k: usize, tokens: Option<usize>| {
        let input = tokens.map(|n| Tensor::ones([2, n, 4], card));
        model.forward_scale(k, input, &mut state, &plan);
    };
    step(0, None);
    step(1, Some(4));
    launches(card, || step(2, Some(25)))
}

fn star(depth: usize, card: &Device) -> usize {
    let config = InfinityStarConfig {
        width: 128,
        depth,
        heads: 4,
        kv_heads: 2,
        mlp_hidden: 256,
        bits: CodeBits {
            semantic: 4,
            detail: 8,
        },
        text_channels: 16,
        text_max_len: 8,
        attention_bias: false,
        block_chunks: 1,
    };
    let model = config.init(&Device::flex());
    let model = model.map(&mut To(DType::BF16)).to_device(card);
    let mut state = State::new(depth);
    let mut pass = |tokens: usize, keep| {
        let positions: Vec<_> = (0..tokens).map(|n| [1.0, 0.0, n as f32, 0.0]).collect();
        let rope = model.rope(&positions, card);
        let x = Tensor::ones([2, tokens, 128], card);
        let x = model.forward(x, &rope, &mut state, keep, Limits::default());
        drop(x.into_data());
    };
    pass(8, Some(Segment::Text));
    pass(4, None);
    launches(card, || pass(25, None))
}
