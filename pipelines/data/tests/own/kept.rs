//! What stays the same when a set is built again, and when images are added.

use std::collections::BTreeMap;
use std::fs;

use nextscale_data::Dataset;

use crate::{Place, captions, files, png, skipped};

/// A folder with images of these numbers.
fn place(numbers: impl Iterator<Item = u8>) -> Place {
    let place = Place::folder();
    for number in numbers {
        add(&place, "", number);
    }
    place
}

fn add(place: &Place, folder: &str, number: u8) {
    place.write(&format!("in/{folder}{number:03}.png"), png(number));
    place.write(
        &format!("in/{folder}{number:03}.txt"),
        format!("number {number}"),
    );
}

/// Whether each image is held out, by its content.
fn held_out(set: &Dataset) -> BTreeMap<String, bool> {
    let entries = set.entries().iter();
    entries.map(|e| (e.sha256.clone(), e.held_out)).collect()
}

#[test]
fn the_content_decides_what_is_held_out() {
    let mut place = place(0..60);
    place.recipe.held_out = 0.3;
    let before = held_out(&place.build());
    let count = before.values().filter(|held_out| **held_out).count();
    assert!((8..=30).contains(&count), "{count} of 60");
    // Others are added in front, and one moves.
    (60..100).for_each(|number| add(&place, "0-first/", number));
    fs::rename(place.path("in/007.png"), place.path("in/zzz.png")).unwrap();
    fs::rename(place.path("in/007.txt"), place.path("in/zzz.txt")).unwrap();
    let after = held_out(&place.build());
    assert_eq!(after.len(), 100);
    for (image, held_out) in before {
        assert_eq!(after[&image], held_out);
    }
    place.recipe.held_out = 0.0;
    assert!(place.build().held_out_ids().is_empty());
}

#[test]
fn an_unchanged_set_is_not_built_again_and_a_rebuilt_one_is_the_same() {
    let mut place = place(0..5);
    place.build();
    let bytes = || {
        ["images.bin", "index.jsonl", "manifest.json"]
            .map(|n| fs::read(place.path("out").join(n)).unwrap())
    };
    let time = |place: &Place| {
        fs::metadata(place.path("out/manifest.json"))
            .unwrap()
            .modified()
            .unwrap()
    };
    let (first, built) = (bytes(), time(&place));
    place.build();
    assert_eq!(time(&place), built, "nothing to do");
    place.build_with(true).unwrap();
    assert_ne!(time(&place), built);
    assert_eq!(bytes(), first);

    // A damaged set, other files and another recipe are reasons to build.
    fs::write(place.path("out/images.bin"), b"short").unwrap();
    assert_eq!(place.build().len(), 5);
    place.write("in/003.txt", "another caption");
    assert_eq!(captions(&place.build())[3], ["another caption"]);
    place.recipe.size = Some(8);
    assert_eq!(place.build().size(), 8);
    fs::remove_file(place.path("in/000.png")).unwrap();
    assert_eq!(place.build().len(), 4);
}

#[test]
fn a_failed_build_leaves_the_old_set_and_other_files_alone() {
    let place = place(0..2);
    place.build();
    place.write("out/mine.txt", "keep");
    place.write("out/alpha.bin", "of an older set");
    for name in ["000", "001"] {
        place.write(&format!("in/{name}.png"), b"broken");
    }
    place.error();
    assert_eq!(Dataset::load(&place.path("out")).unwrap().len(), 2);
    add(&place, "", 3);
    assert_eq!(files(&place.build()), ["003.png"]);
    assert!(place.path("out/mine.txt").exists());
    assert!(!place.path("out/alpha.bin").exists());
    let names = fs::read_dir(place.path("out")).unwrap();
    assert_eq!(names.count(), 4, "{:?}", place.all_files());
}

#[test]
fn a_file_in_the_place_of_the_folder_is_an_error() {
    let place = place(0..2);
    place.write("out", "a file");
    let error = place.try_build().unwrap_err().to_string();
    assert!(error.contains("cannot write"), "{error}");
    assert_eq!(fs::read(place.path("out")).unwrap(), b"a file");
}

#[test]
fn the_same_image_is_kept_once_with_all_captions() {
    let place = Place::folder();
    for (name, number, caption) in [
        ("a", 1, "one"),
        ("b", 2, "two"),
        ("c", 1, "uno"),
        ("d", 1, "one"),
    ] {
        place.write(&format!("in/{name}.png"), png(number));
        place.write(&format!("in/{name}.txt"), caption);
    }
    let set = place.build();
    assert_eq!(files(&set), ["a.png", "b.png"]);
    assert_eq!(captions(&set), [vec!["one", "uno"], vec!["two"]]);
    let same = [
        "c.png: it is the same as a.png",
        "d.png: it is the same as a.png",
    ];
    assert_eq!(skipped(set.manifest()), same);
}

#[test]
fn the_same_image_in_two_classes_stays_in_the_first() {
    let place = Place::folder();
    for (name, number) in [("cat/1", 1), ("dog/1", 1), ("dog/2", 2)] {
        place.write(&format!("in/{name}.png"), png(number));
    }
    let set = place.build();
    assert_eq!(captions(&set), [["cat"], ["dog"]]);
    assert_eq!(
        skipped(set.manifest()),
        ["dog/1.png: it is the same as cat/1.png"]
    );
}

#[test]
fn sets_without_the_newer_keys_still_load() {
    let place = Place::folder();
    let manifest = r#"{"size":1,"count":1,"held_out":0,"styles":{"3d":1},"recipe":"r","files":{},"packages":[]}"#;
    place.write("old/manifest.json", manifest);
    place.write(
        "old/index.jsonl",
        r#"{"id":0,"name":"dot","style":"3d","synonyms":[],"category":"","flip":true,"held_out":false,"plain":true}"#,
    );
    place.write("old/images.bin", [1, 2, 3]);
    place.write("old/alpha.bin", [200]);
    let set = Dataset::load(&place.path("old")).unwrap();
    assert_eq!(
        (set.size(), set.sizes(), set.frames()),
        (1, &[[1, 1]][..], 1)
    );
    assert_eq!(set.caption(0), "dot, 3d style");
    assert_eq!(set.raw(0), (&[1, 2, 3][..], &[200][..]));
    let written = serde_json::to_string(set.manifest()).unwrap();
    assert_eq!(written, manifest, "what is not used is not written");
    let line = fs::read_to_string(place.path("old/index.jsonl")).unwrap();
    assert_eq!(serde_json::to_string(set.entry(0)).unwrap(), line);
}

#[test]
fn recipes_that_no_file_has_checked_are_checked() {
    let mut place = place(0..1);
    place.recipe.held_out = 2.0;
    assert!(place.error().contains("held_out must be"));
    place.recipe.held_out = 0.0;
    place.recipe.size = Some(9);
    assert!(place.error().contains("not 9x9"));
}
