//! Stacked tensors, such as queries, keys and values in one matrix, cut into their parts.

use std::sync::{Arc, Mutex, PoisonError};

use burn::{
    store::{bridge, burn_pack::Tensor},
    tensor::{Shape, TensorData},
};

use crate::convert;

/// A stacked tensor while its parts are read, and how many of them were read from it.
#[derive(Default)]
struct Stack {
    whole: Option<TensorData>,
    read: usize,
}

/// `tensor` cut into equal runs of rows, one per name. The file is read once for all of them: the whole tensor is kept
/// from the first part that is read until the last. A tensor that cannot be cut evenly is returned whole under each
/// name, and is refused by its shape later.
pub(crate) fn split(tensor: Tensor, names: Vec<String>) -> Vec<Tensor> {
    let (n, mut shape) = (names.len(), tensor.shape.to_vec());
    if n < 2 || shape.first().is_none_or(|rows| rows % n != 0) {
        let whole = names.into_iter().map(|name| {
            let mut whole = tensor.clone();
            whole.name = name;
            whole
        });
        return whole.collect();
    }
    shape[0] /= n;
    let shape = Shape::from(shape);
    let stack = Arc::new(Mutex::new(Stack::default()));
    let part = |(i, name)| {
        let (stack, tensor, out) = (stack.clone(), tensor.clone(), shape.clone());
        bridge::deferred(name, tensor.dtype, shape.clone(), None, move || {
            let mut stack = stack.lock().unwrap_or_else(PoisonError::into_inner);
            let whole = match stack.whole.take() {
                Some(whole) => whole,
                None => bridge::to_data(&tensor)?,
            };
            let len = whole.as_bytes().len() / n;
            let rows = &whole.as_bytes()[i * len..(i + 1) * len];
            let rows = convert::numbers(rows, out.to_vec(), tensor.dtype);
            stack.read += 1;
            if stack.read < n {
                stack.whole = Some(whole);
            } else {
                stack.read = 0;
            }
            Ok(rows)
        })
    };
    names.into_iter().enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use burn::tensor::DType;

    use super::*;

    #[test]
    fn a_stacked_tensor_is_read_once_for_all_its_parts() {
        let reads = Arc::new(AtomicUsize::new(0));
        let count = reads.clone();
        let stacked = bridge::deferred("qkv".into(), DType::F32, [6, 1].into(), None, move || {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(TensorData::new(vec![0f32, 1.0, 2.0, 3.0, 4.0, 5.0], [6, 1]))
        });
        let names = ["q", "k", "v"].map(str::to_owned).to_vec();
        let all = split(stacked, names);
        for round in 1..3 {
            for (i, part) in all.iter().enumerate() {
                let data = bridge::to_data(part).unwrap();
                assert_eq!(data.shape().to_vec(), [2, 1]);
                let first: f32 = data.iter().next().unwrap();
                assert_eq!(first, 2.0 * i as f32);
            }
            assert_eq!(reads.load(Ordering::SeqCst), round);
        }
    }
}
