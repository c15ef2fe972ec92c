//! 8-bit images and tensors of pixels, both ways. Pixels of tensors are in [-1, 1].

use burn::tensor::{Device, IntDType, Tensor, TensorData, Transaction};
use image::RgbImage;
use nextscale_tokenizer::cpu::is_cuda;
use thiserror::Error;

/// Pixels that are NaN or infinite: as bytes they would silently become black.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the image is not made of numbers (NaN): the weights are damaged, or overflow in this --dtype"
)]
pub struct NotFinite;

/// Images of one size as `[b, 3, h, w]`.
///
/// # Panics
/// Without an image, or if the sizes differ.
pub fn from_images(images: &[RgbImage], device: &Device) -> Tensor<4> {
    let (w, h) = images[0].dimensions();
    let bytes = images.iter().map(|image| image.as_raw().as_slice());
    from_bytes(bytes, [h as usize, w as usize], device)
}

/// Frames of one size as a clip `[1, 3, t, h, w]`.
///
/// # Panics
/// As [`from_images`].
pub fn from_frames(frames: &[RgbImage], device: &Device) -> Tensor<5> {
    from_images(frames, device)
        .swap_dims(0, 1)
        .unsqueeze_dim::<5>(0)
}

/// RGB bytes, row by row, of images with these rows and columns as `[b, 3, h, w]`.
///
/// # Panics
/// If an image has another number of bytes.
pub fn from_bytes<'a>(
    images: impl Iterator<Item = &'a [u8]>,
    [h, w]: [usize; 2],
    device: &Device,
) -> Tensor<4> {
    let (mut values, mut count) = (vec![], 0);
    for bytes in images {
        assert_eq!(bytes.len(), h * w * 3, "bytes of an image");
        values.extend(bytes.iter().map(|&byte| f32::from(byte) / 127.5 - 1.0));
        count += 1;
    }
    let rows = Tensor::<4>::from_data(TensorData::new(values, [count, h, w, 3]), device);
    rows.permute([0, 3, 1, 2])
}

/// RGB bytes of each image of `[b, 3, h, w]`, row by row. Values are cut off to whole numbers, not rounded, and those outside
/// [-1, 1] saturate, as in the released code. A CUDA card makes the bytes itself, so a quarter of the memory is read from it.
///
/// # Errors
/// Pixels that are NaN or infinite.
pub fn to_bytes(pixels: Tensor<4>) -> Result<Vec<Vec<u8>>, NotFinite> {
    let [_, c, h, w] = pixels.dims();
    let rows = pixels.permute([0, 2, 3, 1]); // [b, h, w, 3]
    let bytes = if is_cuda(&rows.device()) {
        cut_off_on_card(rows)
    } else {
        cut_off(rows)
    }?;
    Ok(bytes.chunks_exact(c * h * w).map(<[u8]>::to_vec).collect())
}

fn cut_off(rows: Tensor<4>) -> Result<Vec<u8>, NotFinite> {
    let data = rows.into_data().convert::<f32>();
    let values: &[f32] = data.as_slice().expect("contiguous numbers");
    if !values.iter().all(|x| x.is_finite()) {
        return Err(NotFinite);
    }
    let bytes = values.iter().map(|x| ((x + 1.0) / 2.0 * 255.0) as u8);
    Ok(bytes.collect())
}

fn cut_off_on_card(rows: Tensor<4>) -> Result<Vec<u8>, NotFinite> {
    let finite = rows.clone().abs().lower_elem(f32::INFINITY);
    let damaged = finite.bool_not().any();
    let bytes = ((rows + 1.0) / 2.0 * 255.0).clamp(0.0, 255.0);
    let both = Transaction::default()
        .register(damaged)
        .register(bytes.cast(IntDType::U8));
    let [damaged, bytes] = <[TensorData; 2]>::try_from(both.execute()).expect("two tensors");
    if damaged.iter::<bool>().any(|any| any) {
        return Err(NotFinite);
    }
    Ok(bytes.try_into_vec::<u8>().expect("bytes"))
}

/// The images of `[b, 3, h, w]`; see [`to_bytes`].
///
/// # Errors
/// Pixels that are NaN or infinite.
///
/// # Panics
/// If there are not three channels.
pub fn to_images(pixels: Tensor<4>) -> Result<Vec<RgbImage>, NotFinite> {
    let [_, c, h, w] = pixels.dims();
    assert_eq!(c, 3, "channels");
    let image = |bytes| RgbImage::from_raw(w as u32, h as u32, bytes).expect("three bytes a pixel");
    Ok(to_bytes(pixels)?.into_iter().map(image).collect())
}

/// The frames of a clip `[1, 3, t, h, w]`; see [`to_bytes`].
///
/// # Errors
/// Pixels that are NaN or infinite.
pub fn to_frames(clip: Tensor<5>) -> Result<Vec<RgbImage>, NotFinite> {
    to_images(clip.squeeze_dim::<4>(0).swap_dims(0, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_cut_off_to_bytes() {
        let pixels = Tensor::<4>::from_floats(
            [[[[-1.0, 1.0]], [[0.0, 0.999]], [[-0.5, 0.5]]]],
            &Device::flex(),
        );
        let image = to_images(pixels).unwrap().remove(0);
        assert_eq!(image.dimensions(), (2, 1));
        assert_eq!(image.as_raw(), &[0, 127, 63, 255, 254, 191]);
    }

    #[test]
    fn pixels_that_are_not_numbers_are_refused() {
        let device = Device::flex();
        let damaged = Tensor::<4>::full([1, 3, 2, 2], f32::NAN, &device);
        assert_eq!(to_images(damaged), Err(NotFinite));
        let clip = Tensor::<5>::zeros([1, 3, 2, 2, 2], &device);
        assert_eq!(to_frames(clip.clone()).unwrap().len(), 2);
        assert_eq!(to_frames(clip / 0.0), Err(NotFinite));
    }

    #[test]
    fn frames_keep_their_places() {
        let frame = |value| RgbImage::from_pixel(2, 1, image::Rgb([value, 0, 255]));
        let clip = from_frames(&[frame(0), frame(255)], &Device::flex());
        assert_eq!(clip.dims(), [1, 3, 2, 1, 2]);
        let frames = to_frames(clip).unwrap();
        assert_eq!(frames[1].as_raw(), &[255, 0, 255, 255, 0, 255]);
    }
}
