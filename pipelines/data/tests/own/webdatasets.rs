//! Tar archives of images with their captions.

use std::path::Path;

use nextscale_data::DataKind;

use crate::{Place, captions, colour, files, png, skipped};

/// An archive of files; without its end unless `whole`.
pub(crate) fn tar(files: &[(&str, &[u8])], whole: bool) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, Path::new(name), *bytes)
            .unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    let end = bytes.len() - if whole { 0 } else { 1024 };
    bytes[..end].to_vec()
}

fn place(archives: &[(&str, Vec<u8>)]) -> Place {
    let place = Place::new(DataKind::Webdataset, "in/*.tar");
    for (name, bytes) in archives {
        place.write(&format!("in/{name}.tar"), bytes);
    }
    place
}

#[test]
fn files_with_the_same_name_belong_together() {
    let (one, two, three) = (png(1), png(2), png(3));
    let first = tar(
        &[
            ("./x/0001.png", &one),
            ("./x/0001.txt", b"one\nuno"),
            ("./x/0001.json", b"{\"caption\": \"not this\"}"),
            ("0002.json", b"{\"key\": 2, \"caption\": \"two\"}"),
            ("0002.large.PNG", &two),
            ("0003.txt", b"no image"),
            ("._0001.png", b"junk"),
            ("0004.png", &one[..40]),
            ("0004.txt", b"broken"),
            ("0005.json", b"{"),
        ],
        true,
    );
    let second = tar(
        &[
            ("0001.png", &three),
            ("0001.json", b"{\"prompt\": [\"three\"]}"),
        ],
        true,
    );
    let set = place(&[("a", first), ("b", second)]).build();
    assert_eq!(
        files(&set),
        ["a.tar/x/0001.png", "a.tar/0002.large.PNG", "b.tar/0001.png"]
    );
    assert_eq!(
        captions(&set),
        [vec!["one", "uno"], vec!["two"], vec!["three"]]
    );
    for (i, number) in [(0, 1), (1, 2), (2, 3)] {
        assert_eq!(set.image(i, [0; 3]), colour(number).repeat(256));
    }
    let skipped = skipped(set.manifest());
    assert_eq!(skipped.len(), 3, "{skipped:?}");
    assert!(
        skipped[0].starts_with("a.tar/0005.json: it is not JSON"),
        "{skipped:?}"
    );
    assert!(
        skipped[1].starts_with("a.tar/0004.png: the image is damaged"),
        "{skipped:?}"
    );
    assert_eq!(skipped[2], "a.tar/0003: no image has its name");
}

#[test]
fn classes_stand_in_cls_files() {
    let (one, two) = (png(1), png(2));
    let archive = tar(
        &[
            ("1.png", &one),
            ("1.cls", b"7\n"),
            ("2.png", &two),
            ("2.cls", b"12"),
        ],
        true,
    );
    let set = place(&[("a", archive)]).build();
    assert_eq!(set.classes(), ["7", "12"]);
}

#[test]
fn of_an_archive_that_is_cut_off_the_rest_is_used() {
    let (one, two) = (png(1), png(2));
    let files: [(&str, &[u8]); 4] = [
        ("1.png", &one),
        ("1.txt", b"one"),
        ("2.png", &two),
        ("2.txt", b"two"),
    ];
    let whole = tar(&files, true);
    let reason = ["a.tar: the archive is cut off: what is whole is used"];
    // In the header of the last text, in the second image, and before the end.
    let image = 512 + one.len().next_multiple_of(512);
    let second = image + 1024 + 512;
    for (length, expected) in [
        (second + two.len().next_multiple_of(512) + 100, 1),
        (second + 20, 1),
        (whole.len() - 1024, 2),
    ] {
        let set = place(&[("a", whole[..length].to_vec())]).build();
        assert_eq!(set.len(), expected, "{length}");
        assert_eq!(skipped(set.manifest()), reason);
    }
    assert_eq!(tar(&files, false).len(), whole.len() - 1024);
    let error = place(&[("a", whole[..600].to_vec())]).error();
    assert!(error.contains("a.tar: the archive is cut off"), "{error}");
}

#[test]
fn what_is_no_archive_is_said() {
    let error = place(&[("a", b"hello ".repeat(200))]).error();
    assert!(
        error.contains("a.tar: this is not a tar archive"),
        "{error}"
    );
    let error = place(&[("a", vec![0x1f, 0x8b, 8, 0])]).error();
    assert!(error.contains("unpack it with gunzip"), "{error}");
    let error = place(&[("a", tar(&[("a.txt", b"alone")], true))]).error();
    assert!(error.contains("only 1 caption"), "{error}");
    let png = png(1);
    let error = place(&[("a", tar(&[("a.png", &png)], true))]).error();
    assert!(error.contains("into the archives"), "{error}");
    let mut missing = place(&[]);
    missing.recipe.from = vec![missing.path("in/{0..1}.tar").display().to_string()];
    assert!(missing.error().contains("in/0.tar"));
}

#[test]
fn archives_are_downloaded_once() {
    let one = png(1);
    let mut place = place(&[("a", tar(&[("1.png", &one), ("1.txt", b"one")], true))]);
    let address = format!("file://{}", place.path("in/{a,b}.tar").display());
    place.recipe.from = vec![address];
    let error = place.error();
    assert!(
        error.contains("a folder for downloads is needed"),
        "{error}"
    );
    place.recipe.cache = Some(place.path("cache"));
    let error = place.try_build().unwrap_err().to_string();
    assert!(
        error.starts_with("cannot download file://") && error.contains("b.tar"),
        "{error}"
    );
    assert!(!place.path("out").exists());
    std::fs::rename(place.path("in/a.tar"), place.path("in/b.tar")).unwrap();
    let set = place.build();
    // The first one is still in the cache, and both hold the same image.
    assert_eq!(captions(&set), [["one"]]);
    assert_eq!(set.manifest().skipped_count, 1);
    let first = std::fs::read_dir(place.path("cache")).unwrap();
    assert_eq!(first.count(), 2);
}
