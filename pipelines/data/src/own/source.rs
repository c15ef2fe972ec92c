//! Where a recipe's images come from, and the fingerprint of all that decides the data set.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nextscale_files::path_text;
use serde::Serialize;

use crate::error::{DataError, Invalid};
use crate::manifest;
use crate::own::folder;
use crate::own::media::Media;
use crate::own::recipe::{OwnRecipe, check_sizes};
use crate::own::samples::{Place, Samples};
use crate::own::shards::{self, Shard};
use crate::own::{table, webdataset};
use crate::progress::{OnProgress, Progress};
use crate::recipe::DataKind;

/// Counts up when the same recipe and files would give other bytes.
const VERSION: u32 = 1;

/// What a recipe names, listed but hardly read.
#[derive(Debug)]
pub(crate) enum Source {
    Folder(folder::Listing),
    /// A table with its samples.
    Table(PathBuf, Samples),
    Shards(Vec<Shard>),
}

/// A file that decides what the data set holds.
#[derive(Debug, Serialize)]
struct Input {
    path: String,
    length: u64,
    /// When it was last changed, since 1970.
    seconds: u64,
    nanoseconds: u32,
}

impl Input {
    /// A file on this machine; one that cannot be looked at is empty.
    fn file(path: &Path) -> Self {
        let found = fs::metadata(path).ok();
        let changed = found.as_ref().and_then(|found| found.modified().ok());
        let since = changed.unwrap_or(SystemTime::UNIX_EPOCH);
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            path: path_text::to_text(path),
            length: found.map_or(0, |found| found.len()),
            seconds: since.as_secs(),
            nanoseconds: since.subsec_nanos(),
        }
    }

    /// What an address holds is taken not to change.
    fn address(address: &str) -> Self {
        Self {
            path: address.to_owned(),
            length: 0,
            seconds: 0,
            nanoseconds: 0,
        }
    }
}

impl Source {
    /// Lists what a recipe names.
    ///
    /// # Errors
    /// The recipe is not valid, a folder, a table or an archive cannot be read or is not one.
    pub fn find(recipe: &OwnRecipe) -> Result<Self, DataError> {
        let place = recipe.from.join(", ");
        let wrong = |Invalid(e)| DataError::content(Path::new(&place), e);
        recipe.check().map_err(wrong)?;
        let from = path_text::to_path(&recipe.from[0]);
        if recipe.kind == DataKind::Webdataset {
            return shards::list(&recipe.from).map(Self::Shards);
        }
        if recipe.is_table() {
            let samples = table::read(&from, recipe)?;
            return Ok(Self::Table(from.into_owned(), samples));
        }
        folder::list(&from, Media::of(recipe)).map(Self::Folder)
    }

    fn inputs(&self) -> Vec<Input> {
        match self {
            Self::Folder(listing) => listing.inputs().map(Input::file).collect(),
            Self::Table(path, samples) => {
                let files = samples.samples.iter().filter_map(|s| match &s.place {
                    Place::File(path) => Some(path.as_path()),
                    Place::Part { .. } => None,
                });
                let all = std::iter::once(path.as_path()).chain(files);
                all.map(Input::file).collect()
            }
            Self::Shards(shards) => {
                let input = |shard: &Shard| match shard {
                    Shard::Local(path) => Input::file(path),
                    Shard::Address(address) => Input::address(address),
                };
                shards.iter().map(input).collect()
            }
        }
    }

    /// The fingerprint of the recipe, the sizes and the files.
    ///
    /// # Errors
    /// Sizes out of range.
    pub fn fingerprint(
        &self,
        recipe: &OwnRecipe,
        sizes: &[[usize; 2]],
    ) -> Result<String, DataError> {
        let place = recipe.from.join(", ");
        check_sizes(sizes).map_err(|Invalid(e)| DataError::content(Path::new(&place), e))?;
        let recipe = OwnRecipe {
            out: PathBuf::new(),
            cache: None,
            ..recipe.clone()
        };
        Ok(manifest::fingerprint(&(
            VERSION,
            recipe,
            sizes,
            self.inputs(),
        )))
    }

    /// All samples; archives with addresses are downloaded.
    ///
    /// # Errors
    /// A download fails, an archive cannot be opened.
    pub fn samples(
        self,
        recipe: &OwnRecipe,
        progress: OnProgress<'_>,
    ) -> Result<Samples, DataError> {
        match self {
            Self::Folder(listing) => Ok(listing.samples()),
            Self::Table(_, samples) => Ok(samples),
            Self::Shards(shards) => {
                let paths = shards::collect(&shards, recipe.cache.as_deref(), progress)?;
                progress(Progress {
                    step: "archives",
                    item: "",
                    done: 0,
                    total: paths.len(),
                });
                webdataset::read(&paths)
            }
        }
    }
}
