//! The recipe of a data set of the user's own images or videos.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use smart_default::SmartDefault;

use crate::captions::WHITE;
use crate::error::{DataError, Invalid, ensure};
use crate::recipe::{DataKind, read_recipe};

/// Most frames of a clip.
const MOST_FRAMES: usize = 1000;

/// The recipe of such a data set, as the user wrote it in YAML.
#[derive(Debug, Clone, SmartDefault, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnRecipe {
    /// One of the kinds for which [`DataKind::is_own`] holds.
    #[default(DataKind::Folder)]
    pub kind: DataKind,
    /// Where the images are: a folder (`folder`), a file (`jsonl`, `csv`), tar archives (`webdataset`: paths and `https:`
    /// addresses, with `{000..009}`, `{a,b}` and, in file names, `*`), a folder or a file (`videos`).
    #[serde(deserialize_with = "one_or_many")]
    pub from: Vec<String>,
    /// What describes an image; if absent, captions if any image has one, else classes if all images have one.
    #[serde(default)]
    pub labels: Option<Labels>,
    /// Folder of the finished data set.
    pub out: PathBuf,
    /// Folder of downloaded archives; needed only for addresses.
    #[serde(default)]
    pub cache: Option<PathBuf>,
    /// Side of square images in pixels, 8 to 4096, even.
    #[serde(default)]
    pub size: Option<usize>,
    /// Widths and heights of the buckets in pixels, 8 to 4096, even: each image goes to the one of the nearest shape.
    #[serde(default)]
    pub sizes: Option<Vec<[usize; 2]>>,
    /// The sizes of a model, which the caller looks up.
    #[serde(default)]
    pub buckets: Option<Buckets>,
    /// Share of the images that training never sees, 0 to 0.9. The content of an image decides, so an image stays where it is
    /// when others are added.
    #[default = 0.02]
    #[serde(default = "default_held_out")]
    pub held_out: f64,
    /// Whether mirrored images still show the same thing.
    #[serde(default)]
    pub flip: bool,
    /// Transparent images lie on this colour.
    #[default(WHITE)]
    #[serde(default = "default_background")]
    pub background: [u8; 3],
    /// Column (`csv`) or key (`jsonl`) of the path; if absent, the first of `file_name`, `path`, `image`, `file`.
    #[serde(default)]
    pub image_column: Option<String>,
    /// Column or key of the caption; if absent, the first of `text`, `caption`, `prompt`.
    #[serde(default)]
    pub caption_column: Option<String>,
    /// Column or key of the class; if absent, the first of `label`, `class`.
    #[serde(default)]
    pub class_column: Option<String>,
    /// What becomes of images without a caption.
    #[serde(default)]
    pub missing_captions: MissingCaptions,
    /// What becomes of images smaller than their bucket.
    #[serde(default)]
    pub small: Small,
    /// Frames of a clip, 1 to 1000; 17 if absent. A clip is the beginning of a video.
    #[serde(default)]
    pub frames: Option<usize>,
    /// Frames per second that are taken of a video, above 0 and up to 240; 8 if absent.
    #[serde(default)]
    pub fps: Option<f64>,
}

fn default_held_out() -> f64 {
    0.02
}

fn default_background() -> [u8; 3] {
    WHITE
}

/// What describes an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// Captions, for models of prompts.
    Captions,
    /// One of several classes, for models of classes. Its name is also its caption, unless it has captions.
    Classes,
}

/// The sizes of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Buckets {
    /// Name of the model.
    pub model: String,
    /// Approximate number of pixels of an image, such as `0.06M`; needed if the model has several.
    #[serde(default)]
    pub pixels: Option<String>,
}

/// What becomes of images without a caption, in a set with captions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingCaptions {
    /// They are left out and named.
    #[default]
    Skip,
    /// The data set is not built.
    Error,
    /// Their caption is empty.
    Empty,
}

/// What becomes of images smaller than their bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Small {
    /// They are enlarged.
    #[default]
    Upscale,
    /// They are left out and named.
    Skip,
}

impl OwnRecipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// The file cannot be read, is not valid YAML for such a recipe, or holds a value out of range.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        read_recipe(path, Self::check)
    }

    /// Widths and heights of the buckets in pixels; `None` if they are those of the model in `buckets`.
    pub fn sizes(&self) -> Option<Vec<[usize; 2]>> {
        let square = self.size.map(|side| vec![[side; 2]]);
        square.or_else(|| self.sizes.clone())
    }

    /// Frames of a clip; 1 in a set of images.
    pub fn clip_frames(&self) -> usize {
        match self.kind {
            DataKind::Videos => self.frames.unwrap_or(17),
            _ => 1,
        }
    }

    /// Frames per second of the clips; 0 in a set of images.
    pub fn clip_fps(&self) -> f64 {
        match self.kind {
            DataKind::Videos => self.fps.unwrap_or(8.0),
            _ => 0.0,
        }
    }

    /// Refuses values out of range.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        ensure!(
            self.kind.is_own(),
            "kind must be folder, jsonl, csv, webdataset or videos"
        );
        self.check_from()?;
        let given = [
            self.size.is_some(),
            self.sizes.is_some(),
            self.buckets.is_some(),
        ];
        let given = given.into_iter().filter(|given| *given).count();
        ensure!(
            given == 1,
            "it must have exactly one of size, sizes and buckets"
        );
        if let Some(sizes) = self.sizes() {
            check_sizes(&sizes)?;
        }
        ensure!(
            (0.0..=0.9).contains(&self.held_out),
            "held_out must be a share of 0 to 0.9, not {}",
            self.held_out
        );
        self.check_videos()
    }

    fn check_from(&self) -> Result<(), Invalid> {
        ensure!(
            self.from.iter().all(|place| !place.trim().is_empty()) && !self.from.is_empty(),
            "from must not be empty"
        );
        ensure!(
            self.kind == DataKind::Webdataset || self.from.len() == 1,
            "from must name one place: only kind: webdataset takes a list"
        );
        let is_local = |place: &String| !place.contains("://");
        ensure!(
            self.kind == DataKind::Webdataset || self.from.iter().all(is_local),
            "from must be on this machine: only kind: webdataset takes addresses"
        );
        let columns = [
            ("image_column", &self.image_column),
            ("caption_column", &self.caption_column),
            ("class_column", &self.class_column),
        ];
        for (key, column) in columns {
            ensure!(
                column.is_none() || self.is_table(),
                "{key} is only for kind: jsonl and kind: csv, and for videos that such a file names"
            );
        }
        Ok(())
    }

    fn check_videos(&self) -> Result<(), Invalid> {
        let is_videos = self.kind == DataKind::Videos;
        ensure!(
            is_videos || (self.frames.is_none() && self.fps.is_none()),
            "frames and fps are only for kind: videos"
        );
        ensure!(
            (1..=MOST_FRAMES).contains(&self.clip_frames()),
            "frames must be 1 to {MOST_FRAMES}, not {}",
            self.clip_frames()
        );
        let fps = self.fps.unwrap_or(8.0);
        ensure!(
            fps > 0.0 && fps <= 240.0,
            "fps must be above 0 and up to 240, not {fps}"
        );
        Ok(())
    }

    /// Whether a file of JSON lines or a table names the images.
    pub(crate) fn is_table(&self) -> bool {
        match self.kind {
            DataKind::Jsonl | DataKind::Csv => true,
            DataKind::Videos => self.from.first().is_some_and(|from| {
                let from = from.to_lowercase();
                [".jsonl", ".csv", ".tsv"].iter().any(|e| from.ends_with(e))
            }),
            _ => false,
        }
    }
}

/// Refuses sizes out of range, and repeated ones.
pub(crate) fn check_sizes(sizes: &[[usize; 2]]) -> Result<(), Invalid> {
    ensure!(!sizes.is_empty(), "sizes must have at least one size");
    for (i, size) in sizes.iter().enumerate() {
        let [w, h] = size;
        let is_side = |side: &usize| (8..=4096).contains(side) && side.is_multiple_of(2);
        ensure!(
            size.iter().all(is_side),
            "sides must be even and 8 to 4096 pixels, not {w}x{h}"
        );
        ensure!(!sizes[..i].contains(size), "the size {w}x{h} is repeated");
    }
    Ok(())
}

/// Reads a text or a list of texts.
fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "from must be a path or a list of paths")]
    enum Places {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Places::deserialize(from)? {
        Places::One(place) => vec![place],
        Places::Many(places) => places,
    })
}

#[cfg(test)]
mod tests;
