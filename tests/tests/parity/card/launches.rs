//! How many kernels a block takes in a scale.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use cubecl_runtime::logging::{LaunchObservation, LaunchObserver};
use nextscale_bitwise::infinity::{Plan as InfinityPlan, TextCondition};
use nextscale_tests::Report;
use nextscale_var_core::var::Plan as VarPlan;
use nextscale_video::infinity_star::{Limits, Segment, State};

use crate::card::configs;
use crate::card::models::To;

#[derive(Default)]
struct Count(AtomicUsize);

impl LaunchObserver for Count {
    fn launched(&self, _: &'static str) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Kernels that `work` launches.
pub(super) fn launches(device: &Device, work: impl FnOnce()) -> usize {
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

/// A model in half precision. It is not drawn on the card, whose generator an emulated one lacks.
fn halved<M: Module>(model: M, card: &Device) -> M {
    model.map(&mut To(DType::BF16)).to_device(card)
}

fn infinity(depth: usize, card: &Device) -> usize {
    let config = configs::infinity(depth);
    let schedule = configs::schedule();
    let model = halved(config.init(&Device::flex()), card);
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
    let config = configs::var(depth);
    let model = halved(config.init(&Device::flex()), card);
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
    let config = configs::star(depth, false);
    let model = halved(config.init(&Device::flex()), card);
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
