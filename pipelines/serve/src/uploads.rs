//! Files that clients send: named by what is in them.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use image::{ImageFormat, ImageReader};
use nextscale_files::{atomic_file, checksum};
use nextscale_models::ModelError;
use nextscale_pipelines::PipelineError;
use nextscale_pipelines::media;
use nextscale_pipelines::uploads::Uploads;

use crate::adapters::AdapterInfo;
use crate::refusal::Refusal;

/// The folder of uploads in that of the images.
pub(crate) const UPLOADS: &str = "uploads";
/// Letters of a name, each of four bits.
const LETTERS: usize = 32;
/// Pixels of the largest image that is accepted.
const MOST_PIXELS: u64 = 64 << 20;

/// The folder of uploads.
#[derive(Debug)]
pub(crate) struct UploadFolder {
    folder: PathBuf,
    /// Names and files of the adapters that pipelines may name, too.
    adapters: Vec<(String, PathBuf)>,
}

/// An image or a video that has been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    /// What pipelines call it.
    pub name: String,
    pub width: u32,
    pub height: u32,
}

impl UploadFolder {
    pub fn new(gallery: &Path, adapters: &[AdapterInfo]) -> Self {
        let adapters = adapters.iter();
        let adapters = adapters.map(|adapter| (adapter.name.clone(), adapter.path.clone()));
        Self {
            folder: gallery.join(UPLOADS),
            adapters: adapters.collect(),
        }
    }

    /// What pipelines see of it.
    pub fn as_uploads(&self) -> Uploads {
        Uploads::in_folder(&self.folder).with_adapters(self.adapters.clone())
    }

    /// Keeps an image or a video.
    ///
    /// # Errors
    /// Bytes that are neither of a known format, or one that is too large.
    pub fn keep(&self, bytes: &[u8]) -> Result<Upload, Refusal> {
        check_size(bytes)?;
        let digits = checksum::of_bytes(bytes);
        let name = &digits[..LETTERS];
        let path = self.folder.join(name);
        let failed = |e: std::io::Error| Refusal::failed(format!("the upload cannot be kept: {e}"));
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        let mut file = atomic_file::hidden_for(&path).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        let size = media::size(file.path()).map_err(|e| match e {
            PipelineError::Model(ModelError::Content { message, .. }) => {
                Refusal::bad(format!("the upload {message}"))
            }
            e => e.into(),
        })?;
        atomic_file::persist(file, &path).map_err(failed)?;
        Ok(Upload {
            name: Uploads::name_of(name),
            width: size.0,
            height: size.1,
        })
    }
}

/// Refuses an image with so many pixels that decoding it would take too much memory.
fn check_size(bytes: &[u8]) -> Result<(), Refusal> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let size = reader.ok().and_then(|reader| reader.into_dimensions().ok());
    match size {
        Some((width, height)) if u64::from(width) * u64::from(height) > MOST_PIXELS => {
            let most = MOST_PIXELS >> 20;
            Err(Refusal::bad(format!(
                "the upload has {width}x{height} pixels; {most} million is the most"
            )))
        }
        _ => Ok(()),
    }
}

/// The media type of an image or a video by its first bytes.
pub(crate) fn media_type(bytes: &[u8]) -> &'static str {
    if bytes.get(4..8) == Some(b"ftyp") {
        return "video/mp4";
    }
    image::guess_format(bytes).map_or("application/octet-stream", |format: ImageFormat| {
        format.to_mime_type()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_kept_by_what_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = UploadFolder::new(folder.path(), &[]);
        let mut png = Cursor::new(vec![]);
        let image = image::RgbImage::new(3, 2);
        image.write_to(&mut png, ImageFormat::Png).unwrap();
        let upload = uploads.keep(png.get_ref()).unwrap();
        assert_eq!((upload.width, upload.height), (3, 2));
        assert_eq!(uploads.keep(png.get_ref()).unwrap(), upload);
        let path = uploads.as_uploads().find(&upload.name).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), *png.get_ref());
        for bad in [&b""[..], b"hello", &png.get_ref()[..40]] {
            assert!(uploads.keep(bad).is_err());
        }
    }
}
