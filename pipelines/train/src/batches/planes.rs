//! RGB bytes as planes in [-1, 1], and planes as tensors.

use burn::tensor::{Device, Tensor, TensorData};

/// Appends the frames of a clip, each RGB bytes, as the red, the green and the blue planes of all frames, in [-1, 1]. An
/// image is a clip of one frame.
pub(crate) fn append<F: AsRef<[u8]>>(frames: &[F], pixels: &mut Vec<f32>) {
    for channel in 0..3 {
        for frame in frames {
            let plane = frame.as_ref().iter().skip(channel).step_by(3);
            pixels.extend(plane.map(|&value| f32::from(value) / 127.5 - 1.0));
        }
    }
}

/// Planes as images `[b, 3, size, size]`.
pub(crate) fn images(pixels: Vec<f32>, size: usize, device: &Device) -> Tensor<4> {
    let b = pixels.len() / (3 * size * size);
    Tensor::from_data(TensorData::new(pixels, [b, 3, size, size]), device)
}

/// Planes as clips `[b, 3, frames, size, size]`.
pub(crate) fn clips(pixels: Vec<f32>, frames: usize, size: usize, device: &Device) -> Tensor<5> {
    let b = pixels.len() / (3 * frames * size * size);
    Tensor::from_data(TensorData::new(pixels, [b, 3, frames, size, size]), device)
}

/// Planes as batches of at most `count` images.
pub(crate) fn image_batches(
    pixels: &[f32],
    count: usize,
    size: usize,
    device: &Device,
) -> impl Iterator<Item = Tensor<4>> {
    let chunks = pixels.chunks(count * 3 * size * size);
    chunks.map(move |chunk| images(chunk.to_vec(), size, device))
}
