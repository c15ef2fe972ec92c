//! PNG files that carry how they were generated.
//!
//! Two text chunks: `parameters`, in the layout that Stable Diffusion tools read and show, and
//! `nextscale`, the pipeline that generates the same image again.

use std::path::Path;

use image::RgbImage;

use super::{exif, png_texts};
use crate::artifact::Sample;
use crate::error::PipelineError;

/// Key of the text chunk with the whole pipeline.
pub const PIPELINE_KEY: &str = "nextscale";

/// The bytes of a PNG with text chunks.
pub(crate) fn encode_png(
    image: &RgbImage,
    texts: &[(&str, String)],
) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    for (key, text) in texts {
        // tEXt is Latin-1; anything beyond it goes into iTXt, as in PIL.
        if text.chars().all(|c| u32::from(c) < 256) {
            encoder.add_text_chunk((*key).to_owned(), text.clone())?;
        } else {
            encoder.add_itxt_chunk((*key).to_owned(), text.clone())?;
        }
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// All texts of a PNG, in file order, then those of its EXIF data: keys and texts.
pub(crate) fn png_texts(path: &Path, bytes: &[u8]) -> Result<Vec<(String, String)>, PipelineError> {
    let bad = |e| PipelineError::content(path, format!("is not a readable PNG: {e}"), None);
    let mut all = png_texts::read(bytes).map_err(bad)?;
    all.extend(exif::read(bytes, PIPELINE_KEY));
    Ok(all)
}

/// The pipeline among the texts of an image or video.
pub(crate) fn find_pipeline(
    path: &Path,
    texts: Vec<(String, String)>,
) -> Result<String, PipelineError> {
    let found = texts.into_iter().find(|(key, _)| key == PIPELINE_KEY);
    found.map(|(_, text)| text).ok_or_else(|| {
        let hint = "only files that nextscale made without --no-metadata do";
        PipelineError::content(path, "carries no pipeline", Some(hint))
    })
}

/// The `parameters` text: prompt, negative prompt, then one line of named values.
pub(crate) fn parameters_text(
    sample: &Sample,
    size: (u32, u32),
    parameters: &[(&'static str, String)],
) -> String {
    let mut text = sample.full_prompt();
    if !sample.negative.is_empty() {
        text += &format!("\nNegative prompt: {}", sample.negative);
    }
    let seed = ("Seed", sample.seed.to_string());
    let size = ("Size", format!("{}x{}", size.0, size.1));
    let version = concat!("nextscale ", env!("CARGO_PKG_VERSION"));
    let version = ("Version", version.to_owned());
    let all = parameters.iter().chain([&seed, &size, &version]);
    let line: Vec<String> = all.map(|(k, v)| format!("{k}: {}", quoted(v))).collect();
    text + "\n" + &line.join(", ")
}

/// A value as the parsers of A1111 and its kin expect it: in quotes if it has a character that separates values.
fn quoted(value: &str) -> String {
    if value.contains([',', ':', '\n', '"']) {
        return serde_json::Value::from(value).to_string();
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        let image = RgbImage::new(2, 2);
        let written = [
            ("parameters", "caf\u{e9}".to_owned()),
            (PIPELINE_KEY, "a: \u{1f34e}\n".to_owned()),
        ];
        let bytes = encode_png(&image, &written).unwrap();
        let read = png_texts(Path::new("x.png"), &bytes).unwrap();
        for (key, text) in &written {
            assert!(
                read.contains(&((*key).to_owned(), text.clone())),
                "{read:?}"
            );
        }
        assert_eq!(
            find_pipeline(Path::new("x.png"), read).unwrap(),
            "a: \u{1f34e}\n"
        );
        let error = find_pipeline(Path::new("x.png"), vec![]).unwrap_err();
        assert_eq!(error.to_string(), "`x.png` carries no pipeline");
    }

    #[test]
    fn a_cut_image_is_an_error() {
        let bytes = encode_png(&RgbImage::new(2, 2), &[]).unwrap();
        assert!(png_texts(Path::new("x.png"), &bytes[..20]).is_err());
    }
}
