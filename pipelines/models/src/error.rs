//! What can go wrong with a model or a file, with a way out where one is known.

use std::path::PathBuf;

use thiserror::Error;

/// Every way in which a model or a file cannot be used.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A file or folder could not be used.
    #[error("cannot {action} `{}`: {reason}", path.display())]
    Io {
        /// What was tried: `read`, `write`, ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A file was read, but its content is not what it should be.
    #[error("`{}` {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, as the rest of a sentence.
        message: String,
        /// A way out, if one is known.
        hint: Option<String>,
    },
    /// A model folder does not fit together or is incomplete.
    #[error("the model `{model}` {message}")]
    Model {
        /// Name or folder of the model.
        model: String,
        /// What is wrong with it, as the rest of a sentence.
        message: String,
        /// A way out, if one is known.
        hint: Option<String>,
    },
    /// Something that was asked for is not possible here.
    #[error("{message}")]
    Refused {
        /// One sentence.
        message: String,
        /// A way out, if one is known.
        hint: Option<String>,
    },
    /// The work was stopped on request.
    #[error("stopped")]
    Cancelled,
}

impl ModelError {
    /// A refusal without a way out.
    pub fn refused(message: impl Into<String>) -> Self {
        let (message, hint) = (message.into(), None);
        Self::Refused { message, hint }
    }

    /// A refusal with a way out.
    pub fn refused_with(message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (message, hint) = (message.into(), Some(hint.into()));
        Self::Refused { message, hint }
    }

    /// A model that does not fit together, is incomplete or cannot be read; `message` is the rest of a sentence that begins
    /// with its name.
    pub fn flawed(model: &str, message: impl ToString) -> Self {
        Self::Model {
            model: model.to_owned(),
            message: message.to_string(),
            hint: None,
        }
    }

    /// As [`ModelError::flawed`], with a way out.
    pub(crate) fn flawed_with(
        model: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Model {
            model: model.to_owned(),
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// Wraps an I/O error with what was tried and where.
    pub fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |reason| Self::Io {
            action,
            path,
            reason,
        }
    }

    /// The way out, if one is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Content { hint, .. } | Self::Model { hint, .. } | Self::Refused { hint, .. } => {
                hint.as_deref()
            }
            Self::Io { .. } | Self::Cancelled => None,
        }
    }
}

/// The text of an error about a file, without the path if that stands in front of it already.
pub(crate) fn about(path: &str, error: impl ToString) -> String {
    let text = error.to_string();
    let reason = text.strip_prefix(path);
    let reason = reason.and_then(|rest| rest.strip_prefix(": "));
    reason.map_or_else(|| text.clone(), str::to_owned)
}

/// What is wrong with a model: the rest of a sentence that begins with its name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Flaw(String);

impl Flaw {
    /// Such a rest of a sentence.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The flaw of the model of this name as an error.
    pub fn of(self, model: &str) -> ModelError {
        ModelError::flawed(model, self.0)
    }
}

/// The known word nearest to `word`, if it is near enough to be a slip of the keyboard.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(word, k), k))
        .filter(|&(distance, k)| distance <= limit || k.replace('-', "_") == word.replace('-', "_"))
        .min()
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_said_once() {
        assert_eq!(about("a.pth", "a.pth: it is empty"), "it is empty");
        assert_eq!(about("m", "m/a.pth: it is empty"), "m/a.pth: it is empty");
    }

    #[test]
    fn nearest_finds_slips_only() {
        let known = ["prompts", "text-encoder", "save"];
        assert_eq!(nearest("promtps", known), Some("prompts"));
        assert_eq!(nearest("text_encoder", known), Some("text-encoder"));
        assert_eq!(nearest("video", known), None);
    }
}
