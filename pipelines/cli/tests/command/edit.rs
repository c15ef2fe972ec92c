//! Editing pictures.

use std::path::{Path, PathBuf};

use image::{ImageBuffer, Luma, Rgb, RgbImage, Rgba};

use crate::Place;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/pictures")
        .join(name)
}

/// Edits with the tiny text model and further arguments; gives back the result.
fn edit(place: &Place, image: &str, more: &str) -> RgbImage {
    let first = "edit -m @tiny -p 'a red house' -s 1 -o x.png";
    place.good(&format!("{first} -i {image} {more}"));
    place.image("x.png")
}

/// Saves [`gradient`] as `a.png` in a new place.
fn place() -> Place {
    let place = Place::new();
    gradient().save(place.path("a.png")).unwrap();
    place
}

/// A picture of the tiny model's size with a colour at every place.
fn gradient() -> RgbImage {
    RgbImage::from_fn(16, 16, |x, y| Rgb([x as u8 * 16, y as u8 * 16, 90]))
}

#[test]
fn the_original_stays_exactly_where_it_is_kept() {
    let place = place();
    let edited = edit(&place, "a.png", "--box 0,0,50%,100% --keep-original");
    let original = gradient();
    let changed = edited
        .enumerate_pixels()
        .filter(|(x, y, pixel)| original.get_pixel(*x, *y) != *pixel);
    let changed: Vec<u32> = changed.map(|(x, ..)| x).collect();
    assert!(
        !changed.is_empty() && changed.iter().all(|&x| x < 8),
        "{changed:?}"
    );
    // The same by a mask, and by the inverted mask of the other half.
    let mask = |left: u8, right: u8| {
        ImageBuffer::from_fn(16, 16, |x, _| Luma([if x < 8 { left } else { right }]))
    };
    mask(255u8, 0).save(place.path("left.png")).unwrap();
    mask(0u8, 255).save(place.path("right.png")).unwrap();
    let by_mask = edit(&place, "a.png", "--mask left.png --keep-original");
    let inverted = "--mask right.png --invert --keep-original";
    assert_eq!(by_mask, edited);
    assert_eq!(edit(&place, "a.png", inverted), edited);
}

#[test]
fn the_prompt_and_the_seed_matter_only_where_it_is_painted() {
    let place = place();
    let one = edit(&place, "a.png", "--box 0,0,8,16");
    place.good("edit -m @tiny -i a.png -p 'a cat' -s 2 -o y.png --box 0,0,8,16");
    let two = place.image("y.png");
    let differ = |range: std::ops::Range<u32>| -> f64 {
        let pairs = range.flat_map(|x| (0..16).map(move |y| (x, y)));
        let off = pairs.map(|(x, y)| {
            let (a, b) = (one.get_pixel(x, y).0, two.get_pixel(x, y).0);
            a.iter()
                .zip(b)
                .map(|(a, b)| f64::from(a.abs_diff(b)))
                .sum::<f64>()
        });
        off.sum()
    };
    let (left, right) = (differ(0..8), differ(12..16));
    assert!(left > 2.0 * right, "{left} {right}");
}

#[test]
fn pictures_are_continued() {
    let place = place();
    let more = "-W 24 -H 16 --outpaint 'left 0.333' --keep-original";
    let wider = edit(&place, "a.png", more);
    assert_eq!(wider.dimensions(), (24, 16));
    assert!((0..16).all(|x| wider.get_pixel(x + 8, 3) == gradient().get_pixel(x, 3)));
}

#[test]
fn classes_edit_too_and_the_edit_repaints_itself() {
    let place = place();
    let first = "edit -m @classes -i a.png --class cat -s 1 -o x.png";
    place.good(&format!("{first} --box 4,4,8,8 --keep-original"));
    place.good("run x.png --trust --set output=again.png");
    let edited = place.image("x.png");
    assert_eq!(edited, place.image("again.png"));
    assert_eq!(edited.get_pixel(0, 0), gradient().get_pixel(0, 0));
}

#[test]
fn every_kind_of_picture_is_read_as_documented() {
    let place = Place::new();
    let kept = |image: &str| edit(&place, image, "--box 45%,45%,10%,10% --keep-original");
    // Transparent parts lie on white.
    let alpha = ImageBuffer::from_fn(16, 16, |x, _| {
        Rgba([200u8, 0, 0, if x < 8 { 255 } else { 0 }])
    });
    alpha.save(place.path("alpha.png")).unwrap();
    let seen = kept("alpha.png");
    assert_eq!(
        (seen.get_pixel(0, 0).0, seen.get_pixel(15, 0).0),
        ([200, 0, 0], [255, 255, 255])
    );
    // 16 bits become 8.
    let deep = ImageBuffer::from_fn(16, 16, |_, _| Rgb([65535u16, 32768, 0]));
    deep.save(place.path("deep.png")).unwrap();
    assert_eq!(kept("deep.png").get_pixel(0, 0).0, [255, 128, 0]);
    // Grey becomes RGB, and a picture of one pixel is scaled up.
    let dot = ImageBuffer::from_pixel(1, 1, Luma([77u8]));
    dot.save(place.path("dot.png")).unwrap();
    let dot = edit(&place, "dot.png", "--outpaint 'right 0.5' --keep-original");
    assert_eq!(dot.get_pixel(3, 3).0, [77, 77, 77]);
    // CMYK: blue on the left, red on the right; within what JPEG loses.
    let near = |pixel: &Rgb<u8>, wanted: [u8; 3]| {
        pixel.0.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) < 24)
    };
    let (blue, red) = ([20, 60, 220], [200, 30, 40]);
    let cmyk = kept(fixture("cmyk.jpg").to_str().unwrap());
    assert!(near(cmyk.get_pixel(0, 8), blue) && near(cmyk.get_pixel(15, 8), red));
    // EXIF says that the same picture has to be turned: blue is on top.
    let turned = kept(fixture("rotated.jpg").to_str().unwrap());
    assert!(near(turned.get_pixel(8, 0), blue) && near(turned.get_pixel(8, 15), red));
}

#[test]
fn what_cannot_be_edited_is_explained() {
    let place = place();
    let bytes = std::fs::read(fixture("cmyk.jpg")).unwrap();
    std::fs::write(place.path("cut.jpg"), &bytes[..300]).unwrap();
    place.write("text.png", "no picture");
    let mask = ImageBuffer::from_pixel(4, 4, Luma([255u8]));
    mask.save(place.path("mask.png")).unwrap();
    place.refuses_each(
        "edit -m @tiny -p 'a red house' -s 1 -o x.png",
        "
        -i nowhere.png --box 0,0,8,8             => --init-image: cannot read `nowhere.png`
        -i cut.jpg --box 0,0,8,8 --keep-original => `cut.jpg` is not a readable image
        -i text.png --box 0,0,8,8                => not a readable image
        -i a.png --mask mask.png                 => has 4x4 pixels | has 16x16
        -i a.png --box 0,0,17,8                  => is not inside the image
        -i a.png --outpaint 'up 0.5'             => not a side to extend",
    );
    let output = place.run("edit -m @tiny -i a.png -p x");
    assert_eq!(output.status.code(), Some(1));
}
