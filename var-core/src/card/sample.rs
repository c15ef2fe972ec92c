//! Drawing one of many values, with top-k and top-p, without sorting.
//!
//! Logits become integers of the same order. The last value that top-k or top-p keeps is then found bit by bit, by counting and
//! by summing what is above or below.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use nextscale_tokenizer::card::memory::empty;

use crate::card::cube::{PLANES, UNITS, total};

/// The most values that a cube can hold.
pub(super) const MOST: usize = 32 * UNITS;

/// How a value is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw {
    /// Logits are divided by it.
    pub temperature: f32,
    /// Keeps so many of the most likely values, and those equal to the last of them; 0 keeps all.
    pub top_k: u32,
    /// Drops the least likely values up to this total probability; negative drops none.
    pub rare: f32,
}

/// One index, `[n, 1]` in i32, for each row of the logits, `[n, v]` in f32 with `v` at most [`MOST`]: the first value up to which the
/// probabilities of what is kept exceed `u`, `[n, 1]` in f32, of their total.
pub(super) fn sample(logits: CubeTensor, u: CubeTensor, draw: Draw) -> CubeTensor {
    let shape = logits.shape();
    let [n, values] = [shape[0], shape[1]];
    let out = empty(&logits, Shape::new([n, 1]), DType::I32);
    let [logits, u] = [logits, u].map(into_contiguous);
    // SAFETY: every cube keeps to its row, and units to the values that there are.
    unsafe {
        sample_kernel::launch_unchecked(
            &out.client,
            CubeCount::Static(n as u32, 1, 1),
            CubeDim::new_2d(32, PLANES as u32),
            logits.into_tensor_arg(),
            u.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            draw.temperature,
            draw.top_k,
            draw.rare,
            values,
        );
    }
    out
}

#[cube(launch_unchecked)]
fn sample_kernel(
    logits: &Tensor<f32>,
    u: &Tensor<f32>,
    out: &mut Tensor<i32>,
    temperature: f32,
    top_k: u32,
    rare: f32,
    #[comptime] values: usize,
) {
    let row = CUBE_POS_X as usize;
    // Each unit has consecutive values.
    let count = comptime!(values.div_ceil(UNITS));
    let first = UNIT_POS as usize * count;
    let mut scratch = Shared::<[f32]>::new_slice(PLANES);
    let mut keys = Array::<u32>::new(count);
    let mut weights = Array::<f32>::new(count);
    let mut top = f32::new(f32::NEG_INFINITY);
    #[unroll]
    for i in 0..count {
        weights[i] = f32::new(f32::NEG_INFINITY);
        keys[i] = 0u32;
        if first + i < values {
            let logit = logits[row * values + first + i] / temperature;
            weights[i] = logit;
            keys[i] = key(logit);
            top = top.max(logit);
        }
    }
    top = largest(top, &mut scratch);

    let mut lowest = 1u32;
    if top_k > 0u32 {
        lowest = kth_largest(&keys, top_k, &mut scratch).max(1u32);
    }

    let mut own = 0.0f32;
    #[unroll]
    for i in 0..count {
        let mut weight = 0.0f32;
        if keys[i] >= lowest {
            weight = (weights[i] - top).exp();
        }
        weights[i] = weight;
        own += weight;
    }
    let sum = total(own, &mut scratch);

    if rare >= 0.0f32 {
        let found = least_kept(&keys, &weights, rare * sum, &mut scratch).min(key(top));
        own = 0.0f32;
        #[unroll]
        for i in 0..count {
            if keys[i] < found {
                weights[i] = 0.0;
            }
            own += weights[i];
        }
    }

    let index = passed(&weights, own, u[row], &mut scratch, values);
    if UNIT_POS == 0 {
        out[row] = i32::cast_from(index).min(comptime!(values as i32 - 1));
    }
}

/// The k-th largest key of a cube, bit by bit.
#[cube]
fn kth_largest(keys: &Array<u32>, k: u32, scratch: &mut Shared<[f32]>) -> u32 {
    let mut found = 0u32;
    for bit in 0u32..32u32 {
        let candidate = found | (0x8000_0000u32 >> bit);
        let mut above = 0.0f32;
        #[unroll]
        for i in 0..keys.len() {
            if keys[i] >= candidate {
                above += 1.0;
            }
        }
        if total(above, scratch) >= f32::cast_from(k) {
            found = candidate;
        }
    }
    found
}

/// The largest number such that the weights of all keys below it are at most `rare` in total.
#[cube]
fn least_kept(
    keys: &Array<u32>,
    weights: &Array<f32>,
    rare: f32,
    scratch: &mut Shared<[f32]>,
) -> u32 {
    let mut found = 0u32;
    for bit in 0u32..32u32 {
        let candidate = found | (0x8000_0000u32 >> bit);
        let mut below = 0.0f32;
        #[unroll]
        for i in 0..keys.len() {
            if keys[i] < candidate {
                below += weights[i];
            }
        }
        if total(below, scratch) <= rare {
            found = candidate;
        }
    }
    found
}

/// How many values are passed before the running total of the weights exceeds `u` of the whole; `own` is this unit's total.
#[cube]
fn passed(
    weights: &Array<f32>,
    own: f32,
    u: f32,
    scratch: &mut Shared<[f32]>,
    #[comptime] values: usize,
) -> f32 {
    let first = UNIT_POS as usize * weights.len();
    let mut running = plane_exclusive_sum(own);
    let of_plane = plane_sum(own);
    sync_cube();
    if UNIT_POS_X == 0 {
        scratch[UNIT_POS_Y as usize] = of_plane;
    }
    sync_cube();
    let mut kept = 0.0f32;
    #[unroll]
    for i in 0..PLANES {
        if i < UNIT_POS_Y as usize {
            running += scratch[i];
        }
        kept += scratch[i];
    }
    let threshold = u * kept;
    let mut passed = 0.0f32;
    #[unroll]
    for i in 0..weights.len() {
        running += weights[i];
        if first + i < values && running <= threshold {
            passed += 1.0;
        }
    }
    total(passed, scratch)
}

/// An integer that is larger where the logit is larger; 0 belongs to no logit.
#[cube]
fn key(logit: f32) -> u32 {
    let bits = u32::reinterpret(logit);
    let sign = bits >> 31u32;
    // Negative numbers are larger the smaller their bits are.
    select(sign == 1u32, !bits, bits | 0x8000_0000u32)
}

/// The largest value of all units of a cube.
#[cube]
fn largest(value: f32, scratch: &mut Shared<[f32]>) -> f32 {
    let of_plane = plane_max(value);
    sync_cube();
    if UNIT_POS_X == 0 {
        scratch[UNIT_POS_Y as usize] = of_plane;
    }
    sync_cube();
    let mut largest = f32::new(f32::NEG_INFINITY);
    #[unroll]
    for i in 0..PLANES {
        largest = largest.max(scratch[i]);
    }
    largest
}
