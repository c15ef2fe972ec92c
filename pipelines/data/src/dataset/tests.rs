//! Data sets of a few pixels.

use crate::dataset::Dataset;
use crate::entry::Entry;
use crate::manifest::Manifest;

/// An image of 2x2 pixels.
#[derive(Clone, Copy)]
pub(crate) struct Image {
    pub name: &'static str,
    pub style: &'static str,
    pub category: &'static str,
    pub rgb: [u8; 12],
    pub alpha: [u8; 4],
    pub held_out: bool,
}

/// A data set of these images.
pub(crate) fn small(images: &[Image]) -> (tempfile::TempDir, Dataset) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    };
    let manifest = Manifest {
        size: 2,
        count: images.len(),
        held_out: images.iter().filter(|image| image.held_out).count(),
        recipe: "r".into(),
        ..Manifest::default()
    };
    let lines = images.iter().enumerate().map(|(id, image)| {
        let entry = Entry {
            id,
            name: image.name.into(),
            style: image.style.into(),
            category: image.category.into(),
            held_out: image.held_out,
            ..Entry::default()
        };
        serde_json::to_string(&entry).unwrap() + "\n"
    });
    write("manifest.json", &serde_json::to_vec(&manifest).unwrap());
    write("index.jsonl", lines.collect::<String>().as_bytes());
    let rgb: Vec<u8> = images.iter().flat_map(|image| image.rgb).collect();
    let alpha: Vec<u8> = images.iter().flat_map(|image| image.alpha).collect();
    write("images.bin", &rgb);
    write("alpha.bin", &alpha);
    let set = Dataset::load(folder.path()).unwrap();
    (folder, set)
}

/// Opaque red, and nothing, which is held out.
fn tiny() -> (tempfile::TempDir, Dataset) {
    let red = Image {
        name: "dot",
        style: "3d",
        category: "Objects",
        rgb: [255, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0],
        alpha: [255; 4],
        held_out: false,
    };
    let nothing = Image {
        rgb: [0; 12],
        alpha: [0; 4],
        held_out: true,
        ..red
    };
    small(&[red, nothing])
}

#[test]
fn images_lie_on_the_background() {
    let (_folder, set) = tiny();
    assert_eq!(set.image(0, [0, 0, 255]), [255, 0, 0].repeat(4));
    assert_eq!(set.image(1, [0, 0, 255]), [0, 0, 255].repeat(4));
    assert_eq!((set.train_ids(), set.held_out_ids()), (vec![0], vec![1]));
}

#[test]
fn two_images_share_a_scene() {
    let (_folder, set) = tiny();
    // Image 0 is red, image 1 is empty: red on the left half alone, blue elsewhere.
    let left = set.pair(0, 1, [-1.0, 0.0], [0, 0, 255]);
    let (a, b) = (&left[..3], &left[3..6]);
    assert!(a[0] > 100 && b[0] < a[0], "{left:?}");
    assert_eq!(
        set.pair(1, 1, [0.0, 1.0], [0, 0, 255]),
        [0, 0, 255].repeat(4)
    );
    let two = set.several(0, 2, [0, 0, 255]);
    assert!(two[0] > 100 && two[3] > 100, "{two:?}");
    let other = set.pair(1, 0, [1.0, 0.0], [0, 0, 255]);
    assert_eq!(other, left, "the second one is where the first one is not");
}

#[test]
fn a_short_file_is_an_error_with_its_path() {
    let (folder, _) = tiny();
    std::fs::write(folder.path().join("alpha.bin"), [0u8; 7]).unwrap();
    let error = Dataset::load(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("alpha.bin") && error.contains("needs 8"),
        "{error}"
    );
}

/// Two clips of two frames: one of 2x1 pixels, one of 1x3.
#[test]
fn clips_of_several_sizes_are_read_from_where_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    };
    let manifest = Manifest {
        count: 2,
        sizes: vec![[1, 3], [2, 1]],
        frames: 2,
        fps: 8.0,
        opaque: true,
        ..Manifest::default()
    };
    let entry = |id, bucket| {
        let captions = vec![format!("clip {id}")];
        let entry = Entry {
            id,
            bucket,
            captions,
            ..Entry::default()
        };
        serde_json::to_string(&entry).unwrap()
            + "
"
    };
    write("manifest.json", &serde_json::to_vec(&manifest).unwrap());
    write("index.jsonl", (entry(0, 1) + &entry(1, 0)).as_bytes());
    let bytes: Vec<u8> = (0..2 * 2 * 3 + 2 * 3 * 3).collect();
    write("images.bin", &bytes);
    let set = Dataset::load(folder.path()).unwrap();
    assert_eq!((set.size(), set.frames(), set.fps()), (0, 2, 8.0));
    assert_eq!((set.size_of(0), set.size_of(1)), ([2, 1], [1, 3]));
    assert_eq!(set.clip(0), [&bytes[..6], &bytes[6..12]]);
    assert_eq!(set.clip(1), [&bytes[12..21], &bytes[21..]]);
    assert_eq!(set.raw(1), (&bytes[12..21], &[255; 3][..]));
    assert_eq!(set.picture(1, [0; 3]).dimensions(), (1, 3));
    assert_eq!(set.caption(1), "clip 1");

    write("index.jsonl", (entry(0, 1) + &entry(1, 2)).as_bytes());
    let error = Dataset::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("bucket 2"), "{error}");
}
