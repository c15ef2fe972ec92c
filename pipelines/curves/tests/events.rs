//! Event files are read back with a reader of our own: lengths, checksums, fields.

use std::fs;
use std::path::Path;

use nextscale_curves::{CurvesError, EventWriter};

/// CRC-32C bit by bit, from its definition.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
        }
    }
    !crc
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The data of all records of a file.
fn records(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut records = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        let check = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        assert_eq!(check(8), masked(&rest[..8]), "checksum of a length");
        let data = &rest[12..12 + length];
        assert_eq!(check(12 + length), masked(data), "checksum of a record");
        records.push(data.to_vec());
        rest = &rest[16 + length..];
    }
    records
}

#[derive(Debug, Clone, PartialEq)]
enum Field {
    Integer(u64),
    Double(f64),
    Float(f32),
    Bytes(Vec<u8>),
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = rest[0];
        *rest = &rest[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(count);
    *rest = left;
    taken
}

/// The fields of a message with their numbers.
fn fields(mut rest: &[u8]) -> Vec<(u64, Field)> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let field = match key & 7 {
            0 => Field::Integer(varint(&mut rest)),
            1 => Field::Double(f64::from_le_bytes(take(&mut rest, 8).try_into().unwrap())),
            5 => Field::Float(f32::from_le_bytes(take(&mut rest, 4).try_into().unwrap())),
            2 => {
                let length = varint(&mut rest) as usize;
                Field::Bytes(take(&mut rest, length).to_vec())
            }
            kind => panic!("a field of kind {kind}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

fn inner(message: &[(u64, Field)], number: u64) -> Vec<(u64, Field)> {
    let found = message.iter().find(|(n, _)| *n == number);
    let Some((_, Field::Bytes(bytes))) = found else {
        panic!("no message {number} in {message:?}");
    };
    fields(bytes)
}

fn text(text: &str) -> Field {
    Field::Bytes(text.as_bytes().to_vec())
}

#[test]
fn the_checksum_is_crc_32c() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn scalars_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(folder.path(), 0).unwrap();
    let name = writer
        .path()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    assert!(name.starts_with("events.out.tfevents.1"), "{name}");
    assert!(
        name.ends_with(&format!(".{}", std::process::id())),
        "{name}"
    );
    let values = [("loss".to_owned(), 0.5), ("right.12".to_owned(), -3.25)];
    writer.write(300, 1e9 + 0.25, &values).unwrap();

    let records: Vec<_> = records(writer.path())
        .iter()
        .map(|data| fields(data))
        .collect();
    assert_eq!(records.len(), 3);
    assert!(records[0].contains(&(3, text("brain.Event:2"))));
    assert_eq!(records[1][1], (2, Field::Integer(0)));
    assert_eq!(inner(&records[1], 7), [(1, Field::Integer(1))], "a start");
    assert_eq!(records[2][0], (1, Field::Double(1e9 + 0.25)));
    assert_eq!(records[2][1], (2, Field::Integer(300)));
    let values = inner(&records[2], 5);
    let values: Vec<_> = values
        .iter()
        .map(|value| inner(std::slice::from_ref(value), 1))
        .collect();
    assert_eq!(values[0], [(1, text("loss")), (2, Field::Float(0.5))]);
    assert_eq!(values[1], [(1, text("right/12")), (2, Field::Float(-3.25))]);
}

#[test]
fn a_resumed_run_starts_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let first = EventWriter::create(folder.path(), 0).unwrap();
    let second = EventWriter::create(folder.path(), 300).unwrap();
    let third = EventWriter::create(folder.path(), 600).unwrap();
    assert!(first.path() < second.path() && second.path() < third.path());
    let start = fields(&records(second.path())[1]);
    assert_eq!(start[1], (2, Field::Integer(301)), "step 300 is kept");
    assert_eq!(inner(&start, 7), [(1, Field::Integer(1))]);
}

#[test]
fn images_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, 3, 2);
    encoder.set_color(png::ColorType::Rgb);
    let mut encoder = encoder.write_header().unwrap();
    encoder.write_image_data(&[7; 18]).unwrap();
    encoder.finish().unwrap();

    let mut writer = EventWriter::create(folder.path(), 0).unwrap();
    writer.write_image(5, 1e9, "samples", &png).unwrap();
    let event = fields(&records(writer.path())[2]);
    let value = inner(&inner(&event, 5), 1);
    assert_eq!(value[0], (1, text("samples")));
    let image = [
        (1, Field::Integer(2)),
        (2, Field::Integer(3)),
        (3, Field::Integer(3)),
        (4, Field::Bytes(png)),
    ];
    assert_eq!(inner(&value, 4), image);

    let error = writer
        .write_image(5, 1e9, "samples", b"GIF89a")
        .unwrap_err();
    assert!(matches!(error, CurvesError::Image { .. }), "{error}");
    assert!(error.to_string().contains("samples"), "{error}");
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let error = EventWriter::create(Path::new("/no/such/run"), 0).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot write /no/such/run/events.out"),
        "{error}"
    );
}
