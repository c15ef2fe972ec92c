//! Products of fragments of matrices on tensor cores.

use burn_cubecl::cubecl;
use cubecl::cmma::MmaDefinition;
use cubecl::prelude::*;

/// Numbers of 16 bits that a unit reads at once, the row of a matrix that `ldmatrix` takes.
pub const VECTOR: usize = 8;

/// Two zeros of each of two rows.
#[cube]
pub fn zeros<P: Size>() -> Array<Vector<f32, P>> {
    let mut zeros = Array::<Vector<f32, P>>::new(2usize);
    zeros[0] = Vector::<f32, P>::new(0.0);
    zeros[1] = Vector::<f32, P>::new(0.0);
    zeros
}

/// Adds the product of `rows` and one of two fragments to `sum`.
#[cube]
pub fn multiply<E: Float, P: Size>(
    def: &MmaDefinition<E, E, f32>,
    rows: &Array<Vector<E, P>>,
    both: &Array<Vector<E, P>>,
    #[comptime] half: usize,
    sum: &mut Array<Vector<f32, P>>,
) {
    let mut one = Array::<Vector<E, P>>::new(2usize);
    one[0] = both[comptime!(half * 2)];
    one[1] = both[comptime!(half * 2 + 1)];
    let result = def.execute(rows, &one, &*sum);
    sum[0] = result[0];
    sum[1] = result[1];
}
