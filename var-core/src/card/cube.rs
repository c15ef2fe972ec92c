//! Cubes of which all units work on one row.

use burn_cubecl::cubecl;
use cubecl::prelude::*;

/// Planes of 32 units.
pub(super) const PLANES: usize = 8;

/// Units.
pub(super) const UNITS: usize = 32 * PLANES;

/// The sum over all units of a cube; every unit gets it.
#[cube]
pub(super) fn total(value: f32, scratch: &mut Shared<[f32]>) -> f32 {
    let of_plane = plane_sum(value);
    // What the call before left there was read by all.
    sync_cube();
    if UNIT_POS_X == 0 {
        scratch[UNIT_POS_Y as usize] = of_plane;
    }
    sync_cube();
    let mut total = 0.0f32;
    #[unroll]
    for i in 0..PLANES {
        total += scratch[i];
    }
    total
}
