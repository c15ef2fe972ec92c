//! Writing a tensor into the buffer of another one.

use burn::backend::TensorMetadata;
use burn_cubecl::cubecl;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::card::cube::{PLANES, UNITS};
use nextscale_tokenizer::card::memory::elem;

/// `target`, whose buffer is written although others may hold it: each of its `rows` begins with the numbers of the same row of
/// `source`, which is of the same type and not longer, and ends with zeros.
pub(super) fn place(target: CubeTensor, source: CubeTensor, rows: usize) -> CubeTensor {
    let source = into_contiguous(source);
    let [to, from] = [&target, &source].map(|x| x.shape().num_elements() / rows);
    let (count, dtype) = (rows * to, target.dtype);
    // SAFETY: units after the last number end at once, and numbers after the end of a row of the source are not read.
    unsafe {
        place_kernel::launch_unchecked(
            &target.client,
            CubeCount::Static(count.div_ceil(UNITS) as u32, 1, 1),
            CubeDim::new_2d(32, PLANES as u32),
            source.into_tensor_arg(),
            target.clone().into_tensor_arg(),
            count,
            to,
            from,
            elem(dtype),
        );
    }
    target
}

#[cube(launch_unchecked)]
fn place_kernel<T: Numeric>(
    source: &Tensor<T>,
    target: &mut Tensor<T>,
    count: usize,
    to: usize,
    from: usize,
    #[define(T)] _dtype: ElemType,
) {
    let at = CUBE_POS_X as usize * UNITS + UNIT_POS as usize;
    if at >= count {
        terminate!();
    }
    let (row, place) = (at / to, at % to);
    let mut value = T::from_int(0);
    if place < from {
        value = source[row * from + place];
    }
    target[at] = value;
}
