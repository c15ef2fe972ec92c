//! The text chunks of a PNG: before and after the pixels, plain, compressed and in Unicode.

use std::io::Read;

use flate2::read::ZlibDecoder;
use img_parts::png::Png;

/// Bytes of a compressed text that are read at most.
const LONGEST: u64 = 1 << 24;

/// All texts, in file order: keys and texts. A chunk that is damaged is left out.
///
/// # Errors
/// A file that is not a PNG, or is truncated.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<(String, String)>, img_parts::Error> {
    let png = Png::from_bytes(bytes.to_vec().into())?;
    let is_whole = png
        .chunks()
        .last()
        .is_some_and(|chunk| chunk.kind() == *b"IEND");
    if !is_whole {
        return Err(img_parts::Error::Truncated);
    }
    let chunks = png.chunks().iter();
    Ok(chunks
        .filter_map(|chunk| text(&chunk.kind(), chunk.contents()))
        .collect())
}

/// Key and text of a chunk, if it is one of text.
fn text(kind: &[u8; 4], contents: &[u8]) -> Option<(String, String)> {
    let (key, rest) = split_at_zero(contents)?;
    let text = match kind {
        b"tEXt" => latin(rest),
        b"zTXt" => latin(&inflated(rest.strip_prefix(&[0])?)?),
        b"iTXt" => international(rest)?,
        _ => return None,
    };
    Some((latin(key), text))
}

/// The text of an iTXt chunk after its key: whether it is compressed, how, a language, a translated key, the text.
fn international(contents: &[u8]) -> Option<String> {
    let [compressed, _method, rest @ ..] = contents else {
        return None;
    };
    let (_language, rest) = split_at_zero(rest)?;
    let (_translated_key, text) = split_at_zero(rest)?;
    let inflated = (*compressed == 1).then(|| inflated(text));
    match inflated {
        None => Some(String::from_utf8_lossy(text).into_owned()),
        Some(text) => Some(String::from_utf8_lossy(&text?).into_owned()),
    }
}

fn split_at_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn inflated(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = vec![];
    let mut decoder = ZlibDecoder::new(bytes).take(LONGEST);
    decoder.read_to_end(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::ZlibEncoder};
    use img_parts::png::PngChunk;

    use super::*;

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(vec![], Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// A PNG of one pixel with these chunks after its pixels.
    fn png(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(vec![]);
        let image = image::RgbImage::new(1, 1);
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        let mut png = Png::from_bytes(bytes.into_inner().into()).unwrap();
        let end = png.chunks().len() - 1;
        for (kind, contents) in chunks.iter().rev() {
            let chunk = PngChunk::new(**kind, contents.clone().into());
            png.chunks_mut().insert(end, chunk);
        }
        png.encoder().bytes().to_vec()
    }

    #[test]
    fn every_kind_of_text_is_read_also_after_the_pixels() {
        let bytes = png(&[
            (b"tEXt", b"a\0caf\xe9".to_vec()),
            (b"zTXt", [b"b\0\0", &zlib(b"caf\xe9")[..]].concat()),
            (b"iTXt", [b"c\0\0\0en\0\0", "\u{1f98a}".as_bytes()].concat()),
            (
                b"iTXt",
                [b"d\0\x01\0\0\0", &zlib("\u{1f98a}".as_bytes())[..]].concat(),
            ),
            (b"zTXt", b"e\0\0broken".to_vec()),
            (b"iTXt", b"f\0\x01".to_vec()),
            (b"tEXt", b"no key".to_vec()),
            (b"tEXt", b"a\0again".to_vec()),
        ]);
        let found = read(&bytes).unwrap();
        let wanted = [
            ("a", "caf\u{e9}"),
            ("b", "caf\u{e9}"),
            ("c", "\u{1f98a}"),
            ("d", "\u{1f98a}"),
            ("a", "again"),
        ];
        assert_eq!(
            found,
            wanted.map(|(key, text)| (key.to_owned(), text.to_owned()))
        );
        assert!(read(&bytes[..bytes.len() - 9]).is_err());
        assert!(read(b"\x89PNG\r\n\x1a\n").is_err());
    }

    #[test]
    fn a_text_that_swells_is_cut() {
        let bytes = png(&[(
            b"zTXt",
            [b"b\0\0", &zlib(&vec![b'a'; 1 << 25])[..]].concat(),
        )]);
        assert_eq!(read(&bytes).unwrap()[0].1.len() as u64, LONGEST);
    }
}
