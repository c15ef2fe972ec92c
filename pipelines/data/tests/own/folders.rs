//! Folders of images with captions or classes.

use image::ImageFormat;
use nextscale_data::{Labels, MissingCaptions, Small};

use crate::{Place, captions, colour, encoded, files, plain, png, skipped};

#[test]
fn text_files_are_the_captions_of_the_images_beside_them() {
    let place = Place::folder();
    place.write("in/a.png", png(1));
    place.write("in/a.txt", "\u{feff}a  red\tapple\n\nan apple\r\n");
    place.write(
        "in/sub/B.JPG",
        encoded(&plain(30, 40, [9; 3]), ImageFormat::Jpeg),
    );
    place.write("in/sub/B.caption", "ein Hund");
    place.write("in/.hidden/c.png", png(3));
    place.write("in/.hidden/c.txt", "no");
    place.write("in/notes.md", "no");
    let set = place.build();
    assert_eq!(files(&set), ["a.png", "sub/B.JPG"]);
    assert_eq!(
        captions(&set),
        [vec!["a red apple", "an apple"], vec!["ein Hund"]]
    );
    assert_eq!((set.size(), set.is_square(), set.frames()), (16, true, 1));
    assert_eq!(set.image(0, [0; 3]), colour(1).repeat(256));
    assert_eq!(set.raw(1).1, [255; 256]);
    assert!(set.classes().is_empty() && set.class(0).is_none());
    assert!(skipped(set.manifest()).is_empty());
    assert_eq!(set.entry(0).sha256.len(), 64);
    assert!(!place.path("out/alpha.bin").exists());
}

#[test]
fn folders_are_classes_if_there_is_no_caption() {
    let mut place = Place::folder();
    place.write("in/cat/1.png", png(1));
    place.write("in/cat/2.png", png(2));
    place.write("in/animals/dog/3.png", png(3));
    let set = place.build();
    assert_eq!(set.classes(), ["animals/dog", "cat"]);
    assert_eq!(set.class(0), Some(0));
    assert_eq!(set.manifest().styles["cat"], 2);
    assert_eq!(set.caption(1), "cat", "a class is a caption, too");

    // Somebody may want one of the two in a folder that has both.
    place.write("in/cat/1.txt", "a tabby");
    place.write("in/4.png", png(4));
    assert_eq!(captions(&place.build()), [["a tabby"]]);
    place.recipe.labels = Some(Labels::Classes);
    let set = place.build();
    assert_eq!(set.classes(), ["animals/dog", "cat"]);
    assert_eq!(captions(&set), [["animals/dog"], ["a tabby"], ["cat"]]);
    assert_eq!(skipped(set.manifest()), ["4.png: it has no class"]);
}

#[test]
fn an_image_lacks_a_caption() {
    let mut place = Place::folder();
    place.write("in/a.png", png(1));
    place.write("in/a.txt", "one");
    place.write("in/b.png", png(2));
    place.write("in/c.png", png(3));
    place.write("in/c.txt", " \n");
    let set = place.build();
    assert_eq!(files(&set), ["a.png"]);
    let reasons = ["b.png: it has no caption", "c.png: it has no caption"];
    assert_eq!(skipped(set.manifest()), reasons);

    place.recipe.missing_captions = MissingCaptions::Empty;
    let set = place.build();
    assert_eq!(captions(&set), [["one"], [""], [""]]);
    assert!(skipped(set.manifest()).is_empty());

    place.recipe.missing_captions = MissingCaptions::Error;
    std::fs::remove_dir_all(place.path("out")).unwrap();
    let error = place.error();
    assert!(
        error.contains("2 of 3 images without a caption, the first is b.png"),
        "{error}"
    );
}

#[test]
fn what_no_image_can_be_made_of_is_said_in_one_sentence() {
    let mut place = Place::folder();
    assert!(place.error().contains("there is no image (jpg, "));
    place.write("in/a.txt", "one");
    let error = place.error();
    assert!(error.contains("only 1 caption"), "{error}");
    place.write("in/b.png", png(1));
    let error = place.error();
    let advice = "no image has a caption: put NAME.txt beside NAME.jpg, or use labels: classes";
    assert!(error.ends_with(advice), "{error}");
    place.write("in/metadata.csv", "");
    assert!(place.error().contains("use kind: csv with from: "));
    place.recipe.labels = Some(Labels::Classes);
    assert!(place.error().contains("one folder per class"));
    place.recipe.from = vec![place.path("none").display().to_string()];
    assert!(place.error().contains("cannot read "));
}

#[test]
fn what_is_broken_is_left_out_and_named() {
    let place = Place::folder();
    let jpeg = encoded(&plain(64, 64, [9; 3]), ImageFormat::Jpeg);
    for (name, bytes) in [
        ("a.png", png(1)),
        ("b.jpg", jpeg[..jpeg.len() / 2].to_vec()),
        ("c.png", b"no image".to_vec()),
        ("d.png", png(2)),
        ("e.heic", vec![1]),
        ("f.png", png(3)),
    ] {
        place.write(&format!("in/{name}"), bytes);
        place.write(&format!("in/{}.txt", &name[..1]), name);
    }
    place.write("in/f.txt", b"caf\xe9");
    place.write("in/gone.txt", "nothing");
    let set = place.build();
    assert_eq!(files(&set), ["a.png", "d.png"]);
    assert_eq!(set.image(1, [0; 3]), colour(2).repeat(256));
    let skipped = skipped(set.manifest());
    for expected in [
        "e.heic: heic is not read, only jpg,",
        "f.txt: it is not UTF-8 text (at byte 3)",
        "b.jpg: the image is cut off",
        "c.png: it is not an image of a known format",
        "f.png: it has no caption",
        "e.txt: no image has its name",
        "gone.txt: no image has its name",
    ] {
        assert!(
            skipped.iter().any(|s| s.starts_with(expected)),
            "{expected}: {skipped:?}"
        );
    }
    assert_eq!(skipped.len(), 7);
}

#[test]
fn if_nothing_is_left_nothing_is_built() {
    let place = Place::folder();
    place.write("in/a.png", b"no image");
    place.write("in/a.txt", "one");
    let error = place.error();
    assert!(
        error.contains("no image can be used, the first of 1 is a.png"),
        "{error}"
    );
}

#[test]
fn every_image_goes_to_the_bucket_of_its_shape() {
    let mut place = Place::folder();
    place.recipe.size = None;
    place.recipe.sizes = Some(vec![[16, 16], [32, 16], [16, 32]]);
    for (name, w, h) in [("a", 40, 22), ("b", 20, 20), ("c", 10, 20)] {
        let image = encoded(&plain(w, h, [w as u8, h as u8, 7]), ImageFormat::Png);
        place.write(&format!("in/{name}.png"), image);
        place.write(&format!("in/{name}.txt"), name);
    }
    let set = place.build();
    let sizes: Vec<_> = (0..3).map(|i| set.size_of(i)).collect();
    assert_eq!(sizes, [[32, 16], [16, 16], [16, 32]]);
    assert_eq!((set.size(), set.is_square(), set.bucket(2)), (0, false, 2));
    for (i, colour) in [[40, 22, 7], [20, 20, 7], [10, 20, 7]]
        .into_iter()
        .enumerate()
    {
        let [w, h] = set.size_of(i);
        assert_eq!(set.image(i, [0; 3]), colour.repeat(w * h));
    }
    place.recipe.small = Small::Skip;
    let set = place.build();
    assert_eq!(files(&set), ["a.png", "b.png"]);
    let reason = "c.png: 10x20 pixels are less than the 16x32 of its bucket";
    assert_eq!(skipped(set.manifest()), [reason]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    let place = Place::folder();
    place.write("far/a.png", png(1));
    place.write("far/a.txt", "one");
    std::os::unix::fs::symlink(place.path("far"), place.path("in/near")).unwrap();
    std::os::unix::fs::symlink(place.path("in"), place.path("in/self")).unwrap();
    let set = place.build();
    assert_eq!(files(&set), ["near/a.png"]);
    let reason = "self: it is a link to a folder that it is in";
    assert_eq!(skipped(set.manifest()), [reason]);
}
