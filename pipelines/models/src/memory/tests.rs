//! Figures of docs/memory.md, and what follows from descriptions alone.

use burn::tensor::FloatDType;
use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_text::T5Config;
use nextscale_tokenizer::VqVaeConfig;
use nextscale_tokenizer::schedule::infinity::{PixelBudget, RatioTemplate};
use nextscale_var_core::blocks::BlockStorage;
use nextscale_var_core::shortcuts::Shortcuts;
use nextscale_var_core::var::VarConfig;
use nextscale_video::InfinityStarVaeConfig;
use nextscale_video::guidance::InfinityStarGuidance;

use super::estimate::{MemoryEstimate, Pools};
use super::f32_bytes;
use super::formats::Formats;
use super::image::{ImageRun, Images, infinity, var};
use super::video::infinity_star;
use crate::generator::VideoPlan;
use crate::model::Model;
use crate::open::DEFAULT;
use crate::released;
use crate::shortcuts::{CacheBudget, ImageShortcuts, VideoShortcuts};

const P720: &str = "infinitystar-8b-720p";
const P480: &str = "infinitystar-8b-480p";
/// One gibibyte.
const GIB: f64 = (1u64 << 30) as f64;

const STORAGES: [BlockStorage; 3] = [
    BlockStorage::Loaded,
    BlockStorage::Int8,
    BlockStorage::Streamed,
];

fn formats(dtype: FloatDType, working: u64, blocks: BlockStorage) -> Formats {
    Formats {
        dtype,
        working,
        blocks,
        decodes_in_f16: working == 2,
        pools: match working {
            4 => Pools::Shared,
            _ => Pools::Apart,
        },
    }
}

fn text() -> u64 {
    T5Config::flan_t5_xl().parameters() as u64 * 4
}

/// A square image by the 2B or the 8B model, guided.
fn image_of(config: &InfinityConfig, budget: PixelBudget, formats: Formats) -> MemoryEstimate {
    image_from(config, budget, 0, formats)
}

/// The same of an edit, with the tokens of its source.
fn image_from(
    config: &InfinityConfig,
    budget: PixelBudget,
    source: usize,
    formats: Formats,
) -> MemoryEstimate {
    let vae = match config.code_dim {
        56 => BsqVaeConfig::stride_8_patchify(),
        bits => BsqVaeConfig::stride_16(bits),
    };
    let template = RatioTemplate::nearest(1.0);
    let (height, width) = template.pixels(budget);
    let schedule = template.schedule(budget);
    let run = &ImageRun::guided(1, schedule.len());
    let images = Images {
        schedule: &schedule,
        source,
        pixels: (width * height) as u64,
        run,
    };
    MemoryEstimate {
        text: text(),
        vae: f32_bytes(&vae.keys()),
        ..infinity(config, &vae, images, formats)
    }
}

/// An image of a million pixels.
fn image(config: &InfinityConfig, formats: Formats) -> MemoryEstimate {
    image_of(config, PixelBudget::M1, formats)
}

fn image_2b(dtype: FloatDType) -> MemoryEstimate {
    image(
        &InfinityConfig::infinity_2b(),
        formats(dtype, 4, BlockStorage::Loaded),
    )
}

const CARD: fn(BlockStorage) -> Formats = |blocks| formats(FloatDType::BF16, 2, blocks);

fn card_in_f32() -> Formats {
    Formats {
        dtype: FloatDType::F32,
        working: 4,
        decodes_in_f16: false,
        ..CARD(BlockStorage::Loaded)
    }
}

/// GiB of a run on a card whose text encoder is gone.
fn gib(estimate: MemoryEstimate) -> f64 {
    estimate.releasing_text_encoder(true).total() as f64 / GIB
}

/// A single image of a million pixels on a card: in bf16, int8 and with its blocks in their file.
#[test]
fn images_on_cards() {
    for (model, told) in [
        (InfinityConfig::infinity_2b(), [8.5, 6.5, 4.7]),
        (InfinityConfig::infinity_8b(), [24.3, 16.6, 9.7]),
    ] {
        for (blocks, told) in STORAGES.into_iter().zip(told) {
            let alone = gib(image(&model, CARD(blocks)).in_turn(true));
            assert!((alone - told).abs() < 0.051, "{blocks:?}: {alone}");
        }
        // With more images the decoder works while the next one is generated.
        let one = image(&model, CARD(BlockStorage::Loaded));
        let more = gib(one) - gib(one.in_turn(true));
        assert!((more - 3.0).abs() < 0.01, "{more}");
    }
}

/// What a run of `bench` held at its end, in MiB, on the driver that counts (docs/memory.md): without a text encoder, and
/// with a prompt of 12 tokens.
#[test]
fn images_take_what_was_measured() {
    let (two, eight) = (InfinityConfig::infinity_2b(), InfinityConfig::infinity_8b());
    let small = InfinityConfig::infinity_125m();
    let half = CARD(BlockStorage::Loaded);
    let full = card_in_f32();
    for (model, budget, formats, measured) in [
        (&two, PixelBudget::M006, half, 5055.0),
        (&two, PixelBudget::M1, half, 8960.0),
        (&eight, PixelBudget::M1, half, 25_375.0),
        (&small, PixelBudget::M1, half, 3443.0),
        (&small, PixelBudget::M1, full, 4912.0),
        (&two, PixelBudget::M1, full, 17_968.0),
    ] {
        let estimate = MemoryEstimate {
            text: 0,
            ..image_of(model, budget, formats)
        };
        let told = gib(estimate.in_one_thread()) * 1024.0;
        assert!((told / measured - 1.0f64).abs() < 0.1, "{budget:?}: {told}");
    }
}

/// The keys and values of the image that is edited are kept in every block (docs/memory.md).
#[test]
fn an_edit_keeps_its_source() {
    let config = InfinityConfig::infinity_8b();
    for (blocks, told) in STORAGES.into_iter().zip([28.8, 21.1, 14.2]) {
        let plain = image(&config, CARD(blocks));
        let edit = image_from(&config, PixelBudget::M1, 4096, CARD(blocks));
        let source = 2 * 3584 * 2 * 2 * 4096 * (40 + 1);
        assert_eq!(edit.cache - plain.cache, source);
        assert_eq!(edit.scale, plain.scale);
        let alone = gib(edit.in_turn(true));
        assert!((alone - told).abs() < 0.051, "{blocks:?}: {alone}");
    }
}

#[test]
fn the_2b_model_at_a_million_pixels() {
    let (full, half) = (image_2b(FloatDType::F32), image_2b(FloatDType::BF16));
    assert_eq!(full.transformer, 4 * 2_204_564_032);
    assert_eq!(half.transformer * 2, full.transformer);
    // 2 (keys and values) x 2048 numbers x 2 rows x 4 bytes: of (10,521 - 4096 + 512) tokens in 32 blocks, of 10,521 in one
    assert_eq!(full.cache, 2 * 2048 * 2 * 4 * (32 * 6937 + 10_521));
    assert_eq!(half.cache, full.cache);
    assert!(full.notice().unwrap().contains("transformer 8.2"));
}

/// The estimate of an image of a million pixels with `--fast`.
fn fast_image(config: &InfinityConfig, vae: &BsqVaeConfig) -> MemoryEstimate {
    let schedule = RatioTemplate::nearest(1.0).schedule(PixelBudget::M1);
    let fast = ImageShortcuts::fast(schedule.len());
    let run = ImageRun {
        images: 1,
        guided: fast.guidance_until,
        shortcuts: fast.of_transformer(),
    };
    let images = Images {
        schedule: &schedule,
        source: 0,
        pixels: 1 << 20,
        run: &run,
    };
    MemoryEstimate {
        vae: f32_bytes(&vae.keys()),
        ..infinity(config, vae, images, CARD(BlockStorage::Loaded))
    }
}

/// What is left out is not counted: rows without guidance, scales that are not run, and tokens of the last ones.
#[test]
fn the_2b_model_in_a_hurry() {
    let config = InfinityConfig::infinity_2b();
    let estimate = fast_image(&config, &BsqVaeConfig::stride_16(32));
    // 1497 tokens up to 24 x 24 in two rows are more than those of all scales but the last in one.
    let kept = 2 * 1497 * 32 + 32 * 2 * 512 + 1497 + 1024 + 1600;
    let stand_ins = 2 * 576 * 25;
    assert_eq!(estimate.cache, 2048 * (2 * kept * 2 + stand_ins * 4));
    let all = image(&config, CARD(BlockStorage::Loaded));
    assert!(estimate.cache * 100 < all.cache * 36 && estimate.scale * 100 < all.scale * 20);
}

/// One guided image of a million pixels on a card with a part of the keys and values.
fn budgeted(config: &InfinityConfig, vae: &BsqVaeConfig, budget: CacheBudget) -> MemoryEstimate {
    let schedule = RatioTemplate::nearest(1.0).schedule(PixelBudget::M1);
    let run = ImageRun {
        shortcuts: Shortcuts::none(schedule.len()).with_cache_budget(Some(budget)),
        ..ImageRun::guided(1, schedule.len())
    };
    let images = Images {
        schedule: &schedule,
        source: 0,
        pixels: 1 << 20,
        run: &run,
    };
    MemoryEstimate {
        vae: f32_bytes(&vae.keys()),
        ..infinity(config, vae, images, CARD(BlockStorage::Loaded))
    }
}

/// A tenth of them: those of the prompt stay, and one block at a time attends to all (docs/faster.md).
#[test]
fn a_smaller_cache() {
    let (two, eight) = (InfinityConfig::infinity_2b(), InfinityConfig::infinity_8b());
    let (small, large) = (
        BsqVaeConfig::stride_16(32),
        BsqVaeConfig::stride_8_patchify(),
    );
    for (config, vae, drafters, told) in [
        (two, small, vec![0, 23], [3.55, 0.72, 8.5, 7.5]),
        (eight, large, vec![0, 1, 2], [7.69, 1.51, 24.3, 18.9]),
    ] {
        let of = |share| budgeted(&config, &vae, CacheBudget::new(share, drafters.clone()));
        let (all, tenth) = (of(1.0), of(0.1));
        let caches = [&all, &tenth].map(|estimate| estimate.cache as f64 / GIB);
        // Of what is kept of earlier scales, nine tenths are saved.
        let token = 2 * config.width as u64 * 2;
        let saved = 2 * 6425 * config.depth as u64 * 9 / 10 * token;
        assert!((all.cache - tenth.cache).abs_diff(saved) <= 100 * token);
        let totals = [all, tenth].map(|estimate| gib(estimate.in_turn(true)));
        let found = [caches, totals].concat();
        for (gib, (told, most)) in found
            .iter()
            .zip(told.iter().zip([0.006, 0.006, 0.051, 0.051]))
        {
            assert!((gib - told).abs() < most, "{found:?}");
        }
    }
}

/// On a card with `--fast`: images of a million pixels, and videos of five seconds.
#[test]
fn in_a_hurry_on_cards() {
    let (two, eight) = (InfinityConfig::infinity_2b(), InfinityConfig::infinity_8b());
    let two = fast_image(&two, &BsqVaeConfig::stride_16(32));
    let eight = fast_image(&eight, &BsqVaeConfig::stride_8_patchify());
    let video = |name: &str| {
        let manifest = released::infinity_star::manifest(name).unwrap();
        let size = manifest.sizes[0].clone();
        let shortcuts = VideoShortcuts::fast(size.scales.len());
        let plan = VideoPlan::new(manifest, size, 81).unwrap();
        let plan = plan.with_shortcuts(shortcuts).unwrap();
        MemoryEstimate {
            vae: f32_bytes(&InfinityStarVaeConfig::infinitystar().keys()),
            ..infinity_star(&plan, CARD(BlockStorage::Loaded))
        }
    };
    let runs = [
        two.in_turn(true),
        eight.in_turn(true),
        video(P720),
        video(P480),
    ];
    let totals = runs.map(gib);
    for (total, told) in totals.iter().zip([7.5, 18.9, 31.6, 23.7]) {
        assert!((total - told).abs() < 0.051, "{totals:?}");
    }
}

/// What stands in for tokens that a clip leaves out: in f32, of the scale before, in 28 of 36 blocks.
#[test]
fn clips_that_leave_tokens_out() {
    let manifest = released::infinity_star::manifest(P720).unwrap();
    let size = manifest.sizes[0].clone();
    let plan = VideoPlan::new(manifest, size.clone(), 81).unwrap();
    let estimate = |keep_tokens: Vec<f64>| {
        let shortcuts = VideoShortcuts {
            keep_tokens,
            ..VideoShortcuts::default()
        };
        let plan = plan.clone().with_shortcuts(shortcuts).unwrap();
        infinity_star(&plan, CARD(BlockStorage::Loaded)).cache
    };
    let [h, w] = size.scales[13];
    let added = estimate(vec![0.5]) - estimate(vec![]);
    assert_eq!(added, (2 * 20 * h * w * 28 * 4096 * 4) as u64);
    assert_eq!(estimate(vec![1.0]), estimate(vec![]));
}

#[test]
fn var_of_512_pixels() {
    let config = VarConfig::released_512();
    let estimate = |blocks| {
        let formats = formats(FloatDType::BF16, 4, blocks);
        let images = Images {
            schedule: &config.schedule,
            source: 0,
            pixels: 1 << 18,
            run: &ImageRun::guided(1, config.schedule.len()),
        };
        var(&config, &VqVaeConfig::released(), images, formats)
    };
    let [loaded, int8, streamed] = STORAGES.map(estimate);
    assert_eq!(loaded.transformer, 2 * config.parameters() as u64);
    assert!(int8.transformer < loaded.transformer && streamed.transformer < int8.transformer);
    assert_eq!(loaded.cache, int8.cache);
    assert!(
        loaded.notice().unwrap().contains("memory: about"),
        "{loaded:?}"
    );
}

#[test]
fn what_cannot_fit_is_refused() {
    let full = image_2b(FloatDType::F32);
    assert!(full.check(Some(64 << 30)).is_ok() && full.check(None).is_ok());
    let error = full.check(Some(8 << 30)).unwrap_err();
    assert!(
        error.to_string().contains("the device has 8.0 GiB"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("--dtype bf16"));
}

/// What a guided video of the first size takes follows from the description: no weight is read.
fn video(name: &str, frames: usize, guided: bool, formats: Formats) -> MemoryEstimate {
    let mut manifest = released::infinity_star::manifest(name).unwrap();
    if !guided {
        manifest.guidance = InfinityStarGuidance::None;
    }
    let size = manifest.sizes[0].clone();
    let plan = VideoPlan::new(manifest, size, frames).unwrap();
    let estimate = infinity_star(&plan, formats);
    MemoryEstimate {
        text: text(),
        vae: f32_bytes(&InfinityStarVaeConfig::infinitystar().keys()),
        ..estimate
    }
}

#[test]
fn videos_of_720p_on_a_cpu() {
    let cpu = |dtype| formats(dtype, 4, BlockStorage::Loaded);
    let half = video(P720, 81, true, cpu(FloatDType::BF16));
    assert_eq!(half.transformer, 2 * (8_768_382_112 - 4096));
    let full = video(P720, 81, true, cpu(FloatDType::F32));
    assert_eq!(full.transformer, 2 * half.transformer);
    // Only the image and the prompt stay for the clip: 2 rows of 3600 + 64 tokens, in f32 on a CPU.
    assert_eq!(half.cache, 2 * 3664 * 2 * 147_456);
    assert!(video(P720, 1, true, cpu(FloatDType::BF16)).total() < half.total());
    assert!(video(P720, 81, false, cpu(FloatDType::BF16)).total() < half.total());
    let error = half.check(Some(16 << 30)).unwrap_err().to_string();
    assert!(error.contains("the device has 16.0 GiB"), "{error}");
    assert!(half.notice().unwrap().contains("transformer 16.3"));
}

/// Of 720p five seconds, and of 480p five and ten: in bf16, int8 and with the blocks in their file.
#[test]
fn videos_on_cards() {
    for (model, frames, told) in [
        (P720, 81, [33.8, 25.6, 18.4]),
        (P480, 81, [24.7, 16.6, 9.3]),
        (P480, 161, [35.8, 27.7, 20.4]),
    ] {
        for (blocks, told) in STORAGES.into_iter().zip(told) {
            let total = gib(video(model, frames, true, CARD(blocks)));
            assert!(
                (total - told).abs() < 0.051,
                "{model} {frames} {blocks:?}: {total}"
            );
        }
    }
}

/// What a run of `bench` held at its peak, on the driver that counts.
#[test]
fn a_video_in_f32_takes_what_was_measured() {
    let told = gib(video(P480, 17, true, card_in_f32()).in_one_thread());
    assert!((told / 51.4 - 1.0).abs() < 0.1, "{told}");
}

/// What `bench` and `generate` held of the model inside the program, in MiB, on the driver that counts.
#[test]
fn the_embedded_model_takes_what_was_measured() {
    let model = Model::open(DEFAULT).unwrap();
    let config = model.infinity().unwrap();
    let size = model.default_size().unwrap();
    let schedule = size.schedule().unwrap();
    let images = Images {
        schedule: &schedule,
        source: 0,
        pixels: (size.width * size.height) as u64,
        run: &ImageRun::guided(1, schedule.len()),
    };
    let formats = CARD(BlockStorage::Loaded);
    let estimate = infinity(&config.transformer, &config.vae, images, formats);
    let estimate = model.with_parts(estimate);
    for (estimate, measured) in [
        (estimate.in_one_thread(), 44.0),
        (estimate.in_turn(true), 64.0),
    ] {
        let told = estimate.total() as f64 / f64::from(1 << 20);
        assert!((told / measured - 1.0f64).abs() < 0.1, "{told}");
    }
}

#[test]
fn two_runs_on_one_device_take_twice_the_memory() {
    let one = MemoryEstimate {
        transformer: 6 << 30,
        cache: 1 << 30,
        decoder: 2 << 30,
        ..MemoryEstimate::default()
    };
    assert_eq!(one.times(1), one);
    assert_eq!(one.times(2).total(), 2 * one.total());
    assert!(one.check(Some(10 << 30)).is_ok());
    assert!(one.times(2).check(Some(10 << 30)).is_err());
}
