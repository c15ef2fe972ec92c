//! Checkpoints of the transformer, in the layout of the released models.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{DType, Device, TensorData};

use nextscale_var_core::blocks::{BlockStorage, fill};
use nextscale_weights::{
    Export, Layout, Rule, ShapeError, WeightDtype, WeightError, WeightFile, block_name,
    official_block_keys, official_keys, rule, shapes,
};

use crate::infinity::{Block, Infinity, InfinityConfig, unconditional_values};

/// Everything outside the blocks.
const TOP: [Rule; 22] = [
    rule("cfg_uncond", &["cfg_uncond"]),
    rule("pos_start", &["pos_start"]),
    rule("text_norm.weight", &["text_norm"]),
    rule("text_proj_for_sos.ca.mat_q", &["text_pool.query"]),
    rule("text_proj_for_sos.ca.v_bias", &["text_pool.v.bias"]),
    rule("text_proj_for_sos.ca.zero_k_bias", &[]),
    rule(
        "text_proj_for_sos.ca.mat_kv.weight",
        &["text_pool.k.weight", "text_pool.v.weight"],
    ),
    rule(
        "text_proj_for_sos.ca.proj.weight",
        &["text_pool.proj.weight"],
    ),
    rule("text_proj_for_sos.ca.proj.bias", &["text_pool.proj.bias"]),
    rule("text_proj_for_ca.0.weight", &["text_proj.fc1.weight"]),
    rule("text_proj_for_ca.0.bias", &["text_proj.fc1.bias"]),
    rule("text_proj_for_ca.2.weight", &["text_proj.fc2.weight"]),
    rule("text_proj_for_ca.2.bias", &["text_proj.fc2.bias"]),
    rule("lvl_embed.weight", &["lvl_embed"]),
    rule("word_embed.weight", &["word_embed.weight"]),
    rule("word_embed.bias", &["word_embed.bias"]),
    rule("shared_ada_lin.1.weight", &["shared_ada.weight"]),
    rule("shared_ada_lin.1.bias", &["shared_ada.bias"]),
    rule("head_nm.ada_lin.1.weight", &["head_ada.weight"]),
    rule("head_nm.ada_lin.1.bias", &["head_ada.bias"]),
    rule("head.weight", &["head.weight"]),
    rule("head.bias", &["head.bias"]),
];

/// One block.
const BLOCK: [Rule; 21] = [
    rule("ada_gss", &["modulation"]),
    rule("sa.scale_mul_1H11", &["sa.log_scale"]),
    rule("sa.q_bias", &["sa.q.bias"]),
    rule("sa.v_bias", &["sa.v.bias"]),
    rule("sa.zero_k_bias", &[]),
    rule(
        "sa.mat_qkv.weight",
        &["sa.q.weight", "sa.k.weight", "sa.v.weight"],
    ),
    rule("sa.proj.weight", &["sa.proj.weight"]),
    rule("sa.proj.bias", &["sa.proj.bias"]),
    rule("ca.mat_q.weight", &["ca.q.weight"]),
    rule("ca.mat_q.bias", &["ca.q.bias"]),
    rule("ca.mat_kv.weight", &["ca.k.weight", "ca.v.weight"]),
    rule("ca.v_bias", &["ca.v.bias"]),
    rule("ca.zero_k_bias", &[]),
    rule("ca.proj.weight", &["ca.proj.weight"]),
    rule("ca.proj.bias", &["ca.proj.bias"]),
    rule("ca_norm.weight", &["ca_norm.weight"]),
    rule("ca_norm.bias", &["ca_norm.bias"]),
    rule("ffn.fc1.weight", &["ffn.fc1.weight"]),
    rule("ffn.fc1.bias", &["ffn.fc1.bias"]),
    rule("ffn.fc2.weight", &["ffn.fc2.weight"]),
    rule("ffn.fc2.bias", &["ffn.fc2.bias"]),
];

/// Buffers of older checkpoints that hold nothing learned.
const STALE: [&str; 4] = [
    "lvl_1L",
    "attn_bias_for_masking",
    "Infinity_visible_kvlen",
    "Infinity_invisible_qlen",
];

/// Reads a transformer in the released layout: `.safetensors`, PyTorch, or a folder of shards. Parameters keep the number
/// format of the file.
///
/// Block names may use any number of chunks. An unconditional prompt of another length is truncated, or extended with the
/// values of a freshly initialised model.
///
/// # Errors
/// If the file cannot be read, or its tensors are not exactly those of `config`.
///
/// # Panics
/// If `config` contradicts itself.
pub fn load_infinity(
    config: &InfinityConfig,
    path: &Path,
    device: &Device,
) -> Result<Infinity, WeightError> {
    read_infinity(
        config,
        WeightFile::open(path)?,
        BlockStorage::Loaded,
        device,
    )
}

/// [`load_infinity`] from an open file, with the blocks stored as `blocks` says.
///
/// # Errors
/// See [`load_infinity`].
///
/// # Panics
/// See [`load_infinity`].
pub fn read_infinity(
    config: &InfinityConfig,
    mut file: WeightFile,
    blocks: BlockStorage,
    device: &Device,
) -> Result<Infinity, WeightError> {
    file.forget(is_stale);
    fit_unconditional(&mut file, config)?;
    file.rename(&TOP, "", "");
    file.rename_blocks(config.depth, &BLOCK)?;
    let shape = config.clone();
    let fresh = move |device: &Device| Block::init(&shape, device);
    fill(config.init(device), file, blocks, device, fresh)
}

/// Names and shapes of the tensors of a checkpoint in the released layout.
///
/// # Panics
/// If `config` contradicts itself.
pub fn infinity_keys(config: &InfinityConfig) -> BTreeMap<String, Vec<usize>> {
    let ours = shapes(&config.init(&Device::flex()));
    let width = config.width;
    let top = official_keys(&TOP, "", "", &ours, width);
    let blocks = official_block_keys(&BLOCK, config.depth, config.block_chunks, &ours, width);
    top.into_iter().chain(blocks).collect()
}

/// Whether a tensor is a buffer of older checkpoints that holds nothing learned.
pub fn is_stale(name: &str) -> bool {
    STALE.contains(&name)
}

/// The configuration of a checkpoint in the released layout, from the shapes of its tensors.
///
/// # Errors
/// If a tensor is missing or has another rank.
pub fn infinity_config(file: &WeightFile) -> Result<InfinityConfig, ShapeError> {
    let shape = |name: &str, rank: usize| file.shape_of(name, rank, "an Infinity transformer");
    let block_chunks = file.chunks();
    let depth = file
        .names()
        .filter(|name| name.ends_with(".ada_gss"))
        .count();
    let first = block_name(0, depth, block_chunks);
    let word = shape("word_embed.weight", 2)?;
    let uncond = shape("cfg_uncond", 2)?;
    let hidden = shape(&format!("{first}ffn.fc1.weight"), 2)?[0];
    Ok(InfinityConfig {
        width: word[0],
        depth,
        heads: shape(&format!("{first}sa.scale_mul_1H11"), 4)?[1],
        code_dim: word[1],
        text_channels: uncond[1],
        text_max_len: uncond[0],
        mlp_ratio: hidden as f64 / word[0].max(1) as f64,
        block_chunks,
        levels: shape("lvl_embed.weight", 2)?[0],
    })
}

/// Truncates or extends the unconditional prompt to the model's number of rows.
fn fit_unconditional(file: &mut WeightFile, config: &InfinityConfig) -> Result<(), WeightError> {
    let (rows, channels) = (config.text_max_len, config.text_channels);
    match file.shape("cfg_uncond").as_deref() {
        Some(&[found, width]) if found != rows && width == channels => {
            let data = file.read("cfg_uncond")?;
            let dtype = data.dtype();
            let mut values: Vec<f32> = data.convert_dtype(DType::F32).iter::<f32>().collect();
            if found < rows {
                let fresh = unconditional_values(rows, channels);
                values.extend(&fresh[found * channels..]);
            }
            values.truncate(rows * channels);
            let data = TensorData::new(values, [rows, channels]).convert_dtype(dtype);
            file.replace("cfg_uncond", data);
        }
        _ => {}
    }
    Ok(())
}

/// Writes a transformer as one `.safetensors` file in the released layout.
///
/// # Errors
/// If the file cannot be written.
pub fn save_infinity(
    config: &InfinityConfig,
    model: &Infinity,
    path: &Path,
    dtype: WeightDtype,
) -> Result<(), WeightError> {
    let mut export = Export::new(model, path, Layout::PyTorch, dtype);
    export.add(&TOP, "", "", config.width)?;
    export.add_blocks(&BLOCK, config.depth, config.block_chunks, config.width)?;
    export.write()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> InfinityConfig {
        InfinityConfig {
            width: 16,
            depth: 2,
            heads: 2,
            code_dim: 4,
            text_channels: 128,
            text_max_len: 3,
            mlp_ratio: 16.0,
            block_chunks: 2,
            levels: 4,
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let device = Device::flex();
        let folder =
            std::env::temp_dir().join(format!("nextscale-infinity-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("model.safetensors");
        let config = tiny();
        let model = config.init(&device);
        save_infinity(&config, &model, &path, WeightDtype::F32).unwrap();

        let read = load_infinity(&config, &path, &device).unwrap();
        let ours = model.blocks[1].sa.k.weight.val().into_data();
        ours.assert_eq(&read.blocks[1].sa.k.weight.val().into_data(), true);
        let prompt = model.cfg_uncond.val().into_data();
        prompt.assert_eq(&read.cfg_uncond.val().into_data(), true);

        let longer = InfinityConfig {
            text_max_len: 5,
            ..tiny()
        };
        let read = load_infinity(&longer, &path, &device).unwrap();
        assert_eq!(read.cfg_uncond.dims(), [5, 128]);
        let wider = InfinityConfig { depth: 4, ..tiny() };
        let error = load_infinity(&wider, &path, &device).unwrap_err();
        assert!(matches!(error, WeightError::Keys { .. }), "{error}");
        let other = InfinityConfig {
            code_dim: 5,
            ..tiny()
        };
        let error = load_infinity(&other, &path, &device).unwrap_err();
        assert!(matches!(error, WeightError::Mismatch { .. }), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
