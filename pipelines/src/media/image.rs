//! Image files: reading PNG, JPEG and WebP, and PNG files that carry how they were generated.
//!
//! Two text chunks: `parameters`, in the layout that Stable Diffusion tools read and show, and
//! `nextscale`, the pipeline that generates the same image again.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader, RgbImage};

use crate::artifact::Sample;
use crate::error::PipelineError;

/// Key of the text chunk with the whole pipeline.
pub(crate) const PIPELINE_KEY: &str = "nextscale";

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

/// Reads a PNG, JPEG or WebP image as 8-bit RGB: rotated as its EXIF data say, transparent parts on white, 16 bits rounded
/// to 8, grey and CMYK converted to RGB.
pub(crate) fn read_image(path: &Path) -> Result<RgbImage, PipelineError> {
    let file = std::fs::File::open(path).map_err(PipelineError::io("read", path))?;
    let decode = || -> image::ImageResult<DynamicImage> {
        let reader = ImageReader::new(std::io::BufReader::new(file)).with_guessed_format()?;
        let mut decoder = reader.into_decoder()?;
        let orientation = decoder.orientation()?;
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        Ok(image)
    };
    let image = decode().map_err(|e| {
        let message = format!("is not a readable image: {}", e.to_string().trim());
        PipelineError::content(path, message, Some("use PNG, JPEG or WebP"))
    })?;
    if !image.color().has_alpha() {
        return Ok(image.into_rgb8());
    }
    let rgba = image.into_rgba8();
    let on_white = |c: u8, alpha: u8| {
        let (c, alpha) = (u32::from(c), u32::from(alpha));
        ((c * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    Ok(RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, alpha] = rgba.get_pixel(x, y).0;
        image::Rgb([r, g, b].map(|c| on_white(c, alpha)))
    }))
}

/// All text chunks of a PNG, in file order: keys and texts.
pub(crate) fn png_texts(path: &Path, bytes: &[u8]) -> Result<Vec<(String, String)>, PipelineError> {
    let bad = |message: String| PipelineError::content(path, message, None);
    let decoder = png::Decoder::new(Cursor::new(bytes));
    let reader = decoder
        .read_info()
        .map_err(|e| bad(format!("is not a readable PNG: {e}")))?;
    let info = reader.info();
    let latin = info.uncompressed_latin1_text.iter();
    let mut all: Vec<_> = latin.map(|c| (c.keyword.clone(), c.text.clone())).collect();
    for chunk in &info.utf8_text {
        let text = chunk
            .get_text()
            .map_err(|e| bad(format!("has a broken text chunk: {e}")))?;
        all.push((chunk.keyword.clone(), text));
    }
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
    let line: Vec<String> = all.map(|(k, v)| format!("{k}: {v}")).collect();
    text + "\n" + &line.join(", ")
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
    fn a_cut_picture_is_an_error() {
        let bytes = encode_png(&RgbImage::new(2, 2), &[]).unwrap();
        assert!(png_texts(Path::new("x.png"), &bytes[..20]).is_err());
    }
}
