//! Seconds of an image, with random weights.

use std::time::Instant;

use burn::tensor::Device;
use nextscale_comparators::dit::{self, Process, SampleInput};
use nextscale_comparators::raster::{self, RasterCache};
use nextscale_tokenizer::VqCodes;
use nextscale_tokenizer::phi::Phi;
use nextscale_tokenizer::vq::Codebook;
use nextscale_var_core::sampler::Sampler;
use nextscale_var_core::var::{self, Plan};

use super::options::{ModelSize, Paradigm};
use super::shapes::{CHANNELS, VOCABULARY, dit_config, raster_config, var_config};

/// Steps of diffusion that are measured; the others take as long.
const STEPS: usize = 3;

/// Seconds of one image without guidance, codes to latent; of diffusion in so many steps, of which a few are measured.
pub(super) fn seconds(
    paradigm: Paradigm,
    size: ModelSize,
    side: usize,
    steps: usize,
    device: &Device,
) -> f64 {
    match paradigm {
        Paradigm::Var => of_var(size, side, device),
        Paradigm::RasterKept => of_raster(size, side, RasterCache::Kept, device),
        Paradigm::RasterRecomputed => of_raster(size, side, RasterCache::Recomputed, device),
        Paradigm::Dit => of_dit(size, side, device) * steps as f64,
    }
}

/// The second of two runs, which finds everything allocated.
fn second(mut run: impl FnMut()) -> f64 {
    run();
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

fn of_var(size: ModelSize, side: usize, device: &Device) -> f64 {
    let config = var_config(size, side);
    let model = config.init(device);
    let codes = VqCodes {
        codebook: Codebook::init(VOCABULARY, CHANNELS, device),
        phi: Phi::init(4, CHANNELS, 0.5, device),
    };
    let plan = Plan::stepwise(&config, device);
    let scales = config.schedule.len();
    second(|| {
        let options = var::GenerateOptions {
            guidance: nextscale_var_core::guidance::Guidance::constant(1.0, scales),
            ..var::GenerateOptions::ramp(0.0, scales)
        };
        let input = var::GenerateInput {
            pyramid: codes.pyramid(),
            plan: &plan,
            labels: &[1],
            options,
            sampler: Sampler::greedy(),
        };
        let last = var::generate(&model, input).last();
        last.into_iter().for_each(|step| finish(step.features));
    })
}

fn of_raster(size: ModelSize, side: usize, cache: RasterCache, device: &Device) -> f64 {
    let model = raster_config(size, side).init(device);
    second(|| {
        let input = raster::GenerateInput {
            labels: &[1],
            cfg: 1.0,
            sampler: Sampler::greedy(),
            cache,
        };
        let last = raster::generate(&model, input).last();
        last.into_iter().for_each(|code| {
            code.into_data();
        });
    })
}

/// Seconds of one step.
fn of_dit(size: ModelSize, side: usize, device: &Device) -> f64 {
    let config = dit_config(size, side);
    let model = config.init(device);
    let all = second(|| {
        let input = SampleInput {
            labels: &[1],
            noise: dit::noise(&[1], &config, device),
            cfg: 1.0,
            process: Process::Flow,
            steps: STEPS,
        };
        dit::sample(&model, input)
            .last()
            .into_iter()
            .for_each(finish);
    });
    all / STEPS as f64
}

/// Waits for a result.
fn finish<const D: usize>(x: burn::tensor::Tensor<D>) {
    x.into_data();
}
