//! Matrix products of 16-bit numbers with sums in f32, for any number of rows.
//!
//! Each cube computes a tile of the result. It reads the next pieces of both factors while it multiplies those before, from one of two
//! places in shared memory. For few rows, the planes of a cube share the inner axis and add up what they have at the end.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::cmma::{MatrixIdent, MmaDefinition};
use cubecl::prelude::*;

use crate::card::fragment::{VECTOR, multiply, zeros};
use crate::card::memory::{elem, empty, readable};

/// Multiprocessors of a large card: a grid of fewer tiles leaves some idle.
const PROCESSORS: usize = 132;

/// How a cube divides its tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tile {
    /// Of 16 rows, of each plane.
    pub rows: usize,
    /// Of 8 columns, of each plane; even.
    pub columns: usize,
    /// Planes along the rows, the columns and the inner axis.
    pub planes: [usize; 3],
}

impl Tile {
    /// 128 x 128 numbers.
    const LARGE: Self = Self {
        rows: 4,
        columns: 8,
        planes: [2, 2, 1],
    };

    /// 64 x 32 numbers.
    const SMALL: Self = Self {
        rows: 2,
        columns: 4,
        planes: [2, 1, 4],
    };

    /// 128 x 32 numbers.
    const NARROW: Self = Self {
        rows: 2,
        columns: 4,
        planes: [4, 1, 1],
    };

    /// For `m` rows and `n` columns of a result.
    pub fn of(m: usize, n: usize) -> Self {
        let flat = |rows, depth| Self {
            rows,
            columns: 4,
            planes: [1, 1, depth],
        };
        let large = m.div_ceil(128) * n.div_ceil(128);
        match m {
            0..=16 => flat(1, 8),
            17..=32 => flat(2, 4),
            33..=64 => flat(4, 4),
            _ if n <= 32 => Self::NARROW,
            _ if large < PROCESSORS => Self::SMALL,
            _ => Self::LARGE,
        }
    }

    pub const fn units(self) -> usize {
        let [rows, columns, depth] = self.planes;
        32 * rows * columns * depth
    }

    /// Rows of the tile.
    pub const fn height(self) -> usize {
        16 * self.rows * self.planes[0]
    }

    /// Columns of the tile.
    pub const fn width(self) -> usize {
        8 * self.columns * self.planes[1]
    }

    /// Of the inner axis, at a time.
    pub const fn depth(self) -> usize {
        32 * self.planes[2]
    }
}

/// What is done with a product before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finish {
    /// Nothing.
    Plain,
    /// The bias is added, then GELU in the tanh approximation.
    Gelu,
}

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
    let ([m, k], n) = (a.shape().dims(), b.shape()[1]);
    let stored = a.dtype;
    let out = empty(&a, Shape::new([m, n]), dtype);
    let [a, b] = [a, b].map(|x| readable(x, VECTOR));
    let tile = Tile::of(m, n);
    let cubes = CubeCount::Static(
        m.div_ceil(tile.height()) as u32,
        n.div_ceil(tile.width()) as u32,
        1,
    );
    // SAFETY: nothing outside the three matrices is read or written, and a bias that does not count is not read.
    unsafe {
        product_kernel::launch_unchecked(
            &out.client,
            cubes,
            CubeDim::new_2d(32, tile.units() as u32 / 32),
            VECTOR,
            a.into_tensor_arg(),
            b.into_tensor_arg(),
            bias.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            m,
            n,
            k,
            tile,
            finish,
            elem(stored),
            elem(dtype),
        );
    }
    out
}

#[cube(launch_unchecked)]
fn product_kernel<E: Float, O: Float, N: Size>(
    a: &Tensor<Vector<E, N>>,
    b: &Tensor<Vector<E, N>>,
    bias: &Tensor<E>,
    out: &mut Tensor<O>,
    all_rows: usize,
    all_columns: usize,
    inner: usize,
    #[comptime] tile: Tile,
    #[comptime] finish: Finish,
    #[define(E)] _operand: ElemType,
    #[define(O)] _result: ElemType,
) {
    let size!(P) = 2usize;
    let def = MmaDefinition::<E, E, f32>::new(16usize, 8usize, 16usize);
    let (height, width, depth) = comptime!((tile.height(), tile.width(), tile.depth()));
    let (pitch_a, pitch_b) = comptime!((depth / VECTOR + 1, width / VECTOR + 1));
    let (size_a, size_b) = comptime!((height * pitch_a, depth * pitch_b));
    let mut stage_a = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(2 * size_a), 16usize);
    let mut stage_b = Shared::<[Vector<E, N>]>::new_aligned_slice(comptime!(2 * size_b), 16usize);
    let units = comptime!(tile.units());
    let mut next_a = Array::<Vector<E, N>>::new(comptime!(height * depth / VECTOR / units));
    let mut next_b = Array::<Vector<E, N>>::new(comptime!(depth * width / VECTOR / units));

    let lane = UNIT_POS_X as usize;
    let (plane_m, plane_n, plane_k) = places(tile);
    let (row, column) = (CUBE_POS_X as usize * height, CUBE_POS_Y as usize * width);

    let mut sums = Sequence::<Array<Vector<f32, P>>>::new();
    #[unroll]
    for _ in 0..comptime!(tile.rows * tile.columns) {
        sums.push(zeros::<P>());
    }

    read::<E, N>(
        a,
        row,
        0usize,
        all_rows,
        inner,
        &mut next_a,
        height,
        depth,
        units,
    );
    read::<E, N>(
        b,
        0usize,
        column,
        inner,
        all_columns,
        &mut next_b,
        depth,
        width,
        units,
    );
    let steps = inner.div_ceil(depth);
    for step in 0..steps {
        let (to_a, to_b) = (step % 2 * size_a, step % 2 * size_b);
        write::<E, N>(&next_a, &mut stage_a, to_a, height, depth, units);
        write::<E, N>(&next_b, &mut stage_b, to_b, depth, width, units);
        sync_cube();
        let from = (step + 1) * depth;
        read::<E, N>(
            a,
            row,
            from,
            all_rows,
            inner,
            &mut next_a,
            height,
            depth,
            units,
        );
        read::<E, N>(
            b,
            from,
            column,
            inner,
            all_columns,
            &mut next_b,
            depth,
            width,
            units,
        );
        multiply_stage::<E, N, P>(&def, &stage_a, &stage_b, to_a, to_b, &mut sums, tile);
    }

    if comptime!(tile.planes[2] > 1) {
        add_planes::<P>(&mut sums, plane_k, tile);
    }
    if plane_k == 0 {
        let row = row + plane_m * comptime!(16 * tile.rows) + lane / 4;
        let column = column + plane_n * comptime!(8 * tile.columns) + lane % 4 * 2;
        #[unroll]
        for i in 0..comptime!(tile.rows) {
            #[unroll]
            for half in 0..2usize {
                let row = row + i * 16 + half * 8;
                #[unroll]
                for j in 0..comptime!(tile.columns) {
                    let two = sums.index(comptime!(i * tile.columns + j))[half];
                    let column = column + j * 8;
                    if row < all_rows && column < all_columns {
                        #[unroll]
                        for e in 0..2usize {
                            let mut value = two.extract(e);
                            if comptime!(finish == Finish::Gelu) {
                                value = gelu(value + f32::cast_from(bias[column + e]));
                            }
                            out[row * all_columns + column + e] = O::cast_from(value);
                        }
                    }
                }
            }
        }
    }
}

/// Adds the products of what is at two places in shared memory to the sums of this unit.
#[cube]
pub(super) fn multiply_stage<E: Float, N: Size, P: Size>(
    def: &MmaDefinition<E, E, f32>,
    stage_a: &Shared<[Vector<E, N>]>,
    stage_b: &Shared<[Vector<E, N>]>,
    to_a: usize,
    to_b: usize,
    sums: &mut Sequence<Array<Vector<f32, P>>>,
    #[comptime] tile: Tile,
) {
    let (pitch_a, pitch_b) = comptime!((tile.depth() / VECTOR + 1, tile.width() / VECTOR + 1));
    let lane = UNIT_POS_X as usize;
    let (plane_m, plane_n, plane_k) = places(tile);
    #[unroll]
    for half in 0..2usize {
        let mut rows = Sequence::<Array<Vector<E, P>>>::new();
        #[unroll]
        for i in 0..comptime!(tile.rows) {
            let at = (plane_m * comptime!(16 * tile.rows) + i * 16 + lane % 16) * pitch_a;
            let at = to_a + at + plane_k * 4 + half * 2 + lane / 16;
            rows.push(def.load_matrix::<Vector<E, N>, P>(
                &stage_a[at..at + 1],
                MatrixIdent::A,
                4usize,
                false,
            ));
        }
        #[unroll]
        for pair in 0..comptime!(tile.columns / 2) {
            let at = (plane_k * 32 + half * 16 + lane % 16) * pitch_b;
            let at = to_b + at + plane_n * tile.columns + pair * 2 + lane / 16;
            let both = def.load_matrix::<Vector<E, N>, P>(
                &stage_b[at..at + 1],
                MatrixIdent::B,
                4usize,
                true,
            );
            #[unroll]
            for i in 0..comptime!(tile.rows) {
                #[unroll]
                for j in 0..2usize {
                    let place = comptime!(i * tile.columns + pair * 2 + j);
                    multiply::<E, P>(def, rows.index(i), &both, j, sums.index_mut(place));
                }
            }
        }
    }
}

/// The place of this unit's plane along the rows, the columns and the inner axis.
#[cube]
pub(super) fn places(#[comptime] tile: Tile) -> (usize, usize, usize) {
    let plane = UNIT_POS_Y as usize;
    let [planes_m, planes_n, _] = comptime!(tile.planes);
    (
        plane % planes_m,
        plane / planes_m % planes_n,
        plane / comptime!(planes_m * planes_n),
    )
}

/// `x h` with `h = 1 / (1 + exp(-2 z))` and `z = sqrt(2/pi) (x + 0.044715 x^3)`.
#[cube]
fn gelu(x: f32) -> f32 {
    let z = (x * x * comptime!(0.797_884_6f32 * 0.044_715f32) + 0.797_884_6f32) * x;
    x / (1.0f32 + (z * -2.0f32).exp())
}

/// Adds the sums of all planes that share an inner axis to those of the first.
#[cube]
pub(super) fn add_planes<P: Size>(
    sums: &mut Sequence<Array<Vector<f32, P>>>,
    plane: usize,
    #[comptime] tile: Tile,
) {
    let count = comptime!(tile.rows * tile.columns);
    let planes = comptime!(tile.planes[2]);
    // Planes with different rows or columns of the tile.
    let others = comptime!(tile.planes[0] * tile.planes[1]);
    let mut scratch =
        Shared::<[Vector<f32, P>]>::new_slice(comptime!((planes - 1) * others * count * 2 * 32));
    let lane = UNIT_POS_X as usize;
    let own = UNIT_POS_Y as usize % others;
    if plane > 0 {
        #[unroll]
        for i in 0..count {
            #[unroll]
            for half in 0..2usize {
                let at = ((((plane - 1) * others + own) * count + i) * 2 + half) * 32 + lane;
                scratch[at] = sums.index(i)[half];
            }
        }
    }
    sync_cube();
    if plane == 0 {
        #[unroll]
        for i in 0..count {
            #[unroll]
            for half in 0..2usize {
                let mut sum = sums.index(i)[half];
                #[unroll]
                for other in 0..comptime!(planes - 1) {
                    sum += scratch[(((other * others + own) * count + i) * 2 + half) * 32 + lane];
                }
                sums.index_mut(i)[half] = sum;
            }
        }
    }
}

/// This unit's part of a piece of a matrix, `height` x `width` from a place on; zeros outside `rows` x `columns`.
#[cube]
pub(super) fn read<E: Float, N: Size>(
    from: &Tensor<Vector<E, N>>,
    row: usize,
    column: usize,
    rows: usize,
    columns: usize,
    to: &mut Array<Vector<E, N>>,
    #[comptime] height: usize,
    #[comptime] width: usize,
    #[comptime] units: usize,
) {
    let pieces = comptime!(width / VECTOR);
    let pitch = from.stride(0) / VECTOR;
    #[unroll]
    for i in 0..comptime!(height * width / VECTOR / units) {
        let at = UNIT_POS as usize + i * units;
        let row = row + at / pieces;
        let column = column + at % pieces * VECTOR;
        to[i] = Vector::<E, N>::new(E::from_int(0));
        if row < rows && column < columns {
            to[i] = from[row * pitch + column / VECTOR];
        }
    }
}

/// Puts what [`read`] read where all units of the cube see it.
#[cube]
pub(super) fn write<E: Float, N: Size>(
    from: &Array<Vector<E, N>>,
    to: &mut Shared<[Vector<E, N>]>,
    start: usize,
    #[comptime] height: usize,
    #[comptime] width: usize,
    #[comptime] units: usize,
) {
    let pieces = comptime!(width / VECTOR);
    #[unroll]
    for i in 0..comptime!(height * width / VECTOR / units) {
        let at = UNIT_POS as usize + i * units;
        to[start + at / pieces * comptime!(pieces + 1) + at % pieces] = from[i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of shared memory that all cards of compute capability 8 and later give a cube.
    const SHARED: usize = 99 << 10;

    /// Every unit reads as many vectors as every other, and what a cube keeps fits into it.
    #[test]
    fn tiles_divide_evenly_and_fit() {
        for (m, n) in [
            (2, 2048),
            (20, 64),
            (50, 8),
            (72, 2048),
            (300, 32),
            (800, 2048),
            (8192, 8192),
        ] {
            let tile = Tile::of(m, n);
            let units = tile.units() * VECTOR;
            assert_eq!(tile.height() * tile.depth() % units, 0, "{m} {n}");
            assert_eq!(tile.depth() * tile.width() % units, 0, "{m} {n}");
            let staged =
                tile.height() * (tile.depth() + VECTOR) + tile.depth() * (tile.width() + VECTOR);
            let sums = (tile.planes[2] - 1) * tile.height() * tile.width() * 4;
            assert!(2 * 2 * staged + sums <= SHARED, "{m} {n}");
        }
        assert_eq!(Tile::of(8192, 2048), Tile::LARGE);
        assert_eq!(Tile::of(512, 2048), Tile::SMALL);
        assert_eq!(Tile::of(512, 8192), Tile::LARGE);
    }
}
