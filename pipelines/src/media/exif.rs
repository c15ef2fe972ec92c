//! Texts in the EXIF data of images: as A1111, ComfyUI and their kin write them into JPEG and WebP, and the pipeline.

use std::io::Cursor;

use exif::{Context, Field, In, Tag, Value, experimental::Writer};
use img_parts::{Bytes, DynImage, ImageEXIF};

/// Whose maker note it is, in front of the pipeline.
const MAKER: &[u8] = b"nextscale\0";
/// The encodings of a user comment, by its first eight bytes.
const UNICODE: &[u8] = b"UNICODE\0";
const ASCII: &[u8] = b"ASCII\0\0\0";
/// Longest EXIF data: that of a JPEG, which has 16 bits for it.
const LONGEST: usize = 65_000;

/// The texts of a JPEG, WebP or PNG: the user comment as `parameters`, the pipeline as `pipeline_key`, and every other
/// text under the name of its field. None if there is no EXIF data, or it is damaged.
pub(super) fn read(bytes: &[u8], pipeline_key: &str) -> Vec<(String, String)> {
    let container = DynImage::from_bytes(bytes.to_vec().into()).ok().flatten();
    let Some(data) = container.and_then(|image| image.exif()) else {
        return vec![];
    };
    let read = exif::Reader::new().read_raw(data.to_vec());
    let Ok(data) = read else {
        return vec![];
    };
    let named = |field: &Field| text(field, pipeline_key);
    data.fields().filter_map(named).collect()
}

fn text(field: &Field, pipeline_key: &str) -> Option<(String, String)> {
    let Tag(Context::Tiff | Context::Exif, _) = field.tag else {
        return None;
    };
    match (&field.value, field.tag) {
        (Value::Undefined(bytes, _), Tag::UserComment) => {
            Some(("parameters".to_owned(), comment(bytes)))
        }
        (Value::Undefined(bytes, _), Tag::MakerNote) => {
            let text = String::from_utf8_lossy(bytes.strip_prefix(MAKER)?);
            Some((pipeline_key.to_owned(), text.into_owned()))
        }
        (Value::Ascii(parts), tag) => {
            let text = String::from_utf8_lossy(parts.first()?).into_owned();
            // ComfyUI writes `workflow:{..}` into fields that are meant for cameras.
            match text.split_once(':') {
                Some((key @ ("workflow" | "prompt"), json)) => {
                    Some((key.to_owned(), json.trim().to_owned()))
                }
                _ => Some((tag.to_string(), text)),
            }
        }
        _ => None,
    }
}

/// The text of a user comment.
fn comment(bytes: &[u8]) -> String {
    if let Some(text) = bytes.strip_prefix(UNICODE) {
        return utf_16(text);
    }
    let text = bytes.strip_prefix(ASCII).unwrap_or(bytes);
    let text = String::from_utf8_lossy(text);
    text.trim_end_matches('\0').to_owned()
}

/// UTF-16 of either byte order: most texts have a zero in the upper byte of their letters.
fn utf_16(bytes: &[u8]) -> String {
    let zeros = |from: usize| {
        bytes
            .iter()
            .skip(from)
            .step_by(2)
            .filter(|&&b| b == 0)
            .count()
    };
    let is_little = bytes.starts_with(&[0xff, 0xfe]) || zeros(1) > zeros(0);
    let pairs = bytes.chunks_exact(2).map(|pair| match pair {
        [a, b] if is_little => u16::from_le_bytes([*a, *b]),
        pair => u16::from_be_bytes([pair[0], pair[1]]),
    });
    let units: Vec<u16> = pairs.collect();
    let text = String::from_utf16_lossy(&units);
    text.trim_matches(['\0', '\u{feff}']).to_owned()
}

/// A JPEG or WebP with its parameters as a user comment, as A1111 writes it, and the pipeline as a maker note.
///
/// # Errors
/// Texts that are too long for the format, or a container that takes none.
pub(super) fn write(image: Vec<u8>, parameters: &str, pipeline: &str) -> Result<Vec<u8>, String> {
    let units = parameters.encode_utf16().flat_map(u16::to_be_bytes);
    let comment: Vec<u8> = UNICODE.iter().copied().chain(units).collect();
    let note = [MAKER, pipeline.as_bytes()].concat();
    let field = |tag, bytes| Field {
        tag,
        ifd_num: In::PRIMARY,
        value: Value::Undefined(bytes, 0),
    };
    let fields = [
        field(Tag::UserComment, comment),
        field(Tag::MakerNote, note),
    ];
    let mut writer = Writer::new();
    fields.iter().for_each(|field| writer.push_field(field));
    let mut data = Cursor::new(vec![]);
    writer.write(&mut data, false).map_err(|e| e.to_string())?;
    let data = data.into_inner();
    if data.len() > LONGEST {
        return Err(format!(
            "{} bytes of metadata, and it holds {LONGEST}",
            data.len()
        ));
    }
    let container = DynImage::from_bytes(image.into()).map_err(|e| e.to_string())?;
    let mut container = container.ok_or("a container without metadata")?;
    container.set_exif(Some(Bytes::from(data)));
    Ok(container.encoder().bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, RgbImage};

    use super::*;

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![]);
        RgbImage::new(8, 8).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn texts_come_back_from_jpeg_and_webp() {
        for format in [ImageFormat::Jpeg, ImageFormat::WebP] {
            let plain = encoded(format);
            assert!(read(&plain, "nextscale").is_empty());
            let text = "a \u{1f98a}, caf\u{e9}\nSteps: 3, CFG scale: \"1,2\"";
            let bytes = write(plain, text, "stages: {}\n").unwrap();
            let mut found = read(&bytes, "nextscale");
            found.sort();
            assert_eq!(
                found[0],
                ("nextscale".to_owned(), "stages: {}\n".to_owned())
            );
            assert_eq!(found[1], ("parameters".to_owned(), text.to_owned()));
            let image = image::load_from_memory(&bytes).unwrap();
            assert_eq!((image.width(), image.height()), (8, 8));
            assert!(write(bytes, &"a".repeat(70_000), "").is_err());
        }
    }

    #[test]
    fn comments_of_other_programs_are_read() {
        let of = |prefix: &[u8], text: &[u8]| comment(&[prefix, text].concat());
        assert_eq!(of(UNICODE, b"\0a\0b"), "ab");
        assert_eq!(of(UNICODE, b"a\0b\0"), "ab");
        assert_eq!(of(UNICODE, b"\xff\xfea\0"), "a");
        assert_eq!(of(ASCII, b"ab\0\0"), "ab");
        assert_eq!(of(b"", b"caf\xc3\xa9"), "caf\u{e9}");
        assert_eq!(of(UNICODE, b"a"), "");
    }
}
