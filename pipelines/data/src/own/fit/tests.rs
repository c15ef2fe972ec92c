//! Small images through the decoder and into buckets.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};

use crate::own::fit::{bucket, decode, fit, is_small};

fn bytes(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Black on the left, white on the right.
fn halves(w: u32, h: u32) -> RgbImage {
    RgbImage::from_fn(w, h, |x, _| Rgb([if x < w / 2 { 0 } else { 255 }; 3]))
}

#[test]
fn the_nearest_shape_is_chosen() {
    let sizes = [[64, 64], [96, 48], [48, 96]];
    let cases = [
        ([100, 90], 0),
        ([10, 5], 1),
        ([300, 900], 2),
        ([1000, 1], 1),
    ];
    for (size, expected) in cases {
        assert_eq!(bucket(size, &sizes), expected, "{size:?}");
    }
    assert!(is_small([63, 500], [64, 64]) && !is_small([64, 64], [64, 64]));
}

#[test]
fn the_middle_is_kept_and_scaled() {
    let wide = RgbImage::from_fn(60, 20, |x, _| {
        Rgb([if (20..40).contains(&x) { 200 } else { 0 }; 3])
    });
    let square = fit(&wide, [10, 10]);
    assert_eq!(square.dimensions(), (10, 10));
    assert!(square.pixels().all(|pixel| pixel.0[0] > 190), "{square:?}");
    let same = halves(16, 8);
    assert_eq!(fit(&same, [16, 8]), same, "nothing to do");
    let line = fit(&RgbImage::from_pixel(5000, 1, Rgb([9; 3])), [64, 64]);
    assert!(line.pixels().all(|pixel| pixel.0 == [9; 3]));
}

#[test]
fn whatever_is_decoded_is_rgb_on_the_background() {
    let clear = RgbaImage::from_pixel(2, 2, Rgba([255, 0, 0, 0]));
    let half = RgbaImage::from_pixel(2, 2, Rgba([255, 0, 0, 128]));
    let on = |image, background| {
        decode(&bytes(image, ImageFormat::Png), background)
            .unwrap()
            .get_pixel(0, 0)
            .0
    };
    assert_eq!(on(clear, [1, 2, 3]), [1, 2, 3]);
    assert_eq!(on(half, [0, 0, 255]), [128, 0, 127]);
    let gray = GrayImage::from_pixel(3, 2, Luma([7]));
    let gray = decode(&bytes(gray, ImageFormat::Png), [0; 3]).unwrap();
    assert_eq!(
        (gray.dimensions(), gray.get_pixel(2, 1).0),
        ((3, 2), [7; 3])
    );
    let deep = image::ImageBuffer::from_pixel(2, 2, Luma([0x8080u16]));
    let deep = decode(
        &bytes(DynamicImage::ImageLuma16(deep), ImageFormat::Png),
        [0; 3],
    );
    assert_eq!(deep.unwrap().get_pixel(0, 0).0, [128; 3]);
    for format in [ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Tiff] {
        assert_eq!(
            decode(&bytes(halves(4, 2), format), [0; 3]).unwrap(),
            halves(4, 2)
        );
    }
}

/// A JPEG of 16x8 pixels whose EXIF data say that it lies on its side: the first row is the right column.
fn sideways() -> Vec<u8> {
    let jpeg = bytes(halves(16, 8), ImageFormat::Jpeg);
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01".to_vec();
    exif.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0]);
    let length = (exif.len() + 2) as u16;
    let segment = [&[0xff, 0xe1][..], &length.to_be_bytes(), &exif].concat();
    [&jpeg[..2], &segment, &jpeg[2..]].concat()
}

#[test]
fn images_are_turned_upright() {
    let image = decode(&sideways(), [0; 3]).unwrap();
    assert_eq!(image.dimensions(), (8, 16));
    assert!(image.get_pixel(4, 1).0[0] < 30 && image.get_pixel(4, 14).0[0] > 220);
}

#[test]
fn what_is_no_whole_image_is_refused() {
    let error = |bytes: &[u8]| decode(bytes, [0; 3]).unwrap_err();
    let png = bytes(halves(64, 64), ImageFormat::Png);
    assert!(error(&png[..png.len() / 2]).contains("damaged"));
    let jpeg = sideways();
    assert!(error(&jpeg[..jpeg.len() - 9]).contains("cut off"));
    assert!(error(&jpeg[..30]).contains("cut off"));
    assert!(error(b"").contains("empty"));
    assert!(error(b"hello, I am a text").contains("known format"));
    assert_eq!(error(b"BM with the name of a JPEG"), "bmp is not read");
    // Only the header says that it is large.
    let huge = bytes(halves(8, 8), ImageFormat::Png);
    let mut ihdr = huge[12..29].to_vec();
    ihdr[4..12].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
    let crc = crc(&ihdr).to_be_bytes();
    let huge = [&huge[..12], &ihdr, &crc, &huge[33..]].concat();
    assert!(error(&huge).contains("16384x16384"), "{}", error(&huge));
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes
        .iter()
        .fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}
