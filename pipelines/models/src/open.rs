//! Opening a model by what the user called it.

use nextscale_files::path_text;

use crate::error::{ModelError, nearest};
use crate::files::{Files, MANIFEST};
use crate::model::{Model, read_manifest};
use crate::released;
use crate::search::SearchPath;

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Name of the model of images inside the program.
pub const DEFAULT: &str = "default";
/// Name of the model of videos inside the program.
pub const SPRITES: &str = "sprites";
/// Name of the model inside the program that edits images by instruction.
pub const EDITS: &str = "edits";

impl Model {
    /// Opens a model: `default`, `sprites` or `edits`, which are inside the program, a released one by name (`infinity-2b`,
    /// `var-d16`, `infinitystar-8b-720p`), a model folder, or a checkpoint.
    ///
    /// # Errors
    /// No such model, a missing or truncated file, or parts that do not fit together.
    pub fn open(name: &str) -> Result<Self, ModelError> {
        Self::open_in(name, &SearchPath::default())
    }

    /// Whether a name is that of a model inside the program.
    pub fn is_embedded(name: &str) -> bool {
        [DEFAULT, SPRITES, EDITS].contains(&name)
    }

    /// As [`Model::open`], with folders in which the files of released models are looked for before all others.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_in(name: &str, search_path: &SearchPath) -> Result<Self, ModelError> {
        let path = &*path_text::to_path(name);
        if path.join(MANIFEST).is_file() {
            return Self::in_folder(path);
        }
        if name == DEFAULT {
            return embedded(DEFAULT, EMBEDDED);
        }
        if name == SPRITES {
            return embedded(SPRITES, EMBEDDED_VIDEO);
        }
        if name == EDITS {
            return embedded(EDITS, EMBEDDED_EDITS);
        }
        // A link to nothing is reported as one.
        if path.exists() || path.is_symlink() {
            let found = released::by_path(path, search_path)?;
            let lacks = || ModelError::flawed(name, format!("lacks the file {MANIFEST}"));
            return found.ok_or_else(lacks);
        }
        released::by_name(name, search_path)?.ok_or_else(|| unknown(name))
    }
}

/// A model inside the program: description, vocabulary, words, neighbours, text encoder, transformer, auto-encoder.
fn embedded(name: &str, files: Option<[&'static [u8]; 7]>) -> Result<Model, ModelError> {
    let Some([manifest, rest @ ..]) = files else {
        let message = format!("the model `{name}` is not inside this program");
        let hint = "name a model folder or a released model: --model NAME";
        return Err(ModelError::refused_with(message, hint));
    };
    let manifest = read_manifest(name, manifest)?;
    Model::new(name, manifest, Files::embedded(rest))
}

fn unknown(name: &str) -> ModelError {
    let known = released::names().chain([DEFAULT, SPRITES, EDITS]);
    let hint = match nearest(name, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "name a model folder, `default` for the model inside the program, or a released one: `nextscale models` lists them"
            .to_owned(),
    };
    ModelError::flawed_with(name, "does not exist", hint)
}
