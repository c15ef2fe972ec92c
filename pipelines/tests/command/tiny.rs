//! A model with random weights, small enough to paint in milliseconds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use burn::tensor::Device;
use nextscale_bitwise::import::{WeightDtype, save_infinity};
use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_bitwise::tokens::Patching;
use nextscale_bitwise::vae::{BsqVaeConfig, import::FileDType};
use nextscale_pipelines::bundle::{self, Bundle, Manifest, ModelKind, Sampling, Size};
use nextscale_text::import::Precision;
use nextscale_text::{T5Config, train_unigram};

/// The folder of the model, made once for all tests.
pub(crate) fn model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("tiny-model");
        std::fs::create_dir_all(&folder).unwrap();
        make(&folder, 1);
        folder
    })
}

/// Writes a model whose weights depend on a seed.
pub(crate) fn make(folder: &Path, seed: u64) {
    let device = Device::flex();
    device.seed(seed);
    let vocab = train_unigram(["a red house", "a blue tree and a cat"], 40).unwrap();
    let text = T5Config::new(vocab.size(), 128, 1, 2, 64);
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
        bits: 4,
        base_channels: 8,
        encoder_mult: vec![1, 2],
        decoder_mult: vec![1, 2],
        encoder_blocks: 1,
        decoder_blocks: 1,
        norm_groups: Some(4),
        pixel_patch: 1,
    };
    vocab.save(folder.join(bundle::VOCAB)).unwrap();
    let t5 = text.init(&device);
    nextscale_text::import::save(&t5, folder.join(bundle::TEXT), Precision::F16).unwrap();
    let model = transformer.init(&device);
    let path = folder.join(bundle::TRANSFORMER);
    save_infinity(&transformer, &model, &path, WeightDtype::F16).unwrap();
    vae.init(&device)
        .save(folder.join(bundle::VAE), FileDType::F16)
        .unwrap();
    let square = vec![[1, 1], [2, 2], [4, 4]];
    let wide = vec![[1, 1], [2, 3], [4, 6]];
    let size = |width, height, scales| Size {
        width,
        height,
        scales,
        reference: None,
    };
    let manifest = Manifest {
        kind: ModelKind::Infinity,
        name: "tiny".into(),
        about: String::new(),
        text,
        transformer,
        vae,
        patching: Patching::Double,
        sizes: vec![size(16, 16, square), size(24, 16, wide)],
        sampling: Sampling {
            cfg: 3.0,
            tau: 1.0,
            top_k: 0,
            top_p: 1.0,
        },
        prompt: Default::default(),
        fingerprints: BTreeMap::new(),
    };
    Bundle::seal(folder, manifest).unwrap();
}

/// A copy of the model in another folder, to be damaged.
pub(crate) fn copy(to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(model()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
