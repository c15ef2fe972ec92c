//! The memory estimate against the bytes that a run of the transformer allocates.
//!
//! The tests are one test, because the counter sees all threads.

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Device, Distribution, Tensor};
use nextscale_var_core::sampler::{Sampler, SamplerConfig};
use nextscale_video::clips::Layout;
use nextscale_video::infinity_star::Limits;
use nextscale_video::memory::{BatchSize, kept_bytes, pass_bytes};
use nextscale_video::templates::Template;
use nextscale_video::{
    CodeBits, GenerateInput, GenerateOptions, InfinityStar, InfinityStarConfig,
    InfinityStarGuidance, InfinityStarPreset, Plan, generate,
};

/// A prompt of 9 tokens under guidance, in f32.
const BATCH: BatchSize = BatchSize {
    text: 9,
    guided_scales: usize::MAX,
    rows: 2,
    bytes: 4,
};

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator with a count of the bytes in use.
struct Counting;

// SAFETY: every call is forwarded to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        let now = NOW.fetch_add(memory.size(), Ordering::SeqCst) + memory.size();
        MOST.fetch_max(now, Ordering::SeqCst);
        // SAFETY: guaranteed by the caller.
        unsafe { System.alloc(memory) }
    }

    unsafe fn dealloc(&self, at: *mut u8, memory: Memory) {
        NOW.fetch_sub(memory.size(), Ordering::SeqCst);
        // SAFETY: guaranteed by the caller.
        unsafe { System.dealloc(at, memory) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn config() -> InfinityStarConfig {
    InfinityStarConfig {
        width: 128,
        depth: 2,
        heads: 4,
        kv_heads: 2,
        mlp_hidden: 512,
        bits: CodeBits {
            semantic: 2,
            detail: 8,
        },
        text_channels: 16,
        text_max_len: 9,
        attention_bias: false,
        block_chunks: 1,
    }
}

fn input(plan: &Plan, text: Tensor<3>, limits: Limits) -> GenerateInput<'_> {
    let guidance = InfinityStarGuidance::Cfg { scale: 3.0 };
    let sampler = SamplerConfig {
        temperature: 1.0,
        top_k: 0,
        top_p: 0.0,
    };
    GenerateInput {
        plan,
        text,
        negative: None,
        conditions: Vec::new(),
        options: GenerateOptions {
            limits,
            ..GenerateOptions::new(guidance, 1.0, 1.0)
        },
        sampler: Sampler::new(sampler, &[1]),
    }
}

/// The peak bytes of a run besides the model's weights, and the peak number of values of kept keys and values.
fn run(model: &InfinityStar, plan: &Plan, limits: Limits) -> (usize, usize) {
    let text = Tensor::<3>::random([1, 9, 16], Distribution::Default, &Device::flex());
    let before = NOW.load(Ordering::SeqCst);
    MOST.store(before, Ordering::SeqCst);
    let mut run = generate(model, input(plan, text, limits));
    let mut numbers = 0;
    while run.next().is_some() {
        numbers = numbers.max(run.state().numbers());
    }
    (MOST.load(Ordering::SeqCst) - before, numbers)
}

#[test]
fn a_run_takes_what_was_estimated() {
    let model = config().init(&Device::flex());
    let layout = Layout {
        image_repeats: vec![1; 3],
        clip_repeats: vec![1; 3],
        semantic_scales: 1,
        clip_frames: 4,
    };
    let tight = Limits {
        tokens: 1 << 16,
        scores: 1 << 20,
        hidden: 1 << 16,
    };
    let grids = [[1, 1], [6, 9], [12, 18]];
    for (frames, limits) in [
        (9, tight),
        (5, tight),
        (
            9,
            Limits {
                tokens: 900,
                ..tight
            },
        ),
    ] {
        let plan = Plan::new(&layout, &grids, frames).unwrap();
        run(&model, &plan, limits); // weights are drawn when they are first used
        let (most, kept) = run(&model, &plan, limits);
        let estimated = kept_bytes(&config(), &plan, BATCH);
        assert_eq!(4 * kept, estimated, "{frames} frames");
        let all = estimated + pass_bytes(&config(), &plan, BATCH, limits);
        assert!(
            most <= all,
            "{frames} frames take {most} bytes, estimated were {all}"
        );
        assert!(
            3 * most > all,
            "{frames} frames take only {most} bytes of {all}"
        );
    }

    // The image of five seconds at full 720p: only what the next clip attends to is kept, 3600 tokens and the prompt.
    let preset = InfinityStarPreset::infinitystar_8b_720p();
    let template = Template::nearest(0.562);
    let grids = template.grids(preset.size);
    let plan = Plan::new(&preset.layout, grids, 21).unwrap();
    let text = Tensor::<3>::random([1, 9, 16], Distribution::Default, &Device::flex());
    let limits = Limits {
        scores: 1 << 24,
        ..Limits::default()
    };
    let mut run = generate(&model, input(&plan, text, limits));
    let image = plan.clips()[0].passes.len();
    for pass in run.by_ref().take(image + 1) {
        let all = pass.pass.clip > 0 || pass.ends_clip;
        assert_eq!(
            pass.kept_tokens,
            if all { 3609 } else { 9 },
            "pass {}",
            pass.k
        );
    }
    assert_eq!(
        4 * run.state().numbers(),
        kept_bytes(&config(), &plan, BATCH)
    );
    assert_eq!(plan.largest_pass(), 72_000);
}
