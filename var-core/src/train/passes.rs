//! Passes over all parameters or gradients on the CPU: in place, on all cores. Elsewhere they are operations on tensors.
//!
//! The tensor library computes each operation on one core and into new memory; next to fast products, that was a quarter of a step.

use burn::tensor::{DType, Tensor, TensorData};
use nextscale_tokenizer::cpu::{is_cpu, numbers, plain};
use rayon::prelude::*;

/// Numbers of a task.
const CHUNK: usize = 1 << 14;

fn is_plain<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && is_cpu(&x.device())
}

/// `a`, changed by `change`, which gets its numbers in pieces and where each begins.
fn changed<const D: usize>(a: Tensor<D>, change: impl Fn(usize, &mut [f32]) + Sync) -> Tensor<D> {
    let (shape, device) = (a.dims(), a.device());
    let mut values: Vec<f32> = a.into_data().try_into_vec().expect("numbers in f32");
    let pieces = values.par_chunks_mut(CHUNK).enumerate();
    pieces.for_each(|(i, piece)| change(i * CHUNK, piece));
    Tensor::from_data(TensorData::new(values, shape), &device)
}

/// `(a + b) factor`.
pub(super) fn scaled_sum<const D: usize>(a: Tensor<D>, b: &Tensor<D>, factor: f32) -> Tensor<D> {
    match plain(b).filter(|_| is_plain(&a) && is_plain(b)) {
        Some(b) => {
            let b = b.to_contiguous();
            let b = numbers(&b);
            changed(a, |at, piece| {
                let other = &b[at..at + piece.len()];
                piece
                    .iter_mut()
                    .zip(other)
                    .for_each(|(a, b)| *a = (*a + b) * factor);
            })
        }
        None => (a + b.clone()).mul_scalar(factor),
    }
}

/// `a factor`.
pub(super) fn scaled<const D: usize>(a: Tensor<D>, factor: f32) -> Tensor<D> {
    if factor == 1.0 {
        return a;
    }
    if !is_plain(&a) {
        return a.mul_scalar(factor);
    }
    changed(a, |_, piece| piece.iter_mut().for_each(|a| *a *= factor))
}

/// `own a + other b`.
pub(super) fn mixed<const D: usize>(
    a: Tensor<D>,
    own: f64,
    b: &Tensor<D>,
    other: f64,
) -> Tensor<D> {
    match plain(b).filter(|_| is_plain(&a) && is_plain(b)) {
        Some(b) => {
            let (own, other) = (own as f32, other as f32);
            let b = b.to_contiguous();
            let b = numbers(&b);
            changed(a, |at, piece| {
                let weights = &b[at..at + piece.len()];
                piece
                    .iter_mut()
                    .zip(weights)
                    .for_each(|(a, b)| *a = own * *a + other * b);
            })
        }
        None => a.mul_scalar(own) + b.clone().mul_scalar(other),
    }
}

/// Nesterov's momentum: `g + decay v` and `v`, the velocity, which was `decay` times the last one plus the gradient `g`.
pub(super) fn momentum<const D: usize>(
    velocity: Option<Tensor<D>>,
    g: Tensor<D>,
    decay: f32,
) -> (Tensor<D>, Tensor<D>) {
    let velocity = velocity.unwrap_or_else(|| g.zeros_like());
    if !(is_plain(&velocity) && is_plain(&g)) {
        let velocity = velocity * decay + g.clone();
        return (g + velocity.clone() * decay, velocity);
    }
    let (shape, device) = (g.dims(), g.device());
    let values = |x: Tensor<D>| x.into_data().try_into_vec::<f32>().expect("numbers in f32");
    let (mut velocity, mut g) = (values(velocity), values(g));
    let pieces = velocity.par_chunks_mut(CHUNK).zip(g.par_chunks_mut(CHUNK));
    pieces.for_each(|(velocity, g)| {
        for (v, g) in velocity.iter_mut().zip(g) {
            *v = decay * *v + *g;
            *g += decay * *v;
        }
    });
    let tensor = |values| Tensor::from_data(TensorData::new(values, shape), &device);
    (tensor(g), tensor(velocity))
}

/// The sum of the squares of `x`, `[1]`.
pub(super) fn sum_of_squares<const D: usize>(x: &Tensor<D>) -> Tensor<1> {
    match plain(x).filter(|_| is_plain(x)) {
        Some(values) => {
            let values = values.to_contiguous();
            // In pieces of one size, so that the sum does not depend on the cores.
            let pieces = numbers(&values).par_chunks(CHUNK);
            let sums: Vec<f64> = pieces.map(squares).collect();
            let sum: f64 = sums.iter().sum();
            Tensor::from_data(TensorData::new(vec![sum as f32], [1]), &x.device())
        }
        None => x.clone().square().sum(),
    }
}

fn squares(piece: &[f32]) -> f64 {
    let (lanes, rest) = piece.as_chunks::<16>();
    let mut sums = [0f32; 16];
    for lane in lanes {
        sums.iter_mut().zip(lane).for_each(|(sum, x)| *sum += x * x);
    }
    let rest: f32 = rest.iter().map(|x| x * x).sum();
    sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() + f64::from(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// Contiguous and transposed, and larger than a piece.
    fn pair() -> [Tensor<2>; 2] {
        let device = Device::flex();
        let values = |factor: f32| -> Vec<f32> {
            (0..200 * 150)
                .map(|i| ((i * 7919 % 1000) as f32 - 500.0) * factor)
                .collect()
        };
        let a = Tensor::from_data(TensorData::new(values(1e-3), [200, 150]), &device);
        let b = Tensor::from_data(TensorData::new(values(2e-3), [150, 200]), &device);
        [a, b.transpose()]
    }

    fn far(a: Tensor<2>, b: Tensor<2>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    #[test]
    fn passes_are_the_operations_that_they_stand_for() {
        let [a, b] = pair();
        let sum = (a.clone() + b.clone()) * 0.5;
        assert!(far(scaled_sum(a.clone(), &b, 0.5), sum) < 1e-6);
        assert!(far(scaled(b.clone(), 3.0), b.clone() * 3.0) < 1e-6);
        let blend = a.clone() * 0.9 + b.clone() * 0.1;
        assert!(far(mixed(a.clone(), 0.9, &b, 0.1), blend) < 1e-6);
        let (ahead, velocity) = momentum(Some(a.clone()), b.clone(), 0.5);
        assert!(far(velocity.clone(), a.clone() * 0.5 + b.clone()) < 1e-6);
        assert!(far(ahead, b.clone() + velocity * 0.5) < 1e-6);
        let (ahead, velocity) = momentum(None, b.clone(), 0.5);
        assert!(far(velocity, b.clone()) + far(ahead, b.clone() * 1.5) < 1e-6);
        for x in [&a, &b] {
            let exact: f32 = x.clone().square().sum().into_scalar();
            let ours: f32 = sum_of_squares(x).into_scalar();
            assert!((ours - exact).abs() < 1e-4 * exact, "{ours} {exact}");
        }
        // What others hold stays as it is.
        let kept = a.clone();
        scaled(a.clone(), 2.0);
        assert_eq!(far(a, kept), 0.0);
    }
}
