//! Queries, keys and values by head.

use burn::backend::Flex;
use burn::tensor::Tensor;
use nextscale_tokenizer::cpu::{numbers, tensor};
use nextscale_tokenizer::widest;

use super::pieces::{contiguous, in_pieces, sum};

/// What is done to the numbers of each head.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scaling<'a> {
    /// Nothing.
    None,
    /// A factor for all.
    By(f32),
    /// Length 1, times the factor of the head, `[h]` numbers, if there is one.
    ToLength(Option<&'a Tensor<4>>),
}

/// Heads first: `[b, l, h, d]` to `[b, h, l, d]`, scaled, and then rotated by cosines and signed sines of pairs, `[l, d]` or
/// `[b l, d]` each, if there are some; none if the tensors are not in f32 on the CPU, or do not fit.
pub(crate) fn heads(
    x: &Tensor<4>,
    scaling: Scaling,
    rotation: Option<[&Tensor<2>; 2]>,
) -> Option<Tensor<4>> {
    let [b, l, h, d] = x.dims();
    let x = contiguous(x)?;
    let factors = match scaling {
        Scaling::ToLength(Some(factors)) => Some(contiguous(factors)?),
        _ => None,
    };
    let rotation = match rotation {
        Some([cos, sin]) => Some((contiguous(cos)?, contiguous(sin)?, cos.dims()[0])),
        None => None,
    };
    let fits = rotation.as_ref().is_none_or(|(cos, sin, rows)| {
        let size = rows * d;
        (*rows == l || *rows == b * l) && [cos, sin].map(|x| numbers(x).len()) == [size; 2]
    });
    if b * l * h * d == 0 || d % 2 != 0 || !fits {
        return None;
    }
    let mut out = vec![0.0; b * l * h * d];
    in_pieces(&mut out, d, |first, piece| {
        for (row, to) in (first..).zip(piece.chunks_exact_mut(d)) {
            let (image, head, token) = (row / (h * l), row / l % h, row % l);
            let from = &numbers(&x)[((image * l + token) * h + head) * d..][..d];
            let (scale, length) = match scaling {
                Scaling::None => (1.0, false),
                Scaling::By(factor) => (factor, false),
                Scaling::ToLength(_) => {
                    let factor = factors.as_ref().map_or(1.0, |f| numbers(f)[head]);
                    (factor, true)
                }
            };
            scale_row(from, scale, length, to);
            if let Some((cos, sin, rows)) = &rotation {
                let at = (image * l + token) % rows * d;
                rotate_row(&numbers(cos)[at..][..d], &numbers(sin)[at..][..d], to);
            }
        }
    });
    Some(Tensor::from_primitive::<Flex>(tensor(out, [b, h, l, d])))
}

widest!(scale_row, scale_body, (x: &[f32], scale: f32, length: bool, to: &mut [f32]));

#[inline(always)]
fn scale_body(x: &[f32], scale: f32, length: bool, to: &mut [f32]) {
    let scale = if length {
        scale / sum(x, 0.0, true).max(1e-24).sqrt()
    } else {
        scale
    };
    for (to, &x) in to.iter_mut().zip(x) {
        *to = x * scale;
    }
}

widest!(rotate_row, rotate_body, (cos: &[f32], sin: &[f32], x: &mut [f32]));

#[inline(always)]
fn rotate_body(cos: &[f32], sin: &[f32], x: &mut [f32]) {
    let (cos, sin) = (cos.as_chunks::<2>().0, sin.as_chunks::<2>().0);
    for ((x, cos), sin) in x.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
        *x = [x[0] * cos[0] + x[1] * sin[0], x[1] * cos[1] + x[0] * sin[1]];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution, Tolerance};

    fn random(shape: [usize; 3]) -> Tensor<3> {
        Tensor::random(shape, Distribution::Normal(0.3, 2.0), &Device::flex())
    }

    /// Compared with the operations written out, with and without rotation, for tables of one image and of all.
    #[test]
    fn heads_as_written_out() {
        let [b, l, h, d] = [2, 70, 3, 16];
        let x = random([b, l, h * d]).reshape([b, l, h, d]);
        let factors = random([1, 1, h]).reshape([1, 1, h, 1]);
        for rows in [l, b * l] {
            let positions: Vec<[f32; 1]> = (0..rows).map(|i| [i as f32 * 0.7]).collect();
            let rope = crate::rope::RopeTable::new(&positions, d, 100.0, &Device::flex());
            let scaled = x.clone() * (crate::layers::inverse_norm(x.clone()) * factors.clone());
            let expected = rope.apply(scaled).swap_dims(1, 2);
            let scaling = Scaling::ToLength(Some(&factors));
            let ours = heads(&x, scaling, Some(rope.tables())).unwrap();
            let tolerance = Tolerance::<f32>::absolute(1e-5);
            ours.into_data()
                .assert_approx_eq(&expected.into_data(), tolerance);
        }
        let ours = heads(&x, Scaling::By(0.5), None).unwrap();
        let expected = (x * 0.5).swap_dims(1, 2);
        assert_eq!(ours.into_data(), expected.into_data());
    }
}
