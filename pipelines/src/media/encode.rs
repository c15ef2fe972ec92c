//! An image as the bytes of a file that carries how it was generated.

use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};

use super::exif;
use super::image::{PIPELINE_KEY, encode_png};
use crate::error::PipelineError;

/// Of JPEG, from 1 to 100: hard to tell from the original.
const JPEG_QUALITY: u8 = 95;

/// The format that the extension of an image stands for: PNG, JPEG or WebP.
pub(crate) fn format_of(path: &Path) -> Option<ImageFormat> {
    let extension = path.extension()?.to_str()?;
    match extension.to_ascii_lowercase().as_str() {
        "png" => Some(ImageFormat::Png),
        "jpg" | "jpeg" => Some(ImageFormat::Jpeg),
        "webp" => Some(ImageFormat::WebP),
        _ => None,
    }
}

/// The bytes of an image. The tags go into text chunks of a PNG, and into the EXIF data of a JPEG or a WebP.
pub(crate) fn encode(
    image: &RgbImage,
    format: ImageFormat,
    tags: &[(&'static str, String)],
) -> Result<Vec<u8>, PipelineError> {
    let refused = |e: &dyn std::fmt::Display| PipelineError::refused(e.to_string());
    if format == ImageFormat::Png {
        return encode_png(image, tags).map_err(|e| refused(&e));
    }
    let mut bytes = Cursor::new(vec![]);
    let written = match format {
        ImageFormat::Jpeg => {
            image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))
        }
        format => image.write_to(&mut bytes, format),
    };
    written.map_err(|e| refused(&e))?;
    let bytes = bytes.into_inner();
    let text = |name: &str| {
        tags.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, text)| text)
    };
    let (Some(parameters), Some(pipeline)) = (text("parameters"), text(PIPELINE_KEY)) else {
        return Ok(bytes);
    };
    exif::write(bytes, parameters, pipeline).map_err(|reason| {
        let message = format!("the parameters do not fit into the file: {reason}");
        PipelineError::refused_with(message, "write a .png, or leave them out: --no-metadata")
    })
}
