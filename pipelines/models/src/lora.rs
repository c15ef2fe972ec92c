//! Low-rank adapters on a model: which, how strongly, and whether they fit.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use nextscale_files::checksum;
use nextscale_weights::{Lora, WeightError, WeightFile};

use crate::error::{ModelError, about};

/// An adapter that is added to a model, as `FILE` or `FILE:WEIGHT`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraChoice {
    /// A file or folder of an adapter.
    pub path: PathBuf,
    /// The factor on it; 1 adds it as it was trained, 0 not at all, and a negative one takes it away.
    pub weight: f64,
}

impl FromStr for LoraChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = Self {
            path: text.into(),
            weight: 1.0,
        };
        if whole.path.exists() {
            return Ok(whole);
        }
        let Some((path, weight)) = text.rsplit_once(':').filter(|(path, _)| !path.is_empty())
        else {
            return Ok(whole);
        };
        let number = weight
            .parse()
            .ok()
            .filter(|weight: &f64| weight.is_finite());
        Ok(Self {
            path: path.into(),
            weight: number.ok_or_else(|| {
                format!("`{weight}` is no weight: use a number, as in {path}:0.8")
            })?,
        })
    }
}

impl fmt::Display for LoraChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.weight)
    }
}

/// An adapter that was read.
#[derive(Debug, Clone)]
pub(crate) struct Adapter {
    lora: Arc<Lora>,
    weight: f64,
    sha256: String,
}

impl Adapter {
    /// Reads an adapter.
    pub(crate) fn open(choice: &LoraChoice) -> Result<Self, ModelError> {
        let path = &choice.path;
        let lora = Lora::open(path).map_err(|e| unusable(path, e))?;
        let file = lora.path();
        let sha256 = std::fs::File::open(file).and_then(checksum::of_reader);
        Ok(Self {
            sha256: sha256.map_err(ModelError::io("read", file))?,
            weight: choice.weight,
            lora: Arc::new(lora),
        })
    }

    /// Refuses weights that it does not fit; `model` is what the user calls them.
    pub(crate) fn check(&self, model: &str, weights: &WeightFile) -> Result<(), ModelError> {
        self.lora
            .check(&weights.shapes())
            .map_err(|e| self.misfit(model, e))
    }

    /// Adds it to the weights of a model.
    pub(crate) fn add_to(
        &self,
        model: &str,
        weights: &mut WeightFile,
        keep_dtype: bool,
    ) -> Result<(), ModelError> {
        weights
            .add_lora(&self.lora, self.weight, keep_dtype)
            .map_err(|e| self.misfit(model, e))
    }

    fn misfit(&self, model: &str, error: WeightError) -> ModelError {
        let path = self.lora.path();
        let text = about(&path.display().to_string(), &error);
        let reason = text.split_once(" does not fit the model: ");
        let reason = reason.map_or(text.as_str(), |(_, reason)| reason);
        ModelError::Content {
            path: path.to_owned(),
            message: format!("does not fit the model `{model}`: {reason}"),
            hint: Some("name the model that the adapter was trained for: --model NAME".into()),
        }
    }

    /// What tells it from every other adapter, with its weight.
    pub(crate) fn identity(&self) -> String {
        format!("lora {} {}", self.sha256, self.weight)
    }
}

fn unusable(path: &Path, error: WeightError) -> ModelError {
    ModelError::Content {
        path: path.to_owned(),
        message: format!(
            "is no adapter that can be used: {}",
            about(&path.display().to_string(), error)
        ),
        hint: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_stands_after_the_last_colon() {
        let parse = |text: &str| text.parse::<LoraChoice>().unwrap();
        assert_eq!(parse("none.safetensors").weight, 1.0);
        let choice = parse("a:b.safetensors:-0.5");
        assert_eq!(
            (choice.path, choice.weight),
            ("a:b.safetensors".into(), -0.5)
        );
        let error = "x.safetensors:much".parse::<LoraChoice>().unwrap_err();
        assert!(error.contains("`much`"), "{error}");
        assert!("x:inf".parse::<LoraChoice>().is_err());
    }
}
