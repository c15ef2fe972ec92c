//! Files with wrong bytes in random places: something may be left out, but nothing may break.

use image::ImageFormat;
use nextscale_data::{DataKind, Labels, MissingCaptions};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::webdatasets::tar;
use crate::{Place, encoded, plain, png};

/// The bytes with some of them changed, left out or repeated.
fn changed(bytes: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes.truncate(at.max(1)),
            _ => bytes.insert(at, bytes[at]),
        }
    }
    bytes
}

/// How many images the sets of changed files have, 0 if there is none.
fn counts(place: &mut Place, name: &str, bytes: &[u8], times: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    place.recipe.missing_captions = MissingCaptions::Empty;
    place.recipe.labels = Some(Labels::Captions);
    let count = |_| {
        place.write(name, changed(bytes, &mut rng));
        match place.build_with(true) {
            Ok(_) => place.build().len(),
            Err(_) => 0,
        }
    };
    (0..times).map(count).collect()
}

/// Some changes must have been harmful, and some not.
fn check(counts: &[usize], most: usize) {
    let whole = counts.iter().filter(|&&count| count == most).count();
    assert!((1..counts.len()).contains(&whole), "{counts:?}");
    assert!(counts.iter().all(|&count| count <= most), "{counts:?}");
}

#[test]
fn wrong_bytes_in_images() {
    let image = plain(24, 24, [200, 30, 90]);
    let mut all = Vec::new();
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Tiff,
    ] {
        let bytes = encoded(&image, format);
        all.extend(counts(&mut Place::folder(), "in/a.png", &bytes, 60));
    }
    check(&all, 1);
}

#[test]
fn wrong_bytes_in_archives() {
    let images = [1, 2].map(png);
    let files: [(&str, &[u8]); 4] = [
        ("1.png", &images[0]),
        ("1.txt", b"one"),
        ("2.png", &images[1]),
        ("2.json", br#"{"text": "two"}"#),
    ];
    let mut place = Place::new(DataKind::Webdataset, "in/a.tar");
    let bytes = tar(&files, true);
    check(&counts(&mut place, "in/a.tar", &bytes, 200), 2);
}

#[test]
fn wrong_bytes_in_tables() {
    let lines = r#"{"file": "1.png", "text": "one"}
{"file": "2.png", "text": ["two"]}
"#;
    let table = "file,text\n1.png,\"one, uno\"\n2.png,two\n";
    for (kind, name, text) in [
        (DataKind::Jsonl, "in/a.jsonl", lines),
        (DataKind::Csv, "in/a.csv", table),
    ] {
        let mut place = Place::new(kind, name);
        place.write("in/1.png", png(1));
        place.write("in/2.png", png(2));
        check(&counts(&mut place, name, text.as_bytes(), 100), 2);
    }
}
