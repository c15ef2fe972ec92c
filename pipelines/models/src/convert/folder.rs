//! A model folder with weights in another number type.

use std::path::Path;

use super::write::{ConvertedDtype, Selection, VAR_MASK, in_layers, unusable, write};
use crate::error::ModelError;
use crate::files::{Files, MANIFEST, ModelFile, NEIGHBOURS, TEXT, TRANSFORMER, VAE, VOCAB, WORDS};
use crate::lora::LoraChoice;
use crate::model::Model;
use nextscale_files::atomic_file::{HiddenFolder, folder_of};
use nextscale_files::path_text;
use nextscale_weights::Choice;

/// A model of one folder, or one inside the program, whose parts fit together; no tensor is read.
pub struct FolderConversion(Model);

impl FolderConversion {
    /// Whether a path is that of a model folder, or the name of a model inside the program.
    pub fn takes(path: &Path) -> bool {
        let name = path.to_str().filter(|_| !path.exists());
        path.join(MANIFEST).is_file() || name.is_some_and(Model::is_embedded)
    }

    /// Opens it, with adapters to add to the weights of its transformer.
    ///
    /// # Errors
    /// As for [`Model::open`] and [`Model::with_loras`].
    pub fn open(path: &Path, adapters: &[LoraChoice]) -> Result<Self, ModelError> {
        let model = Model::open(&path_text::to_text(path))?;
        Ok(Self(model.with_loras(adapters)?))
    }

    /// Writes it as a folder, with its weights in a number type. With 8 bits, the matrices and kernels of all its parts are converted; vectors
    /// stay as they were. `go_on` is told how many bytes of the present file are written, and of how many; false stops.
    ///
    /// # Errors
    /// A file of that name or a folder that holds something, numbers that are not finite in that type, a folder that cannot be written, and
    /// [`ModelError::Cancelled`]; nothing is left then.
    pub fn write(
        &self,
        out: &Path,
        dtype: ConvertedDtype,
        mut go_on: impl FnMut(u64, u64) -> bool,
    ) -> Result<(), ModelError> {
        let model = &self.0;
        let Some(files) = model.files() else {
            return Err(ModelError::flawed(model.name(), "has random weights"));
        };
        check_free(out)?;
        let fail = |e| ModelError::io("write", out)(e);
        let hidden = HiddenFolder::new_in(folder_of(out)).map_err(fail)?;
        for (name, file) in weights(files) {
            let path = hidden.path().join(name);
            let adapters = if name == TRANSFORMER {
                model.adapters()
            } else {
                &[]
            };
            if dtype == ConvertedDtype::Unchanged && adapters.is_empty() {
                file.copy_to(&path)
                    .map_err(|error| about_folder(error, out))?;
                continue;
            }
            let mut tensors = file
                .as_stored(Choice::default())
                .map_err(|e| unusable(Path::new(name), e))?;
            for adapter in adapters {
                let keep_dtype = dtype == ConvertedDtype::Unchanged;
                adapter.add_to(model.name(), &mut tensors, keep_dtype)?;
            }
            let names: Vec<String> = tensors.names().map(str::to_owned).collect();
            let all = Selection {
                names: &names,
                loose: &[VAR_MASK.to_owned()],
                is_large: in_layers,
            };
            let written = write(&tensors, &all, dtype, &path, &mut go_on);
            written.map_err(|error| about_folder(error, out))?;
        }
        for (name, file) in texts(files) {
            let copied = file.copy_to(&hidden.path().join(name));
            copied.map_err(|error| about_folder(error, out))?;
        }
        let sealed = Model::seal(hidden.path(), model.manifest().clone());
        sealed.map_err(|error| about_folder(error, out))?;
        if !go_on(1, 1) {
            return Err(ModelError::Cancelled);
        }
        hidden.persist(out).map_err(fail)
    }
}

/// Refuses a place where something is already.
fn check_free(out: &Path) -> Result<(), ModelError> {
    let Ok(found) = out.symlink_metadata() else {
        return Ok(());
    };
    let refuse = |what: &str| {
        let message = format!("the folder cannot be `{}`: {what}", out.display());
        Err(ModelError::refused_with(message, "name a new one: -o DIR"))
    };
    if !found.is_dir() {
        return refuse("it is there already, and no folder");
    }
    if std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return refuse("it holds something already");
    }
    if out.file_name().is_none() {
        return refuse("it has no name"); // `.` cannot be replaced
    }
    Ok(())
}

/// The same error about the folder as it is going to be called.
fn about_folder(error: ModelError, out: &Path) -> ModelError {
    match error {
        ModelError::Io { action, reason, .. } => ModelError::io(action, out)(reason),
        ModelError::Model { message, hint, .. } => ModelError::Model {
            model: out.display().to_string(),
            message,
            hint,
        },
        other => other,
    }
}

/// The files of tensors, each with its name.
fn weights(files: &Files) -> impl Iterator<Item = (&'static str, &ModelFile)> {
    let both = [(TRANSFORMER, &files.transformer), (VAE, &files.vae)];
    let text = files.text.iter().map(|text| (TEXT, &text.weights));
    both.into_iter().chain(text)
}

/// The files that are copied.
fn texts(files: &Files) -> impl Iterator<Item = (&'static str, &ModelFile)> {
    files.text.iter().flat_map(|text| {
        let optional = [(WORDS, &text.words), (NEIGHBOURS, &text.neighbours)];
        let optional = optional
            .into_iter()
            .filter_map(|(name, file)| Some((name, file.as_ref()?)));
        std::iter::once((VOCAB, &text.vocab)).chain(optional)
    })
}
