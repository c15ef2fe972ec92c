//! The files that a released model is made of, and where they lie.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use nextscale_text::T5Config;
use nextscale_text::import::WEIGHT_FILES;
use nextscale_weights::WeightFile;

use crate::error::{ModelError, about};
use crate::files::{ModelFile, TextFiles};
use crate::search::{Found, SearchPath, broken_link, find, newest_variant, same_content};

/// What a part of a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Predicts the codes.
    Transformer,
    /// Turns codes into images or videos: the auto-encoder.
    Tokenizer,
    /// Turns prompts into features.
    TextEncoder,
}

impl Display for Role {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Transformer => "transformer",
            Self::Tokenizer => "tokenizer",
            Self::TextEncoder => "text encoder",
        })
    }
}

/// One thing that a released model needs, and where it lies.
#[derive(Debug, Clone)]
pub struct Part {
    /// What it is for.
    pub role: Role,
    /// The repository that publishes it, `owner/name` on the Hugging Face hub.
    pub repo: &'static str,
    /// The file or folder there.
    pub file: &'static str,
    /// Where it is on this machine.
    pub found: Option<PathBuf>,
    /// Where a file lies that is easily taken for it.
    pub lookalike: Option<PathBuf>,
    /// Which of two files of its name was found, in a sentence.
    pub notice: Option<String>,
}

/// Tokenizers of the same shapes, which no check of shapes can distinguish: the one that a released transformer was trained with,
/// and another one.
const LOOKALIKES: [(&str, &str); 1] = [("infinity_vae_d32reg", "infinity_vae_d32")];

/// A warning, if the tokenizer at `path` is the other one of two that look alike, under the name of the first: the same
/// content lies next to it under its own name. (No checksums of the released files are published, so that nothing else tells.)
pub fn lookalike_warning(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    let (_, other) = LOOKALIKES.iter().find(|(name, _)| *name == stem)?;
    let other_file = newest_variant(&path.with_file_name(format!("{other}.pth")))?.path;
    same_content(path, &other_file).then(|| {
        format!(
            "{} and {} are the same file, but {stem} and {other} are two tokenizers: images come out wrong with {other}",
            path.display(),
            other_file.display()
        )
    })
}

impl Part {
    /// The text encoder that all models of prompts share, flan-T5 XL, where it comes from.
    pub(super) fn text_encoder(search_path: &SearchPath) -> Self {
        Self::new(Role::TextEncoder, "google/flan-t5-xl", ".", search_path)
    }

    pub(super) fn new(
        role: Role,
        repo: &'static str,
        file: &'static str,
        search_path: &SearchPath,
    ) -> Self {
        let named = search_path.named(role).map(Path::to_owned);
        let found = named.map(Found::from);
        let found = found.or_else(|| find(repo, file, search_path));
        let stem = file.trim_end_matches(".pth");
        let other = LOOKALIKES.iter().find(|(name, _)| *name == stem);
        let other = other.filter(|_| found.is_none());
        let lookalike =
            other.and_then(|(_, other)| find(repo, &format!("{other}.pth"), search_path));
        let (found, notice) = found.map_or((None, None), |f| (Some(f.path), f.notice));
        Self {
            role,
            repo,
            file,
            found,
            lookalike: lookalike.map(|lookalike| lookalike.path),
            notice,
        }
    }

    /// The name of its file or folder, with a link of that name that points to nothing.
    pub(super) fn missing(&self, search_path: &SearchPath) -> String {
        let name = match self.file {
            "." => self.repo.rsplit('/').next().unwrap_or(self.repo),
            file => file,
        };
        match broken_link(self.repo, self.file, search_path) {
            Some((link, target)) => format!(
                "{name} ({} is a link to {}, which is gone)",
                link.display(),
                target.display()
            ),
            None => name.to_owned(),
        }
    }
}

/// A text encoder in Hugging Face's layout.
pub(super) struct TextFolder {
    pub(super) config: T5Config,
    pub(super) files: TextFiles,
}

impl TextFolder {
    /// The text encoder of `model` in this folder.
    pub(super) fn open(model: &str, folder: &Path) -> Result<Self, ModelError> {
        let config = T5Config::from_hf_file(folder.join("config.json"));
        let config = config.map_err(|e| unreadable(model, e))?;
        let weights = WEIGHT_FILES.map(|file| folder.join(file));
        let Some(weights) = weights.into_iter().find(|path| path.is_file()) else {
            let folder = folder.display();
            let message = format!("lacks the weights of its text encoder in {folder}");
            return Err(ModelError::flawed(model, message));
        };
        let vocab = folder.join("tokenizer.json");
        if !vocab.is_file() {
            let message = format!("lacks the file {}", vocab.display());
            return Err(ModelError::flawed(model, message));
        }
        let files = TextFiles {
            vocab: ModelFile::OnDisk(vocab),
            weights: ModelFile::OnDisk(weights),
            words: None,
            neighbours: None,
        };
        Ok(Self { config, files })
    }
}

/// How to get parts that are not on this machine; those of one repository follow each other.
pub(crate) fn download_hint(missing: &[&Part]) -> String {
    let repos = missing.chunk_by(|a, b| a.repo == b.repo);
    let commands: Vec<String> = repos.map(download_command).collect();
    let lookalikes = missing.iter().filter_map(|part| {
        let other = part.lookalike.as_ref()?;
        Some(format!(
            " ({} has the shapes of {}, but is another one: renamed, it gives wrong images)",
            other.display(),
            part.file
        ))
    });
    format!(
        "get them with {}, or put them into a folder and name it: --models-dir DIR{}",
        commands.join(" and "),
        lookalikes.collect::<String>()
    )
}

/// The command that downloads these parts of one repository.
fn download_command(parts: &[&Part]) -> String {
    let mut command = format!("huggingface-cli download {}", parts[0].repo);
    for file in parts.iter().map(|part| part.file) {
        command += &match file {
            "." => String::new(),
            file if file.contains('.') => format!(" {file}"),
            folder => format!(" --include '{folder}/*'"),
        };
    }
    format!("`{command}`")
}

/// A file of `model` that cannot be read.
pub(super) fn unreadable(model: &str, error: impl ToString) -> ModelError {
    ModelError::flawed(model, format!("cannot be read: {}", about(model, error)))
}

/// The shapes of a transformer, as `read` finds them in its file.
pub(super) fn shapes<C, E: Display>(
    model: &str,
    file: &WeightFile,
    read: impl FnOnce(&WeightFile) -> Result<C, E>,
) -> Result<C, ModelError> {
    read(file).map_err(|e| unreadable(model, format!("{}: {e}", file.path().display())))
}

/// The place of a part, or the error that `model` lacks it.
pub(super) fn require(model: &str, part: &Part) -> Result<PathBuf, ModelError> {
    part.found.clone().ok_or_else(|| {
        let message = format!("lacks its {} {}", part.role, part.file);
        let hint = format!(
            "put it next to the transformer, or {}",
            download_hint(&[part])
        );
        ModelError::flawed_with(model, message, hint)
    })
}
