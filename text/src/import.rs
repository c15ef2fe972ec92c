//! Weights under Hugging Face's names: strict reading, and writing in the same layout.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{DType, Device};
use nextscale_weights::{
    Export, Layout, Rule, WeightDtype, WeightError, WeightFile, official_keys, rule, shapes,
};

use crate::t5::{T5Config, T5Encoder};

/// Names under which a folder may hold the weights, in the order in which they are tried.
pub const WEIGHT_FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// The embedding table.
const SHARED: &str = "shared.weight";
/// A second name under which some files repeat the embedding table, or hold it alone.
const SHARED_ALIAS: &str = "encoder.embed_tokens.weight";

/// Everything outside the blocks.
const TOP: [Rule; 3] = [
    rule(SHARED, &["shared.weight"]),
    rule(
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        &["relative_bias.weight"],
    ),
    rule("encoder.final_layer_norm.weight", &["norm.weight"]),
];

/// One block.
const BLOCK: [Rule; 9] = [
    rule("layer.0.layer_norm.weight", &["attention_norm.weight"]),
    rule("layer.0.SelfAttention.q.weight", &["query.weight"]),
    rule("layer.0.SelfAttention.k.weight", &["key.weight"]),
    rule("layer.0.SelfAttention.v.weight", &["value.weight"]),
    rule("layer.0.SelfAttention.o.weight", &["output.weight"]),
    rule("layer.1.layer_norm.weight", &["ffn_norm.weight"]),
    rule("layer.1.DenseReluDense.wi_0.weight", &["gate.weight"]),
    rule("layer.1.DenseReluDense.wi_1.weight", &["up.weight"]),
    rule("layer.1.DenseReluDense.wo.weight", &["down.weight"]),
];

/// Prefixes of block `i`: the official one and ours.
fn block_names(i: usize) -> (String, String) {
    (format!("encoder.block.{i}."), format!("blocks.{i}."))
}

/// The official name of one of our parameters; a name that is not ours stays.
fn official_name(ours: &str) -> String {
    let find = |rules: &[Rule], name: &str| {
        let name = name.replace("norm.gamma", "norm.weight");
        let rule = rules.iter().find(|rule| rule.ours == [name.as_str()]);
        rule.map(|rule| rule.official)
    };
    let inside = ours.strip_prefix("blocks.").and_then(|n| n.split_once('.'));
    let name = match inside {
        Some((i, name)) => find(&BLOCK, name).map(|name| format!("encoder.block.{i}.{name}")),
        None => find(&TOP, ours).map(str::to_owned),
    };
    name.unwrap_or_else(|| ours.to_owned())
}

/// Names and shapes of what a file of the encoder's weights holds.
pub fn keys(config: &T5Config) -> BTreeMap<String, Vec<usize>> {
    let ours = shapes(&config.init(&Device::flex()));
    let mut keys = official_keys(&TOP, "", "", &ours, config.d_model);
    for i in 0..config.num_layers {
        let (official, prefix) = block_names(i);
        keys.extend(official_keys(
            &BLOCK,
            &official,
            &prefix,
            &ours,
            config.d_model,
        ));
    }
    keys.into_iter().collect()
}

/// The encoder's half of a T5: without decoder and language-model head, and with the embedding table under one name.
pub fn encoder_part(mut file: WeightFile) -> WeightFile {
    file.forget(|name| name.starts_with("decoder.") || name.starts_with("lm_head."));
    if file.shape(SHARED).is_some() {
        file.forget(|name| name == SHARED_ALIAS);
        return file;
    }
    file.renamed(|name| if name == SHARED_ALIAS { SHARED } else { name }.to_owned())
}

/// Fills an encoder from a `.safetensors` or PyTorch file, an index of shards (`*.index.json`) or a folder, as f32.
///
/// Decoder and language-model head are ignored. The embedding table may be named `shared.weight`,
/// `encoder.embed_tokens.weight` or both. Everything else must match the encoder.
///
/// # Errors
/// If the file cannot be read, or a tensor is missing, unknown, of another shape or not finite. The encoder may then
/// hold a part of the new weights.
pub fn load(t5: &mut T5Encoder, path: impl AsRef<Path>) -> Result<(), WeightError> {
    read(t5, WeightFile::open(path.as_ref())?)
}

/// As [`load`], from an open file.
///
/// # Errors
/// As for [`load`].
pub fn read(t5: &mut T5Encoder, file: WeightFile) -> Result<(), WeightError> {
    let mut file = encoder_part(file).in_dtype(DType::F32);
    file.rename(&TOP, "", "");
    for i in 0..t5.depth() {
        let (official, ours) = block_names(i);
        file.rename(&BLOCK, &official, &ours);
    }
    file.apply_as(t5, Layout::PyTorch, official_name)
}

/// Writes the encoder as safetensors under Hugging Face's names, as [`load`] reads it. An existing file is replaced.
///
/// # Errors
/// If the file cannot be written.
pub fn save(t5: &T5Encoder, path: impl AsRef<Path>, dtype: WeightDtype) -> Result<(), WeightError> {
    let mut export = Export::new(t5, path.as_ref(), Layout::PyTorch, dtype);
    export.add_rest(official_name)?;
    export.write()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Bool, Int, Tensor};

    fn tiny() -> T5Encoder {
        T5Config::new(20, 16, 2, 4, 24).init(&Device::flex())
    }

    fn features(t5: &T5Encoder) -> Tensor<3> {
        let device = t5.weights_device();
        let ids = Tensor::<2, Int>::from_data([[3, 4, 5, 1]], &device);
        let valid = Tensor::<2, Bool>::from_data([[true, true, true, true]], &device);
        t5.forward(ids, valid)
    }

    fn gap(a: &T5Encoder, b: &T5Encoder) -> f32 {
        (features(a) - features(b)).abs().max().into_scalar()
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let (a, mut b) = (tiny(), tiny());
        assert!(gap(&a, &b) > 1e-3);
        save(&a, &path, WeightDtype::F32).unwrap();
        load(&mut b, &path).unwrap();
        assert_eq!(gap(&a, &b), 0.0);
        let mut half = tiny();
        save(&a, &path, WeightDtype::F16).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        read(&mut half, WeightFile::from_bytes(bytes).unwrap()).unwrap();
        let gap = gap(&a, &half);
        assert!(gap > 0.0 && gap < 2e-2, "{gap}");
    }

    #[test]
    fn shards_are_joined() {
        let dir = tempfile::tempdir().unwrap();
        save(
            &tiny(),
            dir.path().join("part.safetensors"),
            WeightDtype::F32,
        )
        .unwrap();
        let index = dir.path().join("model.safetensors.index.json");
        std::fs::write(
            &index,
            r#"{"weight_map": {"shared.weight": "part.safetensors"}}"#,
        )
        .unwrap();
        load(&mut tiny(), &index).unwrap();
        std::fs::write(
            &index,
            r#"{"weight_map": {"shared.weight": "../a.safetensors"}}"#,
        )
        .unwrap();
        assert!(matches!(
            load(&mut tiny(), &index),
            Err(WeightError::Read { .. })
        ));
    }

    #[test]
    fn files_that_do_not_fit_are_refused_with_their_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let error = load(&mut tiny(), &path).unwrap_err();
        assert!(matches!(error, WeightError::Read { .. }));
        assert!(error.to_string().contains("w.safetensors"), "{error}");

        save(&tiny(), &path, WeightDtype::F32).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 10);
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(
            load(&mut tiny(), &path),
            Err(WeightError::Read { .. })
        ));

        let deeper = T5Config::new(20, 16, 3, 4, 24).init(&Device::flex());
        save(&deeper, &path, WeightDtype::F32).unwrap();
        let Err(WeightError::Keys {
            missing, unused, ..
        }) = load(&mut tiny(), &path)
        else {
            panic!("a third block should be refused");
        };
        assert!(missing.is_empty() && unused.len() == 9, "{unused:?}");
        assert!(unused[0].starts_with("encoder.block.2."));

        save(&tiny(), &path, WeightDtype::F32).unwrap();
        let mut deeper = deeper;
        let Err(WeightError::Keys {
            missing, unused, ..
        }) = load(&mut deeper, &path)
        else {
            panic!("a missing third block should be refused");
        };
        assert!(unused.is_empty() && missing.len() == 9, "{missing:?}");

        let mut wider = T5Config::new(20, 16, 2, 4, 28).init(&Device::flex());
        let error = load(&mut wider, &path).unwrap_err();
        assert!(error.to_string().contains("wi_0"), "{error}");
    }
}
