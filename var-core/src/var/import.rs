//! VAR's checkpoints, in the layout of the released models.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, TensorData};
use nextscale_tokenizer::{Scale, ScaleSchedule};

use super::block::Block;
use super::config::{Modulation, VarConfig};
use super::model::Var;
use crate::attention::AttentionKind;
use crate::blocks::{BlockStorage, fill};
use crate::mask;
use nextscale_weights::{
    Export, Layout, Rule, ShapeError, WeightDtype, WeightError, WeightFile, official_block_keys,
    official_keys, rule, shapes,
};

/// Everything outside the blocks.
const TOP: [Rule; 10] = [
    rule("pos_start", &["pos_start"]),
    rule("pos_1LC", &["pos"]),
    rule("lvl_embed.weight", &["lvl_embed"]),
    rule("class_emb.weight", &["class_emb"]),
    rule("word_embed.weight", &["word_embed.weight"]),
    rule("word_embed.bias", &["word_embed.bias"]),
    rule("head_nm.ada_lin.1.weight", &["head_ada.weight"]),
    rule("head_nm.ada_lin.1.bias", &["head_ada.bias"]),
    rule("head.weight", &["head.weight"]),
    rule("head.bias", &["head.bias"]),
];

/// The layer of a shared modulation.
const SHARED: [Rule; 2] = [
    rule("shared_ada_lin.1.weight", &["shared_ada.weight"]),
    rule("shared_ada_lin.1.bias", &["shared_ada.bias"]),
];

/// Every block.
const BLOCK: [Rule; 10] = [
    rule("attn.q_bias", &["attn.q.bias"]),
    rule("attn.v_bias", &["attn.v.bias"]),
    rule("attn.zero_k_bias", &[]),
    rule(
        "attn.mat_qkv.weight",
        &["attn.q.weight", "attn.k.weight", "attn.v.weight"],
    ),
    rule("attn.proj.weight", &["attn.proj.weight"]),
    rule("attn.proj.bias", &["attn.proj.bias"]),
    rule("ffn.fc1.weight", &["ffn.fc1.weight"]),
    rule("ffn.fc1.bias", &["ffn.fc1.bias"]),
    rule("ffn.fc2.weight", &["ffn.fc2.weight"]),
    rule("ffn.fc2.bias", &["ffn.fc2.bias"]),
];

/// Blocks that compare cosines.
const COSINE: [Rule; 1] = [rule("attn.scale_mul_1H11", &["attn.log_scale"])];

/// Blocks with a modulation of their own.
const OWN: [Rule; 2] = [
    rule("ada_lin.1.weight", &["ada.weight"]),
    rule("ada_lin.1.bias", &["ada.bias"]),
];

/// Blocks that add to a shared modulation.
const OFFSET: [Rule; 1] = [rule("ada_gss", &["modulation"])];

/// Tensors that follow from the schedule and are in every file.
const LEVELS: &str = "lvl_1L";
const MASK: &str = "attn_bias_for_masking";

/// The rules outside the blocks, and those of a block.
fn rules(config: &VarConfig) -> (Vec<Rule>, Vec<Rule>) {
    let (mut top, mut block) = (TOP.to_vec(), BLOCK.to_vec());
    match config.modulation {
        Modulation::Own => block.extend(OWN),
        Modulation::Shared => {
            top.extend(SHARED);
            block.extend(OFFSET);
        }
    }
    if config.attention == AttentionKind::Cosine {
        block.extend(COSINE);
    }
    (top, block)
}

/// Names and shapes of a checkpoint in the released layout, with the two tensors that follow from the schedule.
///
/// # Panics
/// If `config` contradicts itself.
pub fn var_keys(config: &VarConfig) -> BTreeMap<String, Vec<usize>> {
    let ours = shapes(&config.init(&Device::flex()));
    let (top, block) = rules(config);
    let top = official_keys(&top, "", "", &ours, config.width);
    let blocks = official_block_keys(&block, config.depth, 1, &ours, config.width);
    let mut keys: BTreeMap<_, _> = top.into_iter().chain(blocks).collect();
    let l = config.schedule.tokens();
    keys.insert(LEVELS.to_owned(), vec![1, l]);
    keys.insert(MASK.to_owned(), vec![1, 1, l, l]);
    keys
}

/// The configuration of a checkpoint in the released layout, from the shapes of its tensors.
///
/// # Errors
/// If a tensor is missing or has another rank, or no released schedule has that number of tokens.
pub fn var_config(file: &WeightFile) -> Result<VarConfig, ShapeError> {
    let shape = |name: &str, rank: usize| file.shape_of(name, rank, "a VAR transformer");
    let tokens = shape("pos_1LC", 3)?[1];
    let schedule = VarConfig::released_schedule(tokens).ok_or_else(|| {
        let reason = format!("no released schedule has {tokens} tokens (680 or 2240)");
        ShapeError::Unreleased(reason)
    })?;
    with_schedule(file, schedule)
}

/// Names and shapes of the tensors of a checkpoint like `file`, whatever the scales are of which its tokens are.
///
/// # Errors
/// If a tensor is missing or has another rank, or there are fewer tokens than scales.
pub fn var_keys_like(file: &WeightFile) -> Result<BTreeMap<String, Vec<usize>>, ShapeError> {
    let shape = |name: &str, rank: usize| file.shape_of(name, rank, "a VAR transformer");
    let (tokens, scales) = (shape("pos_1LC", 3)?[1], shape("lvl_embed.weight", 2)?[0]);
    let first = shape("pos_start", 3)?[1];
    // Only the first scale and the number of all tokens show in the shapes.
    let rest = tokens.checked_sub(first + scales.saturating_sub(2));
    let mut all = vec![Scale::image(1, first)];
    all.extend((2..scales).map(|_| Scale::image(1, 1)));
    all.extend(
        rest.filter(|&n| n > 0 && scales > 1)
            .map(|n| Scale::image(1, n)),
    );
    let schedule = ScaleSchedule::new(all).map_err(|e| ShapeError::Unreleased(e.to_string()))?;
    Ok(var_keys(&with_schedule(file, schedule)?))
}

/// The configuration of a checkpoint whose scales are known.
fn with_schedule(file: &WeightFile, schedule: ScaleSchedule) -> Result<VarConfig, ShapeError> {
    let shape = |name: &str, rank: usize| file.shape_of(name, rank, "a VAR transformer");
    let depth = file.count("blocks.");
    let word = shape("word_embed.weight", 2)?;
    let width = word[0];
    let scale = file.shape("blocks.0.attn.scale_mul_1H11");
    let (heads, attention) = match scale.as_deref() {
        Some([_, heads, _, _]) => (*heads, AttentionKind::Cosine),
        _ => (width / 64, AttentionKind::Scaled),
    };
    let shared = file.shape("shared_ada_lin.1.weight").is_some();
    Ok(VarConfig {
        width,
        depth,
        heads,
        classes: shape("class_emb.weight", 2)?[0].saturating_sub(1),
        vocabulary: shape("head.weight", 2)?[0],
        channels: word[1],
        schedule,
        mlp_ratio: shape("blocks.0.ffn.fc1.weight", 2)?[0] as f64 / width.max(1) as f64,
        modulation: if shared {
            Modulation::Shared
        } else {
            Modulation::Own
        },
        attention,
    })
}

/// Loads a transformer in the released layout: `.safetensors`, PyTorch, or a folder of shards. Parameters keep the
/// number format of the file.
///
/// # Errors
/// If the file cannot be read, or its tensors are not exactly those of `config`.
///
/// # Panics
/// If `config` contradicts itself.
pub fn load_var(config: &VarConfig, path: &Path, device: &Device) -> Result<Var, WeightError> {
    read_var(
        config,
        WeightFile::open(path)?,
        BlockStorage::Loaded,
        device,
    )
}

/// As [`load_var`], from an open file, with the blocks stored as `storage` says.
///
/// # Errors
/// As [`load_var`].
///
/// # Panics
/// As [`load_var`].
pub fn read_var(
    config: &VarConfig,
    mut file: WeightFile,
    storage: BlockStorage,
    device: &Device,
) -> Result<Var, WeightError> {
    file.forget(|name| name == LEVELS || name == MASK);
    let (top, block) = rules(config);
    file.rename(&top, "", "");
    file.rename_blocks(config.depth, &block)?;
    let shape = config.clone();
    let fresh = move |device: &Device| Block::init(&shape, device);
    fill(config.init(device), file, storage, device, fresh)
}

/// Writes a transformer as one `.safetensors` file in the released layout.
///
/// # Errors
/// If the file cannot be written.
pub fn save_var(
    config: &VarConfig,
    model: &Var,
    path: &Path,
    dtype: WeightDtype,
) -> Result<(), WeightError> {
    let mut export = Export::new(model, path, Layout::PyTorch, dtype);
    let (top, block) = rules(config);
    export.add(&top, "", "", config.width)?;
    export.add_blocks(&block, config.depth, 1, config.width)?;
    let levels = mask::levels(&config.schedule);
    let l = levels.len();
    let rows: Vec<i64> = levels.iter().map(|&k| k as i64).collect();
    export.constant(LEVELS, TensorData::new(rows, [1, l]))?;
    let bias = |query: &usize, key: &usize| if key > query { f32::NEG_INFINITY } else { 0.0 };
    let rows = levels
        .iter()
        .flat_map(|query| levels.iter().map(move |key| bias(query, key)));
    let rows: Vec<f32> = rows.collect();
    export.constant(MASK, TensorData::new(rows, [1, 1, l, l]))?;
    export.write()
}
