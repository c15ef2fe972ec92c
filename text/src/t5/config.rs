//! Sizes of a T5 encoder, and Hugging Face's `config.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::error::TextError;

/// Sizes of a T5 encoder, with the field names of Hugging Face's `config.json`.
///
/// Only the gated, tanh-GELU feed-forward of T5 v1.1 and flan-T5 is supported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct T5Config {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Feature width, c.
    pub d_model: usize,
    /// Width of one head, d. Independent of `d_model / num_heads`.
    pub d_kv: usize,
    /// Hidden width of the feed-forward, f.
    pub d_ff: usize,
    /// Encoder blocks.
    pub num_layers: usize,
    /// Attention heads, n.
    pub num_heads: usize,
    /// Rows of the relative bias table, for both directions together.
    #[serde(default = "default_buckets")]
    pub relative_attention_num_buckets: usize,
    /// Distance from which on all tokens share the last bucket.
    #[serde(default = "default_distance")]
    pub relative_attention_max_distance: usize,
    /// Epsilon of the RMS norms.
    #[serde(default = "default_epsilon")]
    pub layer_norm_epsilon: f64,
}

fn default_buckets() -> usize {
    32
}

fn default_distance() -> usize {
    128
}

fn default_epsilon() -> f64 {
    1e-6
}

/// The only supported feed-forward, as `config.json` names it.
const GATED_GELU: &str = "gated-gelu";

/// Sizes that are no encoder's.
#[derive(Debug, Error)]
pub(super) enum SizeError {
    #[error("{0} is zero")]
    Zero(&'static str),
    #[error(
        "{buckets} buckets do not fit max distance {distance} (a multiple of 4, less than 4 times the distance)"
    )]
    Buckets { buckets: usize, distance: usize },
    #[error("layer_norm_epsilon {0} is not positive")]
    Epsilon(f64),
}

impl T5Config {
    /// An encoder with the usual buckets and epsilon, `d_kv = d_model / num_heads`.
    ///
    /// # Panics
    /// If `num_heads` does not divide `d_model`.
    pub fn new(
        vocab_size: usize,
        d_model: usize,
        num_layers: usize,
        num_heads: usize,
        d_ff: usize,
    ) -> Self {
        assert!(
            num_heads > 0 && d_model.is_multiple_of(num_heads),
            "d_model {d_model} is not a multiple of num_heads {num_heads}"
        );
        Self {
            vocab_size,
            d_model,
            d_kv: d_model / num_heads,
            d_ff,
            num_layers,
            num_heads,
            relative_attention_num_buckets: default_buckets(),
            relative_attention_max_distance: default_distance(),
            layer_norm_epsilon: default_epsilon(),
        }
    }

    /// flan-T5 XL, the text encoder of the released Infinity models (`google/flan-t5-xl`, config.json).
    pub fn flan_t5_xl() -> Self {
        Self {
            d_kv: 64,
            ..Self::new(32128, 2048, 24, 32, 5120)
        }
    }

    /// Parameters of the encoder.
    pub fn parameters(&self) -> usize {
        let (d, inner) = (self.d_model, self.d_kv * self.num_heads);
        let block = 4 * d * inner + 3 * d * self.d_ff + 2 * d;
        let bias = self.relative_attention_num_buckets * self.num_heads;
        self.vocab_size * d + self.num_layers * block + bias + d
    }

    /// Parses the text of a Hugging Face `config.json`. Unknown fields are ignored.
    ///
    /// # Errors
    /// [`TextError::Config`] if the text is not such a file or has another feed-forward than the gated GELU. `path` is only
    /// used for the error.
    pub fn from_hf_json(text: &str, path: impl AsRef<Path>) -> Result<Self, TextError> {
        #[derive(Deserialize)]
        struct Architecture {
            #[serde(default = "relu")]
            feed_forward_proj: String,
        }
        fn relu() -> String {
            "relu".into()
        }
        let error = |message: String| TextError::Config {
            path: path.as_ref().to_owned(),
            message,
        };
        let kind: Architecture = serde_json::from_str(text).map_err(|e| error(e.to_string()))?;
        if kind.feed_forward_proj != GATED_GELU {
            return Err(error(format!(
                "feed_forward_proj is {:?}; only {GATED_GELU:?} (T5 v1.1, flan-T5) is supported",
                kind.feed_forward_proj
            )));
        }
        let config: Self = serde_json::from_str(text).map_err(|e| error(e.to_string()))?;
        config.check().map_err(|e| error(e.to_string()))?;
        Ok(config)
    }

    /// Reads a Hugging Face `config.json`.
    ///
    /// # Errors
    /// [`TextError::Io`], or as for [`T5Config::from_hf_json`].
    pub fn from_hf_file(path: impl AsRef<Path>) -> Result<Self, TextError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|e| TextError::io(path, e))?;
        Self::from_hf_json(&text, path)
    }

    /// The text of a `config.json` that [`T5Config::from_hf_json`] and Hugging Face both read.
    pub fn to_hf_json(&self) -> String {
        let mut value = serde_json::json!(self);
        let constants = serde_json::json!({
            "architectures": ["T5EncoderModel"],
            "model_type": "t5",
            "feed_forward_proj": GATED_GELU,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "is_encoder_decoder": false,
        });
        if let (Some(to), Some(from)) = (value.as_object_mut(), constants.as_object()) {
            to.extend(from.clone());
        }
        format!("{value:#}\n")
    }

    pub(super) fn check(&self) -> Result<(), SizeError> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_layers", self.num_layers),
            ("num_heads", self.num_heads),
        ];
        if let Some((name, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            return Err(SizeError::Zero(name));
        }
        let (buckets, distance) = (
            self.relative_attention_num_buckets,
            self.relative_attention_max_distance,
        );
        if !buckets.is_multiple_of(4) || buckets == 0 || distance <= buckets / 4 {
            return Err(SizeError::Buckets { buckets, distance });
        }
        if self.layer_norm_epsilon <= 0.0 {
            return Err(SizeError::Epsilon(self.layer_norm_epsilon));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_round_trips_and_refuses_relu() {
        let config = T5Config::flan_t5_xl();
        assert_eq!(
            T5Config::from_hf_json(&config.to_hf_json(), "x").unwrap(),
            config
        );
        let relu = config.to_hf_json().replace("gated-gelu", "relu");
        let error = T5Config::from_hf_json(&relu, "some/config.json").unwrap_err();
        assert!(error.to_string().contains("some/config.json"), "{error}");
        let zero = config.to_hf_json().replace("5120", "0");
        assert!(T5Config::from_hf_json(&zero, "x").is_err());
    }
}
