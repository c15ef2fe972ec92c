//! A model with random weights, small enough to paint in milliseconds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use burn::tensor::Device;
use nextscale_bitwise::import::save_infinity;
use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_bitwise::tokens::Patching;
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_models::manifest::{
    FrameCounts, InfinityManifest, InfinityStarManifest, Manifest, VarManifest,
};
use nextscale_models::sampling::Sampling;
use nextscale_models::{MANIFEST, Model, Size, TEXT, TRANSFORMER, VAE, VOCAB};
use nextscale_text::{T5Config, train_unigram};
use nextscale_tokenizer::{ScaleSchedule, VqVaeConfig};
use nextscale_var_core::attention::AttentionKind;
use nextscale_var_core::var::save_var;
use nextscale_var_core::var::{Modulation, VarConfig};
use nextscale_video::codes::CodeBits;
use nextscale_video::infinity_star::save_infinity_star;
use nextscale_video::vae::resample::Resample;
use nextscale_video::{InfinityStarConfig, InfinityStarGuidance, InfinityStarVaeConfig, Layout};
use nextscale_weights::WeightDtype;

/// The folder of the model, made once for all tests.
pub(crate) fn model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    made_once(&MODEL, "tiny-model", |folder| make(folder, 1))
}

fn made_once(
    model: &'static OnceLock<PathBuf>,
    name: &str,
    make: impl FnOnce(&Path),
) -> &'static Path {
    model.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        make(&folder);
        folder
    })
}

/// The device, whose random numbers start with a seed and belong to the caller as long as it holds the guard: tests run in
/// parallel, and all draw from the same numbers.
fn seeded(seed: u64) -> (Device, MutexGuard<'static, ()>) {
    static DRAWS: Mutex<()> = Mutex::new(());
    let alone = DRAWS.lock().unwrap_or_else(PoisonError::into_inner);
    let device = Device::flex();
    device.seed(seed);
    (device, alone)
}

/// Writes a text encoder with random weights and its vocabulary under these names.
pub(crate) fn save_text(folder: &Path, vocab_file: &str, weights: &str) -> T5Config {
    let _alone = seeded(7);
    draw_text(folder, vocab_file, weights)
}

fn draw_text(folder: &Path, vocab_file: &str, weights: &str) -> T5Config {
    let vocab = train_unigram(["a red house", "a blue tree and a cat"], 40).unwrap();
    vocab.save(folder.join(vocab_file)).unwrap();
    let config = T5Config::new(vocab.size(), 128, 1, 2, 64);
    let t5 = config.init(&Device::flex());
    nextscale_text::import::save(&t5, folder.join(weights), WeightDtype::F16).unwrap();
    config
}

fn size(width: usize, height: usize, scales: &[[usize; 2]]) -> Size {
    Size {
        width,
        height,
        scales: scales.to_vec(),
        reference: None,
        known: None,
    }
}

fn sampling(cfg: f64) -> Sampling {
    Sampling {
        cfg,
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
    }
}

/// Writes a model whose weights depend on a seed.
pub(crate) fn make(folder: &Path, seed: u64) {
    let (device, _alone) = seeded(seed);
    let text = draw_text(folder, VOCAB, TEXT);
    let transformer = InfinityConfig {
        width: 32,
        depth: 2,
        heads: 2,
        code_dim: 16,
        text_channels: 128,
        text_max_len: 16,
        mlp_ratio: 8.0,
        block_chunks: 1,
        levels: 6,
    };
    let vae = BsqVaeConfig {
        decoder_blocks: 1,
        norm_groups: Some(4),
        ..BsqVaeConfig::new(4, 8, &[1, 2], 1)
    };
    let model = transformer.init(&device);
    let path = folder.join(TRANSFORMER);
    save_infinity(&transformer, &model, &path, WeightDtype::F16).unwrap();
    vae.init(&device)
        .save(folder.join(VAE), WeightDtype::F16)
        .unwrap();
    let (square, wide) = ([[1, 1], [2, 2], [4, 4]], [[1, 1], [2, 3], [4, 6]]);
    let manifest = InfinityManifest {
        name: "tiny".into(),
        about: String::new(),
        text,
        transformer,
        vae,
        patching: Patching::Double,
        sizes: vec![size(16, 16, &square), size(24, 16, &wide)],
        sampling: sampling(3.0),
        edits_by_instruction: false,
        prompt: Default::default(),
        fingerprints: BTreeMap::new(),
    };
    Model::seal(folder, Manifest::Infinity(manifest)).unwrap();
}

/// Changes the description of a model.
pub(crate) fn describe(folder: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = folder.join(MANIFEST);
    let mut manifest = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    std::fs::write(path, manifest.to_string()).unwrap();
}

/// Takes the checksums out of the description of a model, so that its weights can be changed.
pub(crate) fn forget_checksums(folder: &Path) {
    describe(folder, |manifest| {
        manifest["fingerprints"] = serde_json::json!({});
    });
}

/// A copy of the model in another folder, to be damaged.
pub(crate) fn copy(to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(model()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The folder of a class-conditional model, made once for all tests.
pub(crate) fn class_model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    made_once(&MODEL, "tiny-classes", |folder| {
        let (transformer, vae) = class_parts(ScaleSchedule::square(&[1, 2, 4]).unwrap(), 24);
        save_class(folder, [TRANSFORMER, VAE], &transformer, &vae);
        let manifest = VarManifest {
            name: "tiny".into(),
            about: String::new(),
            transformer,
            vae,
            sampling: sampling(2.0),
            classes: ["house, home", "tree", "cat"].map(str::to_owned).to_vec(),
            fingerprints: BTreeMap::new(),
        };
        Model::seal(folder, Manifest::Var(manifest)).unwrap();
    })
}

/// Shapes of a class-conditional model with three classes and a stride of 4.
pub(crate) fn class_parts(schedule: ScaleSchedule, vocabulary: usize) -> (VarConfig, VqVaeConfig) {
    let transformer = VarConfig {
        width: 64,
        depth: 2,
        heads: 1,
        classes: 3,
        vocabulary,
        channels: 4,
        schedule,
        mlp_ratio: 2.0,
        modulation: Modulation::Own,
        attention: AttentionKind::Cosine,
    };
    let vae = VqVaeConfig {
        vocabulary,
        channels: 4,
        base_channels: 32,
        mult: vec![1, 1, 1],
        blocks: 1,
        phis: 2,
        phi_ratio: 0.5,
        norm_groups: 32,
    };
    (transformer, vae)
}

/// Writes random weights in the official layout under these names.
pub(crate) fn save_class(
    folder: &Path,
    [transformer, vae]: [&str; 2],
    config: &VarConfig,
    vae_config: &VqVaeConfig,
) {
    let (device, _alone) = seeded(3);
    let path = folder.join(transformer);
    let mut model = config.init(&device);
    // A fresh head is nearly nothing: classes would make no difference.
    model.head.weight = model.head.weight.map(|weight| weight * 1000.0);
    save_var(config, &model, &path, WeightDtype::F32).unwrap();
    let vae = folder.join(vae);
    vae_config
        .init(&device)
        .save(vae, WeightDtype::F32)
        .unwrap();
}

/// The folder of a video model, made once for all tests: 16x16 or 24x16 pixels, 8 frames a second, 1 to 17 frames.
pub(crate) fn video_model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    made_once(&MODEL, "tiny-video", |folder| make_video(folder, |_| {}))
}

/// Writes a video model with random weights whose description is changed.
pub(crate) fn make_video(folder: &Path, change: impl FnOnce(&mut InfinityStarManifest)) {
    let mut manifest = video_manifest();
    change(&mut manifest);
    let (device, _alone) = seeded(5);
    manifest.text = draw_text(folder, VOCAB, TEXT);
    let model = manifest.transformer.init(&device);
    let path = folder.join(TRANSFORMER);
    save_infinity_star(&manifest.transformer, &model, &path, WeightDtype::F32).unwrap();
    let vae = manifest.vae.init(&device);
    vae.save(folder.join(VAE), WeightDtype::F32).unwrap();
    Model::seal(folder, Manifest::InfinityStar(manifest)).unwrap();
}

fn video_manifest() -> InfinityStarManifest {
    InfinityStarManifest {
        name: "tiny".into(),
        about: String::new(),
        text: T5Config::new(40, 128, 1, 2, 64),
        transformer: InfinityStarConfig {
            width: 32,
            depth: 2,
            heads: 2,
            kv_heads: 1,
            mlp_hidden: 48,
            bits: CodeBits {
                semantic: 2,
                detail: 8,
            },
            text_channels: 128,
            text_max_len: 32,
            attention_bias: false,
            block_chunks: 1,
        },
        vae: InfinityStarVaeConfig {
            channels: vec![4, 4, 8],
            levels: vec![Resample::SpaceTime, Resample::Space],
            encoder_blocks: 1,
            decoder_blocks: 1,
            latent: 2,
            pixel_patch: 1,
        },
        layout: Layout {
            image_repeats: vec![2, 1],
            clip_repeats: vec![1, 1],
            semantic_scales: 1,
            clip_frames: 4,
        },
        sizes: vec![
            size(16, 16, &[[1, 1], [2, 2]]),
            size(24, 16, &[[1, 1], [2, 3]]),
        ],
        fps: 8,
        frames: FrameCounts {
            default: 9,
            longest: 17,
            step: 4,
        },
        guidance: InfinityStarGuidance::Cfg { scale: 2.0 },
        image_temperature: 1.0,
        clip_temperature: 1.0,
        prompt: Default::default(),
        duration_tag: true,
        soft_start: false,
        semantic_scale: None,
        first_frame: None,
        fingerprints: BTreeMap::new(),
    }
}
