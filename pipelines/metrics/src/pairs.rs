//! How far pairs of images are apart in their pixels: squared error, PSNR and SSIM.
//!
//! Of 8-bit images these are the figures of scikit-image: `peak_signal_noise_ratio(data_range=255)` and
//! `structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2, data_range=255)`.
//! `torchmetrics` also counts windows that reach over the border, where it mirrors the image.

/// Mean squared error between two images, for pixels in 0..=1.
pub fn mse(a: &[u8], b: &[u8]) -> f64 {
    let square = |(a, b): (&u8, &u8)| ((f64::from(*a) - f64::from(*b)) / 255.0).powi(2);
    a.iter().zip(b).map(square).sum::<f64>() / a.len().max(1) as f64
}

/// Peak signal-to-noise ratio in dB of a mean squared error, for pixels in 0..=1.
pub fn psnr(mse: f64) -> f64 {
    -10.0 * mse.max(1e-12).log10()
}

/// Taps of the window of [`ssim`], and its standard deviation in pixels.
const TAPS: usize = 11;
const DEVIATION: f64 = 1.5;
/// Its constants: the squares of 1 % and 3 % of the range.
const C1: f64 = 2.55 * 2.55;
const C2: f64 = 7.65 * 7.65;

/// Mean structural similarity of two RGB images of a width, at most 1 (Wang et al. 2004, with its Gaussian window of 11 x 11 pixels, at all
/// places where it lies within the image; a smaller image is one window): the mean over the three channels.
pub fn ssim(a: &[u8], b: &[u8], width: usize) -> f64 {
    let channel = |image: &[u8], channel: usize| -> Vec<f64> {
        image
            .chunks_exact(3)
            .map(|p| f64::from(p[channel]))
            .collect()
    };
    let one = |c: usize| similarity(&channel(a, c), &channel(b, c), width);
    (0..3).map(one).sum::<f64>() / 3.0
}

/// As [`ssim`], of the brightness of the images.
pub fn ssim_of_brightness(a: &[u8], b: &[u8], width: usize) -> f64 {
    let brightness = |image: &[u8]| -> Vec<f64> {
        let of =
            |p: &[u8]| 0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2]);
        image.chunks_exact(3).map(of).collect()
    };
    similarity(&brightness(a), &brightness(b), width)
}

/// The mean structural similarity of two planes of a width.
fn similarity(a: &[f64], b: &[f64], width: usize) -> f64 {
    let product =
        |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a * b).collect() };
    let blur = |x: &[f64]| blurred(x, width);
    let (mean_a, mean_b) = (blur(a), blur(b));
    let (aa, bb, ab) = (product(a, a), product(b, b), product(a, b));
    let (aa, bb, ab) = (blur(&aa), blur(&bb), blur(&ab));
    let places = mean_a.iter().zip(&mean_b).zip(aa.iter().zip(&bb).zip(&ab));
    let alike = places.map(|((a, b), ((aa, bb), ab))| {
        let (spread, both) = (aa - a * a + bb - b * b, ab - a * b);
        (2.0 * a * b + C1) * (2.0 * both + C2) / ((a * a + b * b + C1) * (spread + C2))
    });
    alike.sum::<f64>() / mean_a.len() as f64
}

/// Weighted means of `x`, rows of `width` numbers, at each place where the window lies within it.
fn blurred(x: &[f64], width: usize) -> Vec<f64> {
    let height = x.len() / width;
    let window = |side: usize| -> Vec<f64> {
        let taps = TAPS.min(side);
        let middle = (taps - 1) as f64 / 2.0;
        let weight = |i: usize| (-((i as f64 - middle) / DEVIATION).powi(2) / 2.0).exp();
        let weights: Vec<f64> = (0..taps).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|w| w / sum).collect()
    };
    let (across, down) = (window(width), window(height));
    let columns = width + 1 - across.len();
    let mean = |values: &mut dyn Iterator<Item = f64>, weights: &[f64]| -> f64 {
        values
            .zip(weights)
            .map(|(value, weight)| value * weight)
            .sum()
    };
    let rows: Vec<Vec<f64>> = x
        .chunks_exact(width)
        .map(|row| {
            row.windows(across.len())
                .map(|part| mean(&mut part.iter().copied(), &across))
                .collect()
        })
        .collect();
    let parts = rows.windows(down.len());
    parts
        .flat_map(|part| (0..columns).map(|j| mean(&mut part.iter().map(|row| row[j]), &down)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_of_known_errors() {
        assert_eq!(mse(&[0; 6], &[255; 6]), 1.0);
        assert_eq!(psnr(1.0), 0.0);
        assert!((psnr(mse(&[100; 6], &[151; 6])) - 13.979).abs() < 1e-3); // a fifth of the range
    }

    /// The figure is that of the formula written out in NumPy.
    #[test]
    fn similarity_of_known_images() {
        let image = |noise: fn(usize) -> usize| -> Vec<u8> {
            (0..16 * 13 * 3)
                .map(|p| ((p * 37 + noise(p)) % 256) as u8)
                .collect()
        };
        let (a, b) = (image(|_| 0), image(|p| p * p % 61));
        assert!(
            (ssim_of_brightness(&a, &b, 16) - 0.635_891_761_894_495_7).abs() < 1e-9,
            "{}",
            ssim_of_brightness(&a, &b, 16)
        );
        assert!((ssim_of_brightness(&a, &a, 16) - 1.0).abs() < 1e-12);
        assert!(ssim_of_brightness(&[0; 12], &[255; 12], 2) < 1e-3);
    }
}
