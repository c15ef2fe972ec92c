//! Reading image files: within limits, upright, and on white where they are transparent.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek, SeekFrom};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, RgbImage};

use nextscale_files::bounded;

use crate::error::PipelineError;

/// Pixels of the largest image that is read: a scan of 20,000 x 16,000.
const MOST_PIXELS: u64 = 320_000_000;
/// Bytes of its pixels: 8 bits for each of four colours.
const MOST_BYTES: u64 = 4 * MOST_PIXELS;

/// Containers of images that are not read, by the brand after `ftyp`, and their names.
const UNREAD_BRANDS: [(&[u8], &str); 7] = [
    (b"heic", "HEIC"),
    (b"heix", "HEIC"),
    (b"hevc", "HEIC"),
    (b"mif1", "HEIF"),
    (b"msf1", "HEIF"),
    (b"avif", "AVIF"),
    (b"avis", "AVIF"),
];

/// Reads an image as 8-bit RGB: PNG, JPEG, WebP, TIFF or GIF, of animations the first frame. It is rotated as its EXIF data
/// say, transparent parts lie on white, 16 bits are rounded to 8, grey and CMYK become RGB. Gamma and colour profiles are
/// ignored.
///
/// # Errors
/// A file that cannot be read, is not such an image, is too large, or is truncated.
pub fn read_image(path: &Path) -> Result<RgbImage, PipelineError> {
    read_with_alpha(path).map(on_white)
}

/// As [`read_image`], with the alpha channel if there is one.
pub(crate) fn read_with_alpha(path: &Path) -> Result<DynamicImage, PipelineError> {
    let source = open(path).map_err(PipelineError::io("read", path))?;
    decode(source).map_err(|flaw| PipelineError::content(path, flaw.message, Some(flaw.hint)))
}

trait Source: BufRead + Seek {}

impl<T: BufRead + Seek> Source for T {}

/// A file, or the content of a pipe or a device, where decoders cannot seek.
fn open(path: &Path) -> std::io::Result<Box<dyn Source>> {
    if std::fs::metadata(path)?.is_file() {
        return Ok(Box::new(BufReader::new(File::open(path)?)));
    }
    let bytes = bounded::read(path, bounded::MOST_IMAGE)?;
    Ok(Box::new(Cursor::new(bytes)))
}

/// Why a file is not read as an image.
struct Flaw {
    message: String,
    hint: &'static str,
}

impl From<ImageError> for Flaw {
    fn from(error: ImageError) -> Self {
        Self {
            message: format!("is not a readable image: {}", error.to_string().trim()),
            hint: "use PNG, JPEG, WebP, TIFF or GIF",
        }
    }
}

impl From<std::io::Error> for Flaw {
    fn from(error: std::io::Error) -> Self {
        ImageError::IoError(error).into()
    }
}

fn decode(mut reader: Box<dyn Source>) -> Result<DynamicImage, Flaw> {
    if let Some(name) = unread_format(reader.fill_buf()?) {
        return Err(Flaw {
            message: format!("is a {name} image, which is not read"),
            hint: "convert it to PNG or JPEG first",
        });
    }
    if claims_more_exif_than_it_has(&mut *reader)? {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    // The size is checked here, before a decoder takes memory for it.
    let mut reader = ImageReader::new(reader).with_guessed_format()?;
    reader.no_limits();
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MOST_PIXELS || decoder.total_bytes() > MOST_BYTES {
        return Err(Flaw {
            message: format!("is too large: {width}x{height} pixels"),
            hint: "scale it down first: up to 320 million pixels are read, or 160 million with 16 bits a colour",
        });
    }
    // A frame may claim another size than the image.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MOST_BYTES);
    decoder.set_limits(limits)?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Whether it is a WebP with EXIF data that are longer than the file: the decoder would take memory for all of them.
fn claims_more_exif_than_it_has(reader: &mut dyn Source) -> std::io::Result<bool> {
    let length = reader.seek(SeekFrom::End(0))?;
    reader.rewind()?;
    let is_webp = reader.fill_buf()?.get(8..12) == Some(b"WEBP");
    let (mut at, mut found) = (12, false);
    reader.seek_relative(12)?;
    while is_webp && !found && at + 8 <= length {
        let (mut kind, mut size) = ([0; 4], [0; 4]);
        reader.read_exact(&mut kind)?;
        reader.read_exact(&mut size)?;
        let size = u64::from(u32::from_le_bytes(size));
        found = &kind == b"EXIF" && size > length;
        let rest = size + size % 2;
        reader.seek_relative(rest as i64)?;
        at += 8 + rest;
    }
    reader.rewind()?;
    Ok(found)
}

/// The name of an image format that is recognised, and not read.
fn unread_format(start: &[u8]) -> Option<&'static str> {
    let kind = start.get(4..8)?;
    if start.starts_with(b"\xff\x0a") || kind == b"JXL " {
        return Some("JPEG XL");
    }
    let brand = start.get(8..12).filter(|_| kind == b"ftyp")?;
    let found = UNREAD_BRANDS.iter().find(|(known, _)| *known == brand);
    found.map(|(_, name)| *name)
}

/// An image as RGB, transparent parts on white.
pub(crate) fn on_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    let blend = |c: u8, alpha: u8| {
        let (c, alpha) = (u32::from(c), u32::from(alpha));
        ((c * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, alpha] = rgba.get_pixel(x, y).0;
        image::Rgb([r, g, b].map(|c| blend(c, alpha)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, bytes: &[u8]) -> Result<RgbImage, PipelineError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read_image(&path)
    }

    /// A PNG of one chunk after its header: `width` x `height` pixels of 8-bit RGBA, and no data.
    fn claim(width: u32, height: u32) -> Vec<u8> {
        claim_with(8, width, height)
    }

    /// The same with other bits a colour.
    fn claim_with(bits: u8, width: u32, height: u32) -> Vec<u8> {
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut header = b"IHDR".to_vec();
        header.extend(width.to_be_bytes());
        header.extend(height.to_be_bytes());
        header.extend([bits, 6, 0, 0, 0]);
        for chunk in [&header[..], b"IDAT", b"IEND"] {
            png.extend((chunk.len() as u32 - 4).to_be_bytes());
            png.extend(chunk);
            let mut crc = flate2::Crc::new();
            crc.update(chunk);
            png.extend(crc.sum().to_be_bytes());
        }
        png
    }

    #[test]
    fn a_bomb_is_refused_before_memory_is_taken() {
        for (w, h) in [(100_000, 100_000), (1 << 30, 1 << 30), (20_000, 16_001)] {
            let error = read("bomb.png", &claim(w, h)).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("is too large: {w}x{h} pixels")),
                "{error}"
            );
        }
        let deep = read("deep.png", &claim_with(16, 20_000, 8_001)).unwrap_err();
        assert!(deep.to_string().contains("is too large"), "{deep}");
        assert!(read("cut.png", &claim(8, 8)).is_err());
    }

    #[test]
    fn a_frame_that_claims_more_than_its_image_is_refused() {
        let image = RgbImage::new(24, 16);
        let mut bytes = std::io::Cursor::new(vec![]);
        image.write_to(&mut bytes, image::ImageFormat::Gif).unwrap();
        let mut bytes = bytes.into_inner();
        let frame = bytes
            .windows(9)
            .position(|w| w == [0x2c, 0, 0, 0, 0, 24, 0, 16, 0])
            .unwrap();
        bytes[frame + 5..frame + 9].fill(0xff);
        assert!(read("swollen.gif", &bytes).is_err());
    }

    #[test]
    fn formats_that_are_not_read_are_named() {
        for (start, name) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0"[..], "HEIC"),
            (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF"),
            (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        ] {
            let error = read("photo.png", start).unwrap_err().to_string();
            assert!(error.contains(&format!("is a {name} image")), "{error}");
        }
        let error = read("a.png", b"hello").unwrap_err().to_string();
        assert!(error.contains("is not a readable image"), "{error}");
    }

    #[test]
    fn every_format_gives_the_same_pixels() {
        use image::{ImageFormat, Rgb};
        let image = RgbImage::from_fn(16, 8, |x, _| {
            Rgb(if x < 8 { [250, 10, 20] } else { [0, 0, 255] })
        });
        for format in [
            ImageFormat::Png,
            ImageFormat::Tiff,
            ImageFormat::Gif,
            ImageFormat::WebP,
        ] {
            let mut bytes = std::io::Cursor::new(vec![]);
            image.write_to(&mut bytes, format).unwrap();
            let found = read("x", bytes.get_ref()).unwrap();
            assert_eq!(found, image, "{format:?}");
        }
    }
}
