//! The recipe of the words.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{DataError, Invalid, ensure};
use crate::recipe::{check_sha256, read_recipe};
use crate::sources::{PinnedFile, Source};

/// What words are made of, as the user wrote it in YAML.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordsRecipe {
    /// The recipe of the icons, which is in the same folder unless it has one of its own.
    pub icons: PathBuf,
    /// Files of WordNet.
    pub wordnet: WordNetFiles,
    /// Where to look for them, in this order.
    pub from: Vec<Source>,
}

/// Files of WordNet 3: its nouns, and which words are adjectives.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordNetFiles {
    /// `data.noun`: what each sense is.
    pub data: PinnedFile,
    /// `index.noun`: the senses of each word.
    pub index: PinnedFile,
    /// `index.adj`: adjectives.
    pub adjectives: PinnedFile,
    /// `noun.exc`: irregular plurals.
    pub exceptions: PinnedFile,
}

impl WordsRecipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// The file cannot be read, is not valid YAML for such a recipe, or holds a value out of range.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let mut recipe: Self = read_recipe(path, Self::check)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        recipe.icons = folder.join(&recipe.icons);
        Ok(recipe)
    }

    fn check(&self) -> Result<(), Invalid> {
        ensure!(!self.from.is_empty(), "from must name at least one place");
        let mut files = self.files().into_iter();
        files.try_for_each(|file| check_sha256(&file.file, &file.sha256))
    }

    /// Data, index, adjectives and exceptions.
    pub(super) fn files(&self) -> [&PinnedFile; 4] {
        let WordNetFiles {
            data,
            index,
            adjectives,
            exceptions,
        } = &self.wordnet;
        [data, index, adjectives, exceptions]
    }
}
