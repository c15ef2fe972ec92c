//! Opening a model by what the user called it.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::classes::ClassBundle;
use super::hub::Places;
use super::{Bundle, DEFAULT, MANIFEST, ModelKind, SPRITES, StarBundle, damaged, released};
use crate::error::{ModelError, nearest};

/// A model of whichever kind, opened. Cloning is cheap.
#[derive(Debug, Clone)]
pub enum Model {
    /// From prompts.
    Text(Arc<Bundle>),
    /// From classes.
    Class(Arc<ClassBundle>),
    /// Videos from prompts.
    Video(Arc<StarBundle>),
}

impl Model {
    /// Opens a model: `default` or `sprites`, which are inside the program, a released one by name (`infinity-2b`,
    /// `var-d16`, `infinitystar-8b-720p`), a model folder, or a checkpoint.
    ///
    /// # Errors
    /// No such model, a missing or cut-off file, or parts that do not fit together.
    pub fn open(name: &str) -> Result<Self, ModelError> {
        Self::open_in(name, &Places::default())
    }

    /// As [`Model::open`], with folders in which the files of released models are looked for before all others.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_in(name: &str, places: &Places) -> Result<Self, ModelError> {
        let path = Path::new(name);
        if path.join(MANIFEST).is_file() {
            return Self::folder(name);
        }
        if name == DEFAULT {
            return Bundle::embedded().map(|b| Self::Text(Arc::new(b)));
        }
        if name == SPRITES {
            return StarBundle::embedded().map(|b| Self::Video(Arc::new(b)));
        }
        if path.exists() {
            let found = released::by_path(path, places);
            return found
                .unwrap_or_else(|| Err(damaged(name, format!("lacks the file {MANIFEST}"))));
        }
        released::by_name(name, places).unwrap_or_else(|| Err(unknown(name)))
    }

    fn folder(name: &str) -> Result<Self, ModelError> {
        #[derive(Deserialize)]
        struct Any {
            kind: ModelKind,
        }
        let path = Path::new(name).join(MANIFEST);
        let bytes = std::fs::read(&path).map_err(ModelError::io("read", &path))?;
        let any: Any = serde_json::from_slice(&bytes)
            .map_err(|e| damaged(name, format!("has an unreadable {MANIFEST}: {e}")))?;
        match any.kind {
            ModelKind::Infinity => Bundle::folder(name, &bytes).map(|b| Self::Text(Arc::new(b))),
            ModelKind::Var => ClassBundle::open(name, &bytes).map(|b| Self::Class(Arc::new(b))),
            ModelKind::Star => StarBundle::folder(name, &bytes).map(|b| Self::Video(Arc::new(b))),
        }
    }

    /// The name that it was opened by.
    pub fn name(&self) -> &str {
        match self {
            Self::Text(bundle) => bundle.name(),
            Self::Class(bundle) => bundle.name(),
            Self::Video(bundle) => bundle.name(),
        }
    }
}

fn unknown(name: &str) -> ModelError {
    let known = released::names().chain([DEFAULT, SPRITES]);
    let hint = match nearest(name, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "name a model folder, `default` for the model inside the program, or a released one: `nextscale models` lists them"
            .to_owned(),
    };
    ModelError::Model {
        model: name.to_owned(),
        message: "does not exist".into(),
        hint: Some(hint),
    }
}
