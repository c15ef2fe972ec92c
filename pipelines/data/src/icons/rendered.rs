//! The rendered icons of one source, and the file of the cache that keeps them.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use nextscale_files::atomic_file;
use rayon::prelude::*;

use super::icon::{Icon, Label};
use super::render;
use crate::error::DataError;
use crate::progress::{OnProgress, Progress};
use crate::recipe::{IconSource, Recipe};

/// Icons of one source.
#[derive(Default)]
pub(super) struct Rendered {
    pub labels: Vec<Label>,
    /// Premultiplied RGBA, one image after the other, in the order of the labels.
    pub pixels: Vec<u8>,
}

impl Rendered {
    /// Renders every icon in parallel and leaves out those that are empty.
    pub fn new(
        recipe: &Recipe,
        source: &IconSource,
        icons: Vec<Icon<'_>>,
        progress: OnProgress<'_>,
    ) -> Result<Self, DataError> {
        let done = AtomicUsize::new(0);
        let render = |icon: &Icon<'_>| {
            let image = icon.artwork.render(recipe.size, recipe.supersample);
            progress(Progress {
                step: &source.style,
                item: "",
                done: done.fetch_add(1, Ordering::Relaxed) + 1,
                total: icons.len(),
            });
            image.map_err(|e| {
                let message = format!("cannot render {:?}: {e}", icon.label.name);
                DataError::content(Path::new(&source.package), message)
            })
        };
        let images: Vec<Vec<u8>> = icons.par_iter().map(render).collect::<Result<_, _>>()?;
        let mut rendered = Self::default();
        for (icon, image) in icons.into_iter().zip(images) {
            if !render::is_empty(&image) {
                rendered.labels.push(icon.label);
                rendered.pixels.extend(image);
            }
        }
        Ok(rendered)
    }

    /// Reads the file of the cache, unless it is missing or damaged; an image has `image_bytes` bytes.
    pub fn read(path: &Path, image_bytes: usize) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let length = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?) as usize;
        let rest = &bytes[8..];
        let labels: Vec<Label> = serde_json::from_slice(rest.get(..length)?).ok()?;
        let pixels = rest[length..].to_vec();
        (pixels.len() == labels.len() * image_bytes).then_some(Self { labels, pixels })
    }

    /// Writes the file of the cache: the length of the labels, the labels as JSON, the pixels.
    pub fn write(&self, path: &Path) -> Result<(), DataError> {
        let labels = serde_json::to_vec(&self.labels).map_err(|e| DataError::content(path, e))?;
        let length = (labels.len() as u64).to_le_bytes();
        let bytes = [&length[..], &labels, &self.pixels].concat();
        atomic_file::write(path, &bytes).map_err(|e| DataError::write(path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_stage_is_drawn_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.stage");
        assert!(Rendered::read(&path, 16).is_none());
        std::fs::write(&path, [9u8; 20]).unwrap();
        assert!(Rendered::read(&path, 16).is_none());
    }
}
