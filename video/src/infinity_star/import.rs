//! Checkpoints of the transformer, in the layout of the released models.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use nextscale_var_core::blocks::{BlockStorage, fill};
use nextscale_weights::{
    Export, Layout, Rule, ShapeError, WeightDtype, WeightError, WeightFile, official_block_keys,
    official_keys, rule, shapes,
};

use super::{block::Block, config::InfinityStarConfig, model::InfinityStar};
use crate::codes::CodeBits;

/// Everything outside the blocks.
const TOP: [Rule; 10] = [
    rule("cfg_uncond", &["cfg_uncond"]),
    rule("text_proj.weight", &["text_proj.weight"]),
    rule("text_proj.bias", &["text_proj.bias"]),
    rule("word_embed.weight", &["word_embed.weight"]),
    rule("word_embed.bias", &["word_embed.bias"]),
    rule("norm_hidden_sates.weight", &["norm.weight"]),
    rule("head.weight", &["detail_head.weight"]),
    rule("head.bias", &["detail_head.bias"]),
    rule("semantic_head2.weight", &["semantic_head.weight"]),
    rule("semantic_head2.bias", &["semantic_head.bias"]),
];

/// One block.
const BLOCK: [Rule; 11] = [
    rule("input_layernorm.weight", &["input_norm.weight"]),
    rule("attn.q_proj.weight", &["attention.q.weight"]),
    rule("attn.k_proj.weight", &["attention.k.weight"]),
    rule("attn.v_proj.weight", &["attention.v.weight"]),
    rule("attn.o_proj.weight", &["attention.o.weight"]),
    rule("attn.q_norm.weight", &["attention.q_norm.weight"]),
    rule("attn.k_norm.weight", &["attention.k_norm.weight"]),
    rule("post_attention_layernorm.weight", &["post_norm.weight"]),
    rule("mlp.gate_proj.weight", &["mlp.gate.weight"]),
    rule("mlp.up_proj.weight", &["mlp.up.weight"]),
    rule("mlp.down_proj.weight", &["mlp.down.weight"]),
];

/// The further tensors of a block whose attention has biases.
const BIASES: [Rule; 4] = [
    rule("attn.q_proj.bias", &["attention.q.bias"]),
    rule("attn.k_proj.bias", &["attention.k.bias"]),
    rule("attn.v_proj.bias", &["attention.v.bias"]),
    rule("attn.o_proj.bias", &["attention.o.bias"]),
];

fn block_rules(config: &InfinityStarConfig) -> Vec<Rule> {
    let biases = config.attention_bias.then_some(BIASES);
    BLOCK
        .into_iter()
        .chain(biases.into_iter().flatten())
        .collect()
}

/// The configuration of a checkpoint in the released layout, from the names and shapes of its tensors.
///
/// # Errors
/// If a tensor is missing or has another rank.
pub fn infinity_star_config(file: &WeightFile) -> Result<InfinityStarConfig, ShapeError> {
    let shape = |name: &str, rank: usize| file.shape_of(name, rank, "an InfinityStar transformer");
    let (first, depth) = match file.count("block_chunks.") {
        0 => ("blocks.0.", file.count("blocks.")),
        chunks => (
            "block_chunks.0.module.0.",
            chunks * file.count("block_chunks.0.module."),
        ),
    };
    let block_shape = |name: &str, rank: usize| shape(&format!("{first}{name}"), rank);
    let word = shape("word_embed.weight", 2)?;
    let prompt = shape("cfg_uncond", 2)?;
    let head_dim = block_shape("attn.q_norm.weight", 1)?[0].max(1);
    Ok(InfinityStarConfig {
        width: word[0],
        depth,
        heads: block_shape("attn.q_proj.weight", 2)?[0] / head_dim,
        kv_heads: block_shape("attn.k_proj.weight", 2)?[0] / head_dim,
        mlp_hidden: block_shape("mlp.gate_proj.weight", 2)?[0],
        bits: CodeBits {
            semantic: shape("semantic_head2.weight", 2)?[0] / 2,
            detail: word[1],
        },
        text_channels: prompt[1],
        text_max_len: prompt[0],
        attention_bias: file.shape(&format!("{first}attn.q_proj.bias")).is_some(),
        block_chunks: file.chunks(),
    })
}

/// Names and shapes of the tensors of a checkpoint in the released layout, without the unused start token.
///
/// # Panics
/// If `config` contradicts itself.
pub fn infinity_star_keys(config: &InfinityStarConfig) -> BTreeMap<String, Vec<usize>> {
    let ours = shapes(&config.init(&Device::flex()));
    let (rules, width) = (block_rules(config), config.width);
    let top = official_keys(&TOP, "", "", &ours, width);
    let blocks = official_block_keys(&rules, config.depth, config.block_chunks, &ours, width);
    top.into_iter().chain(blocks).collect()
}

/// Whether a tensor is a parameter of the released files that is not used.
pub fn is_unread(name: &str) -> bool {
    name == "sos_token"
}

/// Reads a transformer in the released layout: `.safetensors`, PyTorch, or a folder of shards. Parameters keep the
/// number format of the file. Block names may use any number of chunks.
///
/// # Errors
/// If the file cannot be read, or its tensors are not exactly those of `config`.
///
/// # Panics
/// If `config` contradicts itself.
pub fn load_infinity_star(
    config: &InfinityStarConfig,
    path: &Path,
    device: &Device,
) -> Result<InfinityStar, WeightError> {
    read_infinity_star(
        config,
        WeightFile::open(path)?,
        BlockStorage::Loaded,
        device,
    )
}

/// [`load_infinity_star`] from an open file, with the blocks stored as `blocks` says.
///
/// # Errors
/// See [`load_infinity_star`].
///
/// # Panics
/// See [`load_infinity_star`].
pub fn read_infinity_star(
    config: &InfinityStarConfig,
    mut file: WeightFile,
    blocks: BlockStorage,
    device: &Device,
) -> Result<InfinityStar, WeightError> {
    file.forget(is_unread);
    file.rename(&TOP, "", "");
    file.rename_blocks(config.depth, &block_rules(config))?;
    let shape = config.clone();
    let fresh = move |device: &Device| Block::init(&shape, device);
    fill(config.init(device), file, blocks, device, fresh)
}

/// Writes a transformer as one `.safetensors` file in the released layout, without the unused start token.
///
/// # Errors
/// If the file cannot be written.
pub fn save_infinity_star(
    config: &InfinityStarConfig,
    model: &InfinityStar,
    path: &Path,
    dtype: WeightDtype,
) -> Result<(), WeightError> {
    let mut export = Export::new(model, path, Layout::PyTorch, dtype);
    export.add(&TOP, "", "", config.width)?;
    export.add_blocks(
        &block_rules(config),
        config.depth,
        config.block_chunks,
        config.width,
    )?;
    export.write()
}

#[cfg(test)]
pub(crate) fn tiny() -> InfinityStarConfig {
    InfinityStarConfig {
        width: 32,
        depth: 2,
        heads: 2,
        kv_heads: 1,
        mlp_hidden: 48,
        bits: CodeBits {
            semantic: 2,
            detail: 8,
        },
        text_channels: 6,
        text_max_len: 9,
        attention_bias: true,
        block_chunks: 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nextscale_var_core::blocks::Transformer as _;

    #[test]
    fn blocks_compute_the_same_wherever_they_are() {
        use crate::infinity_star::{Limits, Segment, State, text_positions};
        use burn::tensor::{Distribution, Tensor};
        let device = Device::flex();
        let folder = std::env::temp_dir().join(format!("nextscale-stream-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("model.safetensors");
        let config = tiny();
        let model = config.init(&device);
        save_infinity_star(&config, &model, &path, WeightDtype::Bf16).unwrap();
        let open = || WeightFile::open(&path).unwrap();
        let held = |blocks| read_infinity_star(&config, open(), blocks, &device).unwrap();
        let [loaded, streamed, int8] = [
            BlockStorage::Loaded,
            BlockStorage::Streamed,
            BlockStorage::Int8,
        ]
        .map(held);
        assert!(streamed.blocks.is_empty() && streamed.depth() == 2);
        let x = Tensor::<3>::random([2, 5, 32], Distribution::Default, &device);
        let run = |model: &InfinityStar| {
            let rope = model.rope(&text_positions(5), &device);
            let mut state = State::new(model.depth());
            let keep = Some(Segment::Text);
            model.forward(x.clone(), &rope, &mut state, keep, Limits::default())
        };
        let plain = run(&loaded);
        plain
            .clone()
            .into_data()
            .assert_eq(&run(&streamed).into_data(), true);
        let size: f32 = plain.clone().abs().mean().into_scalar();
        let off: f32 = (run(&int8) - plain).abs().mean().into_scalar();
        assert!(off > 0.0 && off < 0.01 * size, "{off} of {size}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_was_written_is_read_back() {
        let device = Device::flex();
        let folder = std::env::temp_dir().join(format!("nextscale-star-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("model.safetensors");
        for config in [
            tiny(),
            InfinityStarConfig {
                attention_bias: false,
                block_chunks: 1,
                ..tiny()
            },
        ] {
            let model = config.init(&device);
            save_infinity_star(&config, &model, &path, WeightDtype::F32).unwrap();
            let file = WeightFile::open(&path).unwrap();
            assert_eq!(infinity_star_config(&file).unwrap(), config);
            let read = load_infinity_star(&config, &path, &device).unwrap();
            let ours = model.blocks[1].attention.k.weight.val().into_data();
            ours.assert_eq(&read.blocks[1].attention.k.weight.val().into_data(), true);
        }
        let streamed = |config: &InfinityStarConfig| {
            let file = WeightFile::open(&path).unwrap();
            let model = read_infinity_star(config, file, BlockStorage::Streamed, &device);
            model.map(|model| model.depth())
        };
        let deeper = InfinityStarConfig { depth: 4, ..tiny() };
        let error = streamed(&deeper).unwrap_err();
        assert!(matches!(error, WeightError::Keys { .. }), "{error}");
        let error = load_infinity_star(&deeper, &path, &device).unwrap_err();
        assert!(matches!(error, WeightError::Keys { .. }), "{error}");
        let wider = InfinityStarConfig {
            attention_bias: false,
            mlp_hidden: 64,
            block_chunks: 1,
            ..tiny()
        };
        let error = load_infinity_star(&wider, &path, &device).unwrap_err();
        assert!(matches!(error, WeightError::Mismatch { .. }), "{error}");
        let error = streamed(&wider).unwrap_err();
        assert!(matches!(error, WeightError::Mismatch { .. }), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
