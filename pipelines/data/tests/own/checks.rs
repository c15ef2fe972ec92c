//! Reports on files before a set is built.

use image::ImageFormat;
use nextscale_data::{CaptionCounts, ImageSizes, contact_sheet};

use crate::{Place, encoded, plain, png};

#[test]
fn a_report_says_what_a_set_would_hold() {
    let mut place = Place::folder();
    place.recipe.size = None;
    place.recipe.sizes = Some(vec![[16, 16], [32, 16]]);
    place.recipe.held_out = 0.9;
    for (name, bytes, caption) in [
        ("a", png(1), "a dog"),
        (
            "b",
            encoded(&plain(8, 8, [1; 3]), ImageFormat::Png),
            "one two three four",
        ),
        (
            "c",
            encoded(&plain(400, 200, [2; 3]), ImageFormat::Png),
            "a dog",
        ),
        ("d", png(1), "a dog"),
        ("e", b"broken".to_vec(), "a dog"),
        ("f", png(6), ""),
    ] {
        place.write(&format!("in/{name}.png"), bytes);
        place.write(&format!("in/{name}.txt"), caption);
    }
    place.write("in/g.txt", "alone");
    let report = place.check();
    assert_eq!((report.found, report.usable), (6, 3));
    assert_eq!(report.without_caption, ["f.png"]);
    assert_eq!(report.captions_without_image, ["g.txt"]);
    assert_eq!(report.unreadable[0].file, "e.png");
    assert_eq!(report.duplicates, [["a.png", "d.png"]]);
    assert_eq!(report.upscaled, ["b.png"]);
    assert_eq!(report.buckets, [([16, 16], 2), ([32, 16], 1)]);
    assert_eq!(report.bytes, (2 * 256 + 512) * 3);
    let expected = CaptionCounts {
        count: 3,
        least_words: 2,
        median_words: 2,
        most_words: 4,
        empty: 0,
        distinct: 2,
    };
    assert_eq!(report.captions, expected);
    let expected = ImageSizes {
        smallest: [8, 8],
        median: [20, 20],
        largest: [400, 200],
    };
    assert_eq!(report.originals, expected);
    assert!(report.classes.is_empty());
    let captions: Vec<&str> = report
        .samples
        .iter()
        .map(|(text, _)| text.as_str())
        .collect();
    assert_eq!(captions, ["a dog", "one two three four", "a dog"]);
    let set = place.build();
    assert_eq!((set.len(), set.held_out_ids().len()), (3, report.held_out));
    let size = std::fs::metadata(place.path("out/images.bin"))
        .unwrap()
        .len();
    assert_eq!(size, report.bytes);
}

#[test]
fn samples_are_spread_over_the_set() {
    let place = Place::folder();
    for number in 0..120 {
        place.write(&format!("in/{}/{number:03}.png", number % 2), png(number));
    }
    let report = place.check();
    assert_eq!(
        report.classes.into_iter().collect::<Vec<_>>(),
        [("0".to_owned(), 60), ("1".to_owned(), 60)]
    );
    assert_eq!(report.samples.len(), 24);
    let ones = report
        .samples
        .iter()
        .filter(|(text, _)| text == "1")
        .count();
    assert_eq!(ones, 12);
    let images: Vec<_> = report.samples.into_iter().map(|(_, image)| image).collect();
    let path = place.path("sheet.png");
    contact_sheet::save_fitted(&images, 10, 6, &path).unwrap();
    assert_eq!(
        image::image_dimensions(&path).unwrap(),
        (6 * 14 + 4, 4 * 14 + 4)
    );
}
