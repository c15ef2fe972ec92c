//! From the bytes of an image to the pixels of its bucket.

use std::io::Cursor;

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};

/// Most pixels of an image that is read.
const MOST_PIXELS: u64 = 100_000_000;
/// Most bytes that decoding may take: 100 million pixels of 16 bits, four channels.
const MOST_BYTES: u64 = 1 << 30;

/// Decodes an image of any format: upright, and on a background where it is transparent.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn decode(bytes: &[u8], background: [u8; 3]) -> Result<RgbImage, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    if is_cut_off_jpeg(bytes) {
        return Err("the image is cut off".into());
    }
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let mut reader = reader.map_err(|e| e.to_string())?;
    let Some(format) = reader.format() else {
        return Err("it is not an image of a known format".into());
    };
    if !format.reading_enabled() {
        let name = format.extensions_str().first().unwrap_or(&"this format");
        return Err(format!("{name} is not read"));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let damaged = |e: image::ImageError| format!("the image is damaged: {e}");
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (w, h) = decoder.dimensions();
    if u64::from(w) * u64::from(h) > MOST_PIXELS {
        return Err(format!("{w}x{h} pixels are more than 100 million"));
    }
    if w == 0 || h == 0 {
        return Err("it has no pixels".into());
    }
    // An orientation that cannot be read is none.
    let orientation = decoder.orientation().ok();
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    Ok(opaque(image, background))
}

/// RGB of 8 bits; what is transparent lies on a background.
fn opaque(image: DynamicImage, background: [u8; 3]) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b, alpha] = image.get_pixel(x, y).0.map(u32::from);
        let [back_r, back_g, back_b] = background.map(u32::from);
        let over = |colour, back| ((colour * alpha + back * (255 - alpha) + 127) / 255) as u8;
        image::Rgb([over(r, back_r), over(g, back_g), over(b, back_b)])
    })
}

/// Whether a JPEG ends before its end marker. The decoder would fill up what is missing with grey.
fn is_cut_off_jpeg(bytes: &[u8]) -> bool {
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return false;
    }
    let mut rest = &bytes[2..];
    // The segments before the pixels, of which one may hold a whole small JPEG.
    loop {
        match *rest {
            [0xff, 0xff, ..] => rest = &rest[1..],
            [0xff, 0xda, ..] => break,
            [0xff, _, high, low, ..] => {
                let length = 2 + usize::from(u16::from_be_bytes([high, low]));
                let Some(after) = rest.get(length..) else {
                    return true;
                };
                rest = after;
            }
            [] | [0xff] | [0xff, _] | [0xff, _, _] => return true,
            // No segment: the decoder says what is wrong.
            _ => return false,
        }
    }
    !rest.windows(2).any(|pair| pair == [0xff, 0xd9])
}

/// The bucket of the nearest shape: the smallest distance of the logarithms of the aspect ratios, the first of several.
pub(crate) fn bucket([w, h]: [u32; 2], sizes: &[[usize; 2]]) -> usize {
    let ratio = |w: f64, h: f64| (w / h).ln();
    let own = ratio(f64::from(w), f64::from(h));
    let distance = |[w, h]: [usize; 2]| (ratio(w as f64, h as f64) - own).abs();
    let mut best = 0;
    for (i, size) in sizes.iter().enumerate() {
        if distance(*size) < distance(sizes[best]) {
            best = i;
        }
    }
    best
}

/// Whether an image is smaller than a bucket that it must cover.
pub(crate) fn is_small([w, h]: [u32; 2], [bucket_w, bucket_h]: [usize; 2]) -> bool {
    (w as usize) < bucket_w || (h as usize) < bucket_h
}

/// The middle of an image in the shape of a bucket, scaled to its size.
pub(crate) fn fit(image: &RgbImage, size: [usize; 2]) -> RgbImage {
    let [bucket_w, bucket_h] = size.map(|side| side as u32);
    let (w, h) = image.dimensions();
    let across = |length: u32, side: u32| f64::from(length) / f64::from(side);
    // Pixels of the image for each of the bucket.
    let scale = across(w, bucket_w).min(across(h, bucket_h));
    let part = |side: u32, length: u32| {
        let part = (f64::from(side) * scale).round() as u32;
        part.clamp(1, length)
    };
    let (part_w, part_h) = (part(bucket_w, w), part(bucket_h, h));
    let (left, top) = ((w - part_w) / 2, (h - part_h) / 2);
    let middle = imageops::crop_imm(image, left, top, part_w, part_h).to_image();
    // Through the dynamic image, whose code is compiled once, for speed.
    let middle = DynamicImage::ImageRgb8(middle);
    let fitted = middle.resize_exact(bucket_w, bucket_h, FilterType::Lanczos3);
    fitted.into_rgb8()
}

#[cfg(test)]
mod tests;
