//! Writing adapters for other programs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use burn::tensor::{DType, TensorData};
use safetensors::tensor::{Dtype, TensorView};

use crate::error::WeightError;

/// Whose names an adapter file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoraStyle {
    /// PEFT: `base_model.model.LAYER.lora_A.weight`; the strength is in `adapter_config.json`, and here in the header too.
    Peft,
    /// kohya's scripts: `lora_unet_LAYER.lora_down.weight`, with a tensor `alpha` for each layer.
    Kohya,
}

/// An adapter that is about to be written.
#[derive(Debug, Clone, Default)]
pub struct LoraExport {
    /// The strength; the product of a layer's matrices is added times `alpha / rank`.
    pub alpha: f64,
    /// Rank of every layer.
    pub rank: usize,
    /// What the model is called that it was trained for.
    pub base_model: String,
    /// By the official name of a layer, without `.weight`: `down`, `[r, in]`, and `up`, `[out, r]`.
    pub layers: BTreeMap<String, [TensorData; 2]>,
}

impl LoraExport {
    /// The bytes of a `.safetensors` file in f32.
    ///
    /// # Errors
    /// [`WeightError::Write`] with `path` if the matrices are none.
    pub fn to_bytes(&self, style: LoraStyle, path: &Path) -> Result<Vec<u8>, WeightError> {
        let mut tensors = BTreeMap::new();
        for (layer, [down, up]) in &self.layers {
            match style {
                LoraStyle::Peft => {
                    let name = format!("base_model.model.{layer}");
                    tensors.insert(format!("{name}.lora_A.weight"), down.clone());
                    tensors.insert(format!("{name}.lora_B.weight"), up.clone());
                }
                LoraStyle::Kohya => {
                    let name = format!("lora_unet_{}", layer.replace('.', "_"));
                    tensors.insert(format!("{name}.lora_down.weight"), down.clone());
                    tensors.insert(format!("{name}.lora_up.weight"), up.clone());
                    let alpha = TensorData::new(vec![self.alpha as f32], Vec::<usize>::new());
                    tensors.insert(format!("{name}.alpha"), alpha);
                }
            }
        }
        let fail = |e: &dyn std::fmt::Display| WeightError::write(path, e);
        let written = tensors
            .into_iter()
            .map(|(name, data)| (name, data.convert_dtype(DType::F32)));
        let written: Vec<(String, TensorData)> = written.collect();
        let views = written.iter().map(|(name, data)| {
            let view = TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes());
            Ok((name.as_str(), view.map_err(|e| fail(&e))?))
        });
        let views = views.collect::<Result<Vec<_>, WeightError>>()?;
        safetensors::serialize(views, Some(self.notes(style))).map_err(|e| fail(&e))
    }

    /// The description that PEFT reads beside the file: `adapter_config.json`.
    pub fn config(&self) -> String {
        // PEFT takes a text as a regular expression of whole names; a list would also match layers outside the blocks.
        let targets: BTreeSet<String> = self.layers.keys().map(|name| in_block(name)).collect();
        let layers: Vec<String> = targets
            .iter()
            .map(|name| name.replace('.', r"\."))
            .collect();
        let blocks = r"(?:.*\.)?(?:blocks|block_chunks\.\d+\.module)\.\d+";
        let targets = format!(r"{blocks}\.(?:{})", layers.join("|"));
        let config = serde_json::json!({
            "peft_type": "LORA",
            "task_type": null,
            "base_model_name_or_path": self.base_model,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "target_modules": targets,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "use_rslora": false,
            "use_dora": false,
        });
        serde_json::to_string_pretty(&config).unwrap_or_default() + "\n"
    }

    fn notes(&self, style: LoraStyle) -> HashMap<String, String> {
        let (rank, alpha) = (self.rank.to_string(), self.alpha.to_string());
        let mut notes = vec![("format", "pt".to_owned())];
        match style {
            LoraStyle::Peft => notes.extend([
                ("lora_rank", rank),
                ("lora_alpha", alpha),
                ("base_model", self.base_model.clone()),
            ]),
            LoraStyle::Kohya => notes.extend([
                ("ss_network_module", "networks.lora".to_owned()),
                ("ss_network_dim", rank),
                ("ss_network_alpha", alpha),
                ("ss_base_model_version", self.base_model.clone()),
            ]),
        }
        let notes = notes.into_iter();
        notes.map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// The name of a layer within its block.
fn in_block(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let skipped = match parts[..] {
        ["block_chunks", _, "module", _, ..] => 4,
        ["blocks", _, ..] => 2,
        _ => 0,
    };
    parts[skipped..].join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peft_is_told_the_layers_of_the_blocks_alone() {
        let data = || TensorData::new(vec![0f32], [1, 1]);
        let names = ["blocks.3.ada_lin.1", "block_chunks.1.module.0.ca.mat_kv"];
        let export = LoraExport {
            layers: names.map(|name| (name.to_owned(), [data(), data()])).into(),
            ..LoraExport::default()
        };
        let config: serde_json::Value = serde_json::from_str(&export.config()).unwrap();
        assert_eq!(
            config["target_modules"],
            r"(?:.*\.)?(?:blocks|block_chunks\.\d+\.module)\.\d+\.(?:ada_lin\.1|ca\.mat_kv)"
        );
    }
}
