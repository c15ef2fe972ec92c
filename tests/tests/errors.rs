//! Errors for files that are missing, damaged, or of another model.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use nextscale_bitwise::import::load_infinity;
use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_text::{T5Config, TextEncoder, TextError, Vocab, import};
use nextscale_weights::WeightError;

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(file)
}

/// A copy of a file without its last `cut` bytes.
fn truncated(file: &Path, dir: &Path, cut: usize) -> PathBuf {
    let mut bytes = std::fs::read(file).unwrap();
    bytes.truncate(bytes.len() - cut);
    let path = dir.join(file.file_name().unwrap());
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Absent files and truncated copies of `file` cannot be read, and the error names them.
fn refuses_unreadable(file: &Path, load: impl Fn(&Path) -> Result<(), WeightError>) {
    let dir = tempfile::tempdir().unwrap();
    let refuses = |path: PathBuf| {
        let error = load(&path).unwrap_err();
        assert!(matches!(error, WeightError::Read { .. }), "{error}");
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(error.to_string().contains(&*name), "{error}");
    };
    for absent in ["absent.safetensors", "absent.pth"] {
        refuses(golden(absent));
    }
    for cut in [100, 40_000] {
        refuses(truncated(file, dir.path(), cut));
    }
}

fn t5_config(num_layers: usize) -> T5Config {
    let text = std::fs::read_to_string(golden("t5-dev/config.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let config = T5Config::from_hf_json(&json["hf_config"].to_string(), "config.json").unwrap();
    T5Config {
        num_layers,
        ..config
    }
}

fn load_t5(num_layers: usize, path: &Path) -> Result<(), WeightError> {
    import::load(&mut t5_config(num_layers).init(&Device::flex()), path)
}

#[test]
fn t5_files() {
    for file in ["t5-dev/weights.pth", "t5-dev/weights.safetensors"] {
        let file = golden(file);
        load_t5(2, &file).unwrap();

        refuses_unreadable(&file, |path| load_t5(2, path));

        let Err(WeightError::Keys {
            missing, unused, ..
        }) = load_t5(1, &file)
        else {
            panic!("{file:?} has a block too many");
        };
        assert!(missing.is_empty() && unused.len() == 9, "{unused:?}");

        let Err(WeightError::Keys {
            missing, unused, ..
        }) = load_t5(3, &file)
        else {
            panic!("{file:?} lacks a block");
        };
        assert!(unused.is_empty() && missing.len() == 9, "{missing:?}");
        assert!(
            missing
                .iter()
                .all(|key| key.starts_with("encoder.block.2."))
        );
    }
}

#[test]
fn text_encoder_folders() {
    let dir = tempfile::tempdir().unwrap();
    let load = || TextEncoder::load(dir.path(), &Device::flex()).unwrap_err();
    assert!(load().to_string().contains("config.json"));
    std::fs::write(dir.path().join("config.json"), "{").unwrap();
    assert!(matches!(load(), TextError::Config { .. }));
    std::fs::write(dir.path().join("config.json"), t5_config(2).to_hf_json()).unwrap();
    assert!(load().to_string().contains("tokenizer.json"));
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    assert!(matches!(load(), TextError::Vocab { .. }));
    let tokenizer = golden("tokenizer-dev/tokenizer.json");
    std::fs::copy(tokenizer, dir.path().join("tokenizer.json")).unwrap();
    assert!(load().to_string().contains("model.safetensors"));
    let weights = golden("t5-dev/weights.safetensors");
    std::fs::copy(weights, dir.path().join("model.safetensors")).unwrap();
    let text = TextEncoder::load(dir.path(), &Device::flex()).unwrap();
    let features = text.encode(&["a cat", ""]).unwrap();
    assert_eq!(features.lens, [4, 1]);
}

#[test]
fn tokenizer_files() {
    let error = Vocab::from_file(golden("absent.json")).unwrap_err();
    assert!(error.to_string().contains("absent.json"), "{error}");
    let text = std::fs::read_to_string(golden("tokenizer-dev/tokenizer.json")).unwrap();
    let other = text.replace("</s>", "[END]");
    let error = Vocab::from_bytes(other.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("</s>"), "{error}");
}

#[test]
fn auto_encoder_files() {
    let device = Device::flex();
    let config = BsqVaeConfig::new(16, 24, &[1, 2, 1, 1, 1], 2);
    let load = |config: &BsqVaeConfig, path: &Path| config.init(&device).load(path).map(|_| ());
    let file = golden("infinity-vae-dev/weights.safetensors");
    load(&config, &file).unwrap();
    refuses_unreadable(&file, |path| load(&config, path));
    let fewer = BsqVaeConfig {
        decoder_blocks: 2,
        ..config.clone()
    };
    let error = load(&fewer, &file).unwrap_err();
    assert!(
        error.to_string().contains("decoder.up.0.block.2."),
        "{error}"
    );
    let other = BsqVaeConfig { bits: 8, ..config };
    let error = load(&other, &file).unwrap_err();
    assert!(matches!(error, WeightError::Mismatch { .. }), "{error}");
    assert!(error.to_string().contains("conv_out"), "{error}");
}

#[test]
fn transformer_files() {
    let device = Device::flex();
    let config = InfinityConfig {
        width: 96,
        depth: 2,
        heads: 3,
        code_dim: 16,
        text_channels: 128,
        text_max_len: 24,
        mlp_ratio: 4.0,
        block_chunks: 2,
        levels: 15,
    };
    let load =
        |config: &InfinityConfig, path: &Path| load_infinity(config, path, &device).map(|_| ());
    let file = golden("infinity-dev-b/weights.safetensors");
    load(&config, &file).unwrap();
    refuses_unreadable(&file, |path| load(&config, path));
    let deeper = InfinityConfig { depth: 4, ..config };
    let error = load(&deeper, &file).unwrap_err();
    assert!(matches!(error, WeightError::Keys { .. }), "{error}");
    // A checkpoint of another model, in the other format.
    let error = load(&deeper, &golden("t5-dev/weights.pth")).unwrap_err();
    let WeightError::Keys {
        missing, unused, ..
    } = error
    else {
        panic!("{error}");
    };
    assert!(missing.iter().any(|key| key == "cfg_uncond"), "{missing:?}");
    assert!(
        unused.iter().any(|key| key == "shared.weight"),
        "{unused:?}"
    );
}
