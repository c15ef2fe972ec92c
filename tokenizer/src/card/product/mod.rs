//! Matrix products of 16-bit numbers with sums in f32, for any number of rows.
//!
//! Each cube computes a tile of the result. It reads the next pieces of both factors while it multiplies those before, from one of two
//! places in shared memory. For few rows, the planes of a cube share the inner axis and add up what they have at the end.

mod kernel;
pub(super) mod stage;
pub(super) mod tile;

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::card::fragment::VECTOR;
use crate::card::memory::{elem, empty, readable};
use crate::card::product::tile::Tile;

use self::kernel::ColumnsLaunch;

pub use self::kernel::Finish;

/// Whether the kernel takes a product of `[m, k]` and `[k, n]` of a type.
pub fn takes(k: usize, n: usize, dtype: DType) -> bool {
    let half = matches!(dtype, DType::F16 | DType::BF16);
    half && k.is_multiple_of(VECTOR) && n.is_multiple_of(VECTOR)
}

/// `a b` of `[m, k]` and `[k, n]` of a 16-bit type, in another type, with the bias `[n]` if it counts.
pub fn product(
    a: CubeTensor,
    b: CubeTensor,
    bias: CubeTensor,
    finish: Finish,
    dtype: DType,
) -> CubeTensor {
    let second = Second {
        matrices: [b.clone(), b.clone(), b],
        count: 1,
        factors: None,
    };
    launch(a, second, bias, finish, dtype)
}

/// [`product`] with `b` of int8, each of whose columns is multiplied by a factor, `[n]` in f32.
pub fn int8_product(
    a: CubeTensor,
    b: CubeTensor,
    factors: CubeTensor,
    bias: CubeTensor,
    finish: Finish,
    dtype: DType,
) -> CubeTensor {
    let second = Second {
        matrices: [b.clone(), b.clone(), b],
        count: 1,
        factors: Some(factors),
    };
    launch(a, second, bias, finish, dtype)
}

/// The products of `a`, `[m, k]`, with two or three factors, `[k, n]` each with its own `n`, all of a 16-bit type, side by side.
pub fn products<const N: usize>(a: CubeTensor, factors: [CubeTensor; N]) -> CubeTensor {
    const { assert!(N == 2 || N == 3) };
    let (bias, dtype) = (a.clone(), a.dtype);
    let second = Second {
        matrices: std::array::from_fn(|i| factors[i.min(N - 1)].clone()),
        count: N,
        factors: None,
    };
    launch(a, second, bias, Finish::Plain, dtype)
}

/// The second factors of products.
struct Second {
    matrices: [CubeTensor; 3],
    /// How many of the matrices count.
    count: usize,
    /// Of the columns of a matrix of int8.
    factors: Option<CubeTensor>,
}

fn launch(
    a: CubeTensor,
    second: Second,
    bias: CubeTensor,
    finish: Finish,
    dtype: DType,
) -> CubeTensor {
    let Second {
        matrices,
        count,
        factors,
    } = second;
    let [m, k] = a.shape().dims();
    let mut columns = [0; 3];
    for (columns, matrix) in columns.iter_mut().zip(&matrices[..count]) {
        *columns = matrix.shape()[1];
    }
    let n = columns.iter().sum();
    let out = empty(&a, Shape::new([m, n]), dtype);
    let (operand, stored) = (a.dtype, matrices[0].dtype);
    let scaled = factors.is_some();
    let factors = factors.unwrap_or_else(|| bias.clone());
    let a = readable(a, VECTOR);
    let [first, second, third] = matrices.map(|x| readable(x, VECTOR));
    let tile = Tile::of(m, n);
    let tiles: usize = columns.iter().map(|n| n.div_ceil(tile.width())).sum();
    let cubes = CubeCount::Static(m.div_ceil(tile.height()) as u32, tiles as u32, 1);
    // SAFETY: nothing outside the matrices is read or written, and what does not count is not read.
    unsafe {
        kernel::product_kernel::launch_unchecked(
            &out.client,
            cubes,
            CubeDim::new_2d(32, tile.units() as u32 / 32),
            VECTOR,
            a.into_tensor_arg(),
            first.into_tensor_arg(),
            second.into_tensor_arg(),
            third.into_tensor_arg(),
            bias.into_tensor_arg(),
            factors.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            m,
            ColumnsLaunch::new(columns[0], columns[1], columns[2]),
            k,
            count > 1,
            scaled,
            tile,
            finish,
            elem(operand),
            elem(stored),
            elem(dtype),
        );
    }
    out
}
