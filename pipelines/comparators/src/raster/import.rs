//! Checkpoints in the layout of the official code.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use nextscale_weights::{
    Rule, WeightError, WeightFile, official_block_keys, official_keys, rule, shapes,
};

use super::config::RasterConfig;
use super::model::Raster;

const TOP: [Rule; 4] = [
    rule("cls_embedding.embedding_table.weight", &["class_embed"]),
    rule("tok_embeddings.weight", &["code_embed"]),
    rule("norm.weight", &["norm.weight"]),
    rule("output.weight", &["head.weight"]),
];

const BLOCK: [Rule; 7] = [
    rule("attention_norm.weight", &["attention_norm.weight"]),
    rule(
        "attention.wqkv.weight",
        &["q.weight", "k.weight", "v.weight"],
    ),
    rule("attention.wo.weight", &["o.weight"]),
    rule("ffn_norm.weight", &["ffn_norm.weight"]),
    rule("feed_forward.w1.weight", &["w1.weight"]),
    rule("feed_forward.w3.weight", &["w3.weight"]),
    rule("feed_forward.w2.weight", &["w2.weight"]),
];

/// The blocks' names there and here.
const OFFICIAL_BLOCKS: &str = "layers.";
const BLOCKS: &str = "blocks.";

/// Names and shapes of a checkpoint.
///
/// # Panics
/// If `config` contradicts itself.
pub fn raster_keys(config: &RasterConfig) -> BTreeMap<String, Vec<usize>> {
    let ours = shapes(&config.init(&Device::flex()));
    let top = official_keys(&TOP, "", "", &ours, config.width);
    let blocks = official_block_keys(&BLOCK, config.depth, 1, &ours, config.width);
    let blocks = blocks
        .into_iter()
        .map(|(name, shape)| (name.replacen(BLOCKS, OFFICIAL_BLOCKS, 1), shape));
    top.into_iter().chain(blocks).collect()
}

/// Loads a checkpoint of the official code.
///
/// # Errors
/// If the file cannot be read, or its tensors are not exactly those of `config`.
///
/// # Panics
/// If `config` contradicts itself.
pub fn load_raster(
    config: &RasterConfig,
    path: &Path,
    device: &Device,
) -> Result<Raster, WeightError> {
    let mut file =
        WeightFile::open(path)?.renamed(|name| name.replacen(OFFICIAL_BLOCKS, BLOCKS, 1));
    file.rename(&TOP, "", "");
    file.rename_blocks(config.depth, &BLOCK)?;
    let mut model = config.init(device);
    file.apply(&mut model)?;
    Ok(model)
}
