//! Decoded pixels to bytes.

use burn::tensor::Tensor;

/// Pixels `[1, 3, t, h, w]` in [-1, 1], cut to that range, to bytes: frame by frame, row by row, red, green and blue.
/// Values are rounded towards zero, as in the released code.
///
/// # Panics
/// If there is more than one clip, or not three colours.
pub fn rgb_bytes(frames: Tensor<5>) -> Vec<u8> {
    let [b, c, _, _, _] = frames.dims();
    assert_eq!([b, c], [1, 3], "one clip of three colours");
    let x = ((frames + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0;
    let x = x.permute([0, 2, 3, 4, 1]).into_data().convert::<f32>();
    x.iter::<f32>().map(|value| value as u8).collect()
}

/// The first chunk of a clip, `[b, c, t, h, w]`, with its second frame in the place of the first, which comes out softer
/// than the others; the released code does so. A clip of one frame stays.
pub fn without_soft_start(frames: Tensor<5>) -> Tensor<5> {
    let [_, _, t, _, _] = frames.dims();
    if t < 2 {
        return frames;
    }
    let second = frames.clone().slice_dim(2, 1..2);
    Tensor::cat(vec![second, frames.slice_dim(2, 1..t)], 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn bytes_are_cut_off() {
        let x = Tensor::<1>::from_floats([-2.0, -1.0, 0.0, 0.999, 1.0, 3.0], &Device::flex());
        let x = x.reshape([1, 3, 2, 1, 1]);
        assert_eq!(rgb_bytes(x.clone()), [0, 127, 255, 0, 254, 255]);
        let y = without_soft_start(x.clone());
        assert_eq!(rgb_bytes(y), [0, 254, 255, 0, 254, 255]);
        assert_eq!(
            without_soft_start(x.slice_dim(2, 0..1)).dims(),
            [1, 3, 1, 1, 1]
        );
    }
}
