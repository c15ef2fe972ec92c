//! Clips of videos, read by the caller's decoder.

use std::path::Path;

use image::RgbImage;
use nextscale_data::{DataKind, Dataset, ReadVideo, build_own, check_own};

use crate::{Place, captions, plain, skipped};

/// A file says how many frames it has; each has a colour of its own.
struct Counted;

impl ReadVideo for Counted {
    fn frames(&self, path: &Path, frames: usize, fps: f64) -> Result<Vec<RgbImage>, String> {
        assert_eq!(fps, 4.0);
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        let count: usize = text
            .trim()
            .parse()
            .map_err(|_| "it is damaged".to_owned())?;
        let frame = |i| plain(40, 20, [i as u8 * 10, count as u8, 0]);
        Ok((0..count.min(frames)).map(frame).collect())
    }
}

fn place(from: &str) -> Place {
    let mut place = Place::new(DataKind::Videos, from);
    place.recipe.size = None;
    place.recipe.sizes = Some(vec![[8, 8], [16, 8]]);
    place.recipe.frames = Some(3);
    place.recipe.fps = Some(4.0);
    for (name, text) in [("a", "5"), ("b", "2"), ("c", "3"), ("d", "?")] {
        place.write(&format!("in/{name}.mp4"), text);
        place.write(&format!("in/{name}.txt"), name);
    }
    place
}

fn build(place: &Place) -> Dataset {
    let (recipe, quiet) = (&place.recipe, |_: nextscale_data::Progress<'_>| {});
    let sizes = recipe.sizes().unwrap();
    build_own(recipe, &sizes, &recipe.out, false, &Counted, &quiet).unwrap();
    Dataset::load(&recipe.out).unwrap()
}

#[test]
fn clips_are_the_beginnings_of_videos() {
    let place = place("in");
    let set = build(&place);
    assert_eq!(captions(&set), [["a"], ["c"]]);
    assert_eq!((set.frames(), set.fps(), set.size_of(0)), (3, 4.0, [16, 8]));
    let clip = set.clip(1);
    for (i, frame) in clip.iter().enumerate() {
        assert_eq!(*frame, [i as u8 * 10, 3, 0].repeat(16 * 8));
    }
    assert_eq!((clip.len(), set.image(1, [0; 3])), (3, clip[0].to_vec()));
    let reasons = [
        "b.mp4: it has only 2 frames at 4 frames per second, but 3 are needed",
        "d.mp4: it is damaged",
    ];
    assert_eq!(skipped(set.manifest()), reasons);
    let sizes = place.recipe.sizes().unwrap();
    let report = check_own(&place.recipe, &sizes, &Counted, &|_| {}).unwrap();
    assert_eq!((report.usable, report.bytes), (2, 2 * 3 * 16 * 8 * 3));
    assert_eq!(report.buckets, [([8, 8], 0), ([16, 8], 2)]);
}

#[test]
fn a_table_may_name_the_videos() {
    let place = place("in/list.csv");
    place.write("in/list.csv", "path,caption\nc.mp4,see\n");
    assert_eq!(captions(&build(&place)), [["see"]]);
}

#[test]
fn without_a_decoder_no_video_can_be_used() {
    let error = place("in").error();
    assert!(
        error.contains("no video can be used, the first of 4 is")
            && error.contains("without a decoder"),
        "{error}"
    );
}

#[test]
fn a_disk_that_is_too_small_is_noticed_before() {
    let mut place = place("in");
    place.recipe.sizes = Some(vec![[4096, 4096]]);
    place.recipe.frames = Some(1000);
    for i in 0..2000 {
        place.write(&format!("in/many/{i}.mp4"), "3");
        place.write(&format!("in/many/{i}.txt"), "x");
    }
    let sizes = place.recipe.sizes().unwrap();
    let error = build_own(
        &place.recipe,
        &sizes,
        &place.recipe.out,
        false,
        &Counted,
        &|_| {},
    );
    let error = error.unwrap_err().to_string();
    // 2004 clips of 1000 frames of 48 MiB.
    assert!(error.contains("images.bin needs 96192000 MiB"), "{error}");
    assert!(!place.path("out").exists());
}
