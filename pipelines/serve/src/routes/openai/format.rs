//! The formats in which images are returned.

use std::io::Cursor;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::ImageFormat;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::refusal::Refusal;

/// The format of a returned image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum OutputFormat {
    /// With the settings inside.
    #[default]
    Png,
    Jpeg,
    WebP,
}

impl OutputFormat {
    /// The format of a name.
    pub fn named(name: Option<&str>) -> Result<Self, Refusal> {
        match name {
            None | Some("png") => Ok(Self::Png),
            Some("jpeg") => Ok(Self::Jpeg),
            Some("webp") => Ok(Self::WebP),
            Some(other) => Err(Refusal::bad(format!(
                "`output_format` is png, jpeg or webp, not `{other}`"
            ))),
        }
    }

    /// An image file in base64, in this format.
    pub fn encode(self, path: &Path) -> Result<String, Refusal> {
        let gone = || Refusal::absent("such image any more");
        if self == Self::Png {
            let bytes = std::fs::read(path).map_err(|_| gone())?;
            return Ok(STANDARD.encode(bytes));
        }
        let image = image::open(path).map_err(|_| gone())?;
        let to = match self {
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Png | Self::WebP => ImageFormat::WebP,
        };
        let mut bytes = Cursor::new(vec![]);
        image
            .write_to(&mut bytes, to)
            .map_err(|e| Refusal::failed(e.to_string()))?;
        Ok(STANDARD.encode(bytes.into_inner()))
    }
}
