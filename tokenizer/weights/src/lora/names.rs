//! The names of adapters: what a tensor is to which layer.

/// What a tensor of an adapter file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `[r, in]`.
    Down,
    /// `[out, r]`.
    Up,
    /// The strength that goes with the rank.
    Alpha,
}

/// Endings of names, without `.weight`, in PEFT, in kohya's scripts and in diffusers.
const ENDINGS: [(&str, Role); 11] = [
    (".lora_A", Role::Down),
    (".lora_A.default", Role::Down),
    (".lora_down", Role::Down),
    (".lora.down", Role::Down),
    ("_lora.down", Role::Down),
    (".lora_B", Role::Up),
    (".lora_B.default", Role::Up),
    (".lora_up", Role::Up),
    (".lora.up", Role::Up),
    ("_lora.up", Role::Up),
    (".alpha", Role::Alpha),
];

/// Adapters of other kinds: a part of their names, and what they are called.
const OTHERS: [(&str, &str); 9] = [
    ("lora_magnitude_vector", "DoRA"),
    ("dora_scale", "DoRA"),
    ("hada_", "LoHa"),
    ("lokr_", "LoKr"),
    ("lora_mid", "LoCon"),
    ("lora_embedding", "LoRA of embeddings"),
    ("oft_", "OFT"),
    ("ia3_l", "IA3"),
    ("vera_lambda", "VeRA"),
];

/// What other programs put in front of the names of layers.
const PREFIXES: [&str; 7] = [
    "base_model_model_",
    "base_model_",
    "lora_unet_",
    "lora_transformer_",
    "transformer_",
    "module_",
    "model_",
];

/// The role of a tensor and the flat name of its layer.
///
/// # Errors
/// What the tensor is instead, as a sentence.
pub(super) fn parse(name: &str) -> Result<(Role, String), String> {
    let stem = name.strip_suffix(".weight").unwrap_or(name);
    if let Some((_, kind)) = OTHERS.iter().find(|(part, _)| stem.contains(part)) {
        return Err(format!(
            "`{name}` belongs to an adapter of the kind {kind}, which is not supported; LoRA is"
        ));
    }
    let found = ENDINGS
        .iter()
        .find_map(|(ending, role)| Some((*role, stem.strip_suffix(ending)?)));
    let (role, layer) = found.ok_or_else(|| {
        format!("`{name}` is no part of a LoRA (lora_A and lora_B, or lora_down and lora_up)")
    })?;
    Ok((role, flat(layer)))
}

/// A name with underscores alone, without what other programs put in front of it.
pub(super) fn flat(layer: &str) -> String {
    let name = layer.replace('.', "_");
    let mut rest = name.as_str();
    while let Some(shorter) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = shorter;
    }
    rest.to_owned()
}

/// Flat names whose blocks are counted through, whatever chunks they are divided into.
pub(super) fn unchunked<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let places = names.clone().filter_map(place);
    let size = places.map(|(_, inside, _)| inside + 1).max().unwrap_or(1);
    names
        .map(|name| match place(name) {
            Some((chunk, inside, rest)) => format!("blocks_{}_{rest}", chunk * size + inside),
            None => name.to_owned(),
        })
        .collect()
}

/// Chunk, block in it, and the rest of the name of a layer in a chunk.
fn place(name: &str) -> Option<(usize, usize, &str)> {
    let (chunk, rest) = name.strip_prefix("block_chunks_")?.split_once("_module_")?;
    let (inside, rest) = rest.split_once('_')?;
    Some((chunk.parse().ok()?, inside.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conventions_of_other_programs_mean_the_same_layer() {
        let layer = "blocks_3_sa_mat_qkv".to_owned();
        for (name, role) in [
            (
                "base_model.model.blocks.3.sa.mat_qkv.lora_A.weight",
                Role::Down,
            ),
            (
                "base_model.model.blocks.3.sa.mat_qkv.lora_B.default.weight",
                Role::Up,
            ),
            ("lora_unet_blocks_3_sa_mat_qkv.lora_up.weight", Role::Up),
            ("lora_unet_blocks_3_sa_mat_qkv.alpha", Role::Alpha),
            ("transformer.blocks.3.sa.mat_qkv.lora_A.weight", Role::Down),
            (
                "transformer.blocks.3.sa.mat_qkv_lora.down.weight",
                Role::Down,
            ),
        ] {
            assert_eq!(parse(name), Ok((role, layer.clone())), "{name}");
        }
    }

    #[test]
    fn other_adapters_are_refused_by_their_kind() {
        for (name, kind) in [
            ("base_model.model.x.lora_magnitude_vector", "DoRA"),
            ("lora_unet_x.hada_w1_a", "LoHa"),
            ("blocks.0.weight", "no part of a LoRA"),
        ] {
            assert!(parse(name).unwrap_err().contains(kind), "{name}");
        }
    }

    #[test]
    fn blocks_in_chunks_are_counted_through() {
        let names = [
            "block_chunks_1_module_1_ffn_fc1",
            "block_chunks_0_module_3_ffn_fc1",
            "head",
        ];
        assert_eq!(
            unchunked(names.into_iter()),
            ["blocks_5_ffn_fc1", "blocks_3_ffn_fc1", "head"]
        );
    }
}
