//! The f32 product of training on the CPU: by our kernel, with a backward pass by the same.

use burn::{
    backend::{
        Flex,
        autodiff::{
            checkpoint::base::Checkpointer,
            grads::Gradients,
            ops::{Backward, Ops},
        },
        flex::FlexTensor,
    },
    tensor::{DType, Tensor},
};
use nextscale_tokenizer::{cpu, product};

/// `x w` on the CPU where at least one of them may have a gradient; none elsewhere.
pub(crate) fn product(x: &Tensor<2>, w: &Tensor<2>) -> Option<Tensor<2>> {
    let recorded = x.is_autodiff() || w.is_autodiff();
    if !recorded || [x.dtype(), w.dtype()] != [DType::F32; 2] {
        return None;
    }
    let inputs = [&tracked(x)?, &tracked(w)?];
    let [x, w] = inputs.map(|input| input.primitive().clone());
    let y = product::matmul(&plain(&x), &plain(&w))?;
    let y = cpu::plain(&y)?;
    Some(cpu::differentiable(Product, inputs, (x, w), y))
}

/// `x` on the CPU as something that may have a gradient, though it has none.
fn tracked(x: &Tensor<2>) -> Option<cpu::Tracked> {
    if x.is_autodiff() {
        return cpu::tracked(x);
    }
    cpu::plain(x)?;
    cpu::tracked(&Tensor::from_inner(x.clone()))
}

fn plain(x: &FlexTensor) -> Tensor<2> {
    Tensor::from_primitive::<Flex>(x.clone())
}

#[derive(Debug)]
struct Product;

impl Backward<Flex, 2> for Product {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [node_x, node_w] = ops.parents;
        let (x, w) = ops.state;
        let grad = plain(&grads.consume::<Flex>(&ops.node));
        let times = |a: &Tensor<2>, b: &Tensor<2>| {
            let y = product::matmul(a, b).and_then(|y| cpu::plain(&y));
            y.expect("a product of f32 on the CPU")
        };
        if let Some(node) = node_x {
            grads.register::<Flex>(node.id, times(&grad, &plain(&w).transpose()));
        }
        if let Some(node) = node_w {
            grads.register::<Flex>(node.id, times(&plain(&x).transpose(), &grad));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn numbers(rows: usize, columns: usize) -> Tensor<2> {
        let values = (0..rows * columns).map(|i| ((i * 37 + 11) % 101) as f32 * 0.02 - 1.0);
        let data = TensorData::new(values.collect::<Vec<f32>>(), [rows, columns]);
        Tensor::from_data(data, &Device::flex())
    }

    fn near(a: Tensor<2>, b: Tensor<2>) -> bool {
        let size: f32 = b.clone().abs().max().into_scalar();
        (a - b).abs().max().into_scalar::<f32>() <= 1e-5 * size
    }

    #[test]
    fn values_and_gradients_are_those_of_the_library() {
        for [m, k, n] in [[1, 1, 1], [13, 7, 33], [480, 64, 100], [5, 257, 30]] {
            let leaf = |x: Tensor<2>| Tensor::from_inner(x).require_grad();
            let (x, w) = (leaf(numbers(m, k)), leaf(numbers(k, n)));
            let mark = numbers(m, n);
            let run = |y: Tensor<2>| (y * Tensor::from_inner(mark.clone())).sum().backward();
            let ours = product(&x, &w).unwrap();
            let theirs = x.clone().matmul(w.clone());
            assert!(
                near(ours.clone().inner(), theirs.clone().inner()),
                "{m} {k} {n}"
            );
            let (ours, theirs) = (run(ours), run(theirs));
            for factor in [&x, &w] {
                let (a, b) = (factor.grad(&ours).unwrap(), factor.grad(&theirs).unwrap());
                assert!(near(a, b), "gradient of {m} {k} {n}");
            }
            // A frozen factor has no gradient, and the other one keeps its own.
            let grads = run(product(&x, &numbers(k, n)).unwrap());
            assert!(near(x.grad(&grads).unwrap(), x.grad(&ours).unwrap()));
            assert!(product(&numbers(m, k), &numbers(k, n)).is_none());
        }
    }
}
