//! The low-rank adapters of a server: what requests call them, and which models they fit.

use std::path::PathBuf;

use nextscale_models::search::SearchPath;
use nextscale_models::{LoraChoice, Model, ModelError};
use nextscale_pipelines::lora::LoraFile;
use nextscale_pipelines::uploads::Uploads;
use serde::Serialize;
use utoipa::ToSchema;

use crate::refusal::Refusal;

/// An adapter that requests may name.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct AdapterInfo {
    /// What requests call it.
    pub name: String,
    /// The weight of a request that names none.
    pub weight: f64,
    /// The models that it fits.
    pub models: Vec<String>,
    #[serde(skip)]
    pub path: PathBuf,
}

impl AdapterInfo {
    /// Reads the adapters, and finds the models that each fits.
    ///
    /// # Errors
    /// An adapter that cannot be read, that fits no model, or that has the name of another one.
    pub fn open_all(
        loras: &[LoraChoice],
        models: &[String],
        search_path: &SearchPath,
    ) -> Result<Vec<Self>, ModelError> {
        let mut all: Vec<Self> = vec![];
        for lora in loras {
            let adapter = Self::open(lora, models, search_path)?;
            if all.iter().any(|other| other.name == adapter.name) {
                let message = format!("two adapters are called `{}`", adapter.name);
                return Err(ModelError::refused_with(message, "rename one of the files"));
            }
            all.push(adapter);
        }
        Ok(all)
    }

    fn open(
        lora: &LoraChoice,
        models: &[String],
        search_path: &SearchPath,
    ) -> Result<Self, ModelError> {
        let path = std::path::absolute(&lora.path).unwrap_or_else(|_| lora.path.clone());
        let stem = if path.is_dir() {
            path.file_name()
        } else {
            path.file_stem()
        };
        let name = stem.unwrap_or_default().to_string_lossy().into_owned();
        let (mut fitting, mut misfit) = (vec![], None);
        for model in models {
            let adapted = Model::open_in(model, search_path)
                .and_then(|model| model.with_loras(std::slice::from_ref(lora)));
            match adapted {
                Ok(_) => fitting.push(model.clone()),
                Err(error) => misfit = misfit.or(Some(error)),
            }
        }
        match misfit {
            Some(error) if fitting.is_empty() => Err(error),
            _ => Ok(Self {
                name,
                weight: lora.weight,
                models: fitting,
                path,
            }),
        }
    }
}

/// The adapters of a request, `NAME` or `NAME:WEIGHT` each, as a pipeline has them.
///
/// # Errors
/// No such adapter, one of another model, or a weight that is no number.
pub(crate) fn chosen(
    known: &[AdapterInfo],
    wanted: &[String],
    model: &str,
) -> Result<Vec<LoraFile>, Refusal> {
    let one = |text: &String| {
        let (name, weight) = match text.rsplit_once(':') {
            Some((name, weight)) => (name, Some(weight)),
            None => (text.as_str(), None),
        };
        let Some(adapter) = known.iter().find(|adapter| adapter.name == name) else {
            let names: Vec<&str> = known.iter().map(|adapter| adapter.name.as_str()).collect();
            let known = match names[..] {
                [] => "this server has none".to_owned(),
                _ => format!("adapters here: {}", names.join(", ")),
            };
            return Err(Refusal::bad(format!(
                "there is no adapter `{name}`; {known}"
            )));
        };
        if !adapter.models.iter().any(|own| own == model) {
            let own = adapter.models.join(", ");
            return Err(Refusal::bad(format!(
                "the adapter `{name}` was trained for another model than `{model}`: it fits {own}"
            )));
        }
        let weight = weight.map_or(Some(adapter.weight), |weight| {
            weight
                .parse()
                .ok()
                .filter(|weight: &f64| weight.is_finite())
        });
        let weight = weight.ok_or_else(|| {
            Refusal::bad(format!(
                "`{text}` has no weight: use a number, as in {name}:0.8"
            ))
        })?;
        Ok(LoraFile {
            file: Uploads::adapter_name(name).into(),
            weight,
        })
    };
    wanted.iter().map(one).collect()
}

/// The adapters that a pipeline names, as a request does; none if it has none.
pub(crate) fn named(loras: Vec<LoraFile>) -> Option<Vec<String>> {
    let names = loras.iter().filter_map(|lora| {
        let file = lora.file.to_str()?;
        let name = file.strip_prefix(&Uploads::adapter_name(""))?;
        Some(format!("{name}:{}", lora.weight))
    });
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then_some(names)
}

/// A prompt without the adapters that clients of the web UI write into it, `<lora:NAME:WEIGHT>`, and these.
pub(crate) fn in_prompt(prompt: &str) -> (String, Vec<String>) {
    let (mut text, mut adapters) = (String::new(), vec![]);
    let mut rest = prompt;
    while let Some((before, after)) = rest.split_once("<lora:") {
        let Some((inside, after)) = after.split_once('>') else {
            break;
        };
        text += before.trim_end();
        // A third part is the weight on the text encoder, which adapters here do not have.
        let parts: Vec<&str> = inside.split(':').take(2).collect();
        adapters.push(parts.join(":"));
        rest = after;
    }
    text += rest;
    (text.trim().to_owned(), adapters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ink() -> Vec<AdapterInfo> {
        vec![AdapterInfo {
            name: "ink".into(),
            weight: 0.7,
            models: vec!["default".into()],
            path: "/a/ink.safetensors".into(),
        }]
    }

    #[test]
    fn requests_name_adapters_with_or_without_a_weight() {
        let choose = |text: &str, model: &str| chosen(&ink(), &[text.to_owned()], model);
        let plain = choose("ink", "default").unwrap();
        assert_eq!(named(plain), Some(vec!["ink:0.7".to_owned()]));
        let weighted = choose("ink:-1", "default").unwrap();
        assert_eq!(weighted[0].weight, -1.0);
        for (text, model, words) in [
            ("oil", "default", "adapters here: ink"),
            ("ink", "sprites", "it fits default"),
            ("ink:much", "default", "has no weight"),
        ] {
            let refusal = choose(text, model).unwrap_err();
            assert!(refusal.message().contains(words), "{}", refusal.message());
        }
    }

    #[test]
    fn adapters_stand_in_the_prompts_of_the_web_ui() {
        let (text, adapters) = in_prompt("a cat <lora:ink:0.8:1> on a mat<lora:oil>");
        assert_eq!(
            (text.as_str(), adapters),
            (
                "a cat on a mat",
                vec!["ink:0.8".to_owned(), "oil".to_owned()]
            )
        );
        assert_eq!(in_prompt("a < b <lora:x").0, "a < b <lora:x");
    }
}
