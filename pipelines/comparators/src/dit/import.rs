//! Checkpoints in the layout of the official code.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, TensorData};
use nextscale_weights::{
    Rule, WeightError, WeightFile, official_block_keys, official_keys, rule, shapes,
};

use super::config::DitConfig;
use super::model::Dit;

const TOP: [Rule; 11] = [
    rule(PATCH, &["patch_embed.weight"]),
    rule("x_embedder.proj.bias", &["patch_embed.bias"]),
    rule("t_embedder.mlp.0.weight", &["time_1.weight"]),
    rule("t_embedder.mlp.0.bias", &["time_1.bias"]),
    rule("t_embedder.mlp.2.weight", &["time_2.weight"]),
    rule("t_embedder.mlp.2.bias", &["time_2.bias"]),
    rule("y_embedder.embedding_table.weight", &["class_embed"]),
    rule(
        "final_layer.adaLN_modulation.1.weight",
        &["head_ada.weight"],
    ),
    rule("final_layer.adaLN_modulation.1.bias", &["head_ada.bias"]),
    rule("final_layer.linear.weight", &["head.weight"]),
    rule("final_layer.linear.bias", &["head.bias"]),
];

const BLOCK: [Rule; 10] = [
    rule("attn.qkv.weight", &["q.weight", "k.weight", "v.weight"]),
    rule("attn.qkv.bias", &["q.bias", "k.bias", "v.bias"]),
    rule("attn.proj.weight", &["proj.weight"]),
    rule("attn.proj.bias", &["proj.bias"]),
    rule("mlp.fc1.weight", &["fc1.weight"]),
    rule("mlp.fc1.bias", &["fc1.bias"]),
    rule("mlp.fc2.weight", &["fc2.weight"]),
    rule("mlp.fc2.bias", &["fc2.bias"]),
    rule("adaLN_modulation.1.weight", &["ada.weight"]),
    rule("adaLN_modulation.1.bias", &["ada.bias"]),
];

/// The weights of a convolution there, of a linear layer here.
const PATCH: &str = "x_embedder.proj.weight";
/// A tensor that follows from the sizes.
const POSITIONS: &str = "pos_embed";

/// Names and shapes of a checkpoint.
///
/// # Panics
/// If `config` contradicts itself.
pub fn dit_keys(config: &DitConfig) -> BTreeMap<String, Vec<usize>> {
    let ours = shapes(&config.init(&Device::flex()));
    let top = official_keys(&TOP, "", "", &ours, config.width);
    let blocks = official_block_keys(&BLOCK, config.depth, 1, &ours, config.width);
    let mut keys: BTreeMap<_, _> = top.into_iter().chain(blocks).collect();
    let patch = vec![config.width, config.channels, config.patch, config.patch];
    keys.insert(PATCH.to_owned(), patch);
    keys.insert(POSITIONS.to_owned(), vec![1, config.tokens(), config.width]);
    keys
}

/// Loads a checkpoint of the official code.
///
/// # Errors
/// If the file cannot be read, or its tensors are not exactly those of `config`.
///
/// # Panics
/// If `config` contradicts itself.
pub fn load_dit(config: &DitConfig, path: &Path, device: &Device) -> Result<Dit, WeightError> {
    let mut file = WeightFile::open(path)?;
    file.forget(|name| name == POSITIONS);
    let patch = vec![config.width, config.channels, config.patch, config.patch];
    if file.shape(PATCH) == Some(patch) {
        let (bytes, _, dtype) = file.take(PATCH)?.into_parts();
        let shape = [config.width, config.channels * config.patch * config.patch];
        file.replace(PATCH, TensorData::from_bytes(bytes, shape, dtype));
    }
    file.rename(&TOP, "", "");
    file.rename_blocks(config.depth, &BLOCK)?;
    let mut model = config.init(device);
    file.apply(&mut model)?;
    Ok(model)
}
