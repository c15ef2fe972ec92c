//! The video model inside the program.

use image::RgbImage;

use crate::Place;

/// The middle of what is not white, in pixels.
fn middle(picture: &RgbImage) -> [f64; 2] {
    let (mut sums, mut total) = ([0.0; 2], 0.0);
    for (x, y, pixel) in picture.enumerate_pixels() {
        let off = f64::from(255 - pixel.0.into_iter().min().unwrap_or(255));
        let weight = if off < 40.0 { 0.0 } else { off };
        sums[0] += weight * f64::from(x);
        sums[1] += weight * f64::from(y);
        total += weight;
    }
    assert!(total > 5000.0, "nothing is there");
    sums.map(|sum| sum / total)
}

/// How far the middle goes from the first frame to the last, right and down.
fn shift(prompt: &str) -> [f64; 2] {
    let place = Place::new();
    place.good(&format!("video -p '{prompt}' -s 0 -o frames/"));
    let frame = |i: usize| {
        let path = place.path(&format!("frames/{i:05}.png"));
        middle(&image::open(path).expect("a frame").to_rgb8())
    };
    assert_eq!(place.files("frames").len(), 17);
    let (first, last) = (frame(0), frame(16));
    [last[0] - first[0], last[1] - first[1]]
}

#[test]
fn it_moves_as_it_is_told() {
    let right = shift("red apple sliding right");
    assert!(right[0] > 8.0 && right[1].abs() < 5.0, "{right:?}");
    let down = shift("red apple sliding down");
    assert!(down[1] > 8.0 && down[0].abs() < 5.0, "{down:?}");
    let still = shift("red apple rotating clockwise");
    assert!(still[0].hypot(still[1]) < 6.0, "{still:?}");
}

#[test]
fn one_seed_gives_the_same_bytes() {
    let place = Place::new();
    let line = "video -p 'red heart zooming in' -s 5";
    let (a, b) = (place.make(line, "a.mp4"), place.make(line, "b.mp4"));
    assert!(a == b, "{} and {} bytes differ", a.len(), b.len());
}
