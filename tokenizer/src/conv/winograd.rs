//! 3 x 3 convolutions on large planes with a quarter of the multiplications (Winograd).
//!
//! F(4 x 4, 3 x 3) of Lavin and Gray (arXiv 1509.09308): tiles of 6 x 6 cells and the kernels are transformed to a basis
//! in which convolution is multiplication, so that 36 matrix products replace 144 taps. Rounding errors are a few times
//! larger than those of the direct sum. Only for values, not for gradients: training uses the direct sum.

use rayon::prelude::*;

use super::columns::Geometry;
use super::product::Product;
use crate::product::shared::Shared;

/// Cells of a tile's result along each side.
const STEP: usize = 4;
/// Cells that a tile reads along each side.
const TILE: usize = 6;
/// Products of a tile.
const POINTS: usize = TILE * TILE;
/// Tiles that are transformed together.
const LANES: usize = 16;
/// Numbers in a block of transformed tiles: four megabytes.
const ROOM: usize = 1 << 20;
/// With fewer tiles than this, transforming the kernels does not pay.
const FEWEST_TILES: usize = 128;
/// With fewer channels than this, transforming the tiles does not pay.
const FEWEST_CHANNELS: usize = 64;

/// One number of each of [`LANES`] tiles.
type Lanes = [f32; LANES];

/// Whether this is faster than the direct sum.
pub(super) fn pays(g: &Geometry) -> bool {
    let [from, h, w] = g.input;
    let [to, out_h, out_w] = g.output;
    let same = g.kernel == 3 && g.stride == 1 && g.before == 1 && (h, w) == (out_h, out_w);
    let tiles = g.b * h.div_ceil(STEP) * w.div_ceil(STEP);
    same && from.min(to) >= FEWEST_CHANNELS && tiles >= FEWEST_TILES && w >= STEP * LANES / 2
}

/// `[b, c, h, w]` and weights `[c', c, 3, 3]` to `[b, c', h, w]`, plus `bias` `[c']`.
pub(super) fn forward(g: &Geometry, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let ([from, h, w], to) = (g.input, g.output[0]);
    assert_eq!(x.len(), g.b * from * h * w);
    assert_eq!((weight.len(), bias.len()), (to * from * 9, to));
    let kernels = transform_kernels(weight, to, from);
    let wide = w.div_ceil(STEP).next_multiple_of(LANES); // tiles of a row, with the last lanes unused
    let high = h.div_ceil(STEP);
    let rows = (ROOM / (POINTS * from.max(to) * wide)).clamp(1, high);
    let starts = (0..g.b).flat_map(|image| (0..high).step_by(rows).map(move |y| (image, y)));
    let blocks: Vec<(usize, usize)> = starts.collect();
    let mut out = vec![0.0; g.b * to * h * w];
    let shared = Shared::new(&mut out);
    let work = |buffers: &mut Buffers, &(image, first): &(usize, usize)| {
        let count = rows.min(high - first);
        let tiles = count * wide;
        buffers.fit(POINTS * from * tiles, POINTS * to * tiles, wide);
        for (c, r) in (0..from).flat_map(|c| (0..count).map(move |r| (c, r))) {
            let plane = &x[(image * from + c) * h * w..][..h * w];
            fill_strip(plane, w, (first + r) * STEP, wide, &mut buffers.strip);
            let at = c * tiles + r * wide;
            transform_tiles(&buffers.strip, wide, &mut buffers.tiles[at..], from * tiles);
        }
        buffers.multiply(&kernels, [from, to], tiles);
        for (c, r) in (0..to).flat_map(|c| (0..count).map(move |r| (c, r))) {
            let at = c * tiles + r * wide;
            let results = &buffers.results[at..];
            transform_results(results, to * tiles, wide, bias[c], &mut buffers.strip);
            let y = (first + r) * STEP;
            let lines = buffers.strip.chunks_exact(STEP * wide);
            for (line, y) in lines.zip(y..h.min(y + STEP)) {
                let place = ((image * to + c) * h + y) * w;
                // SAFETY: the row is inside the planes and belongs to this block alone.
                unsafe { shared.write(place, &line[..w]) };
            }
        }
    };
    blocks.par_iter().for_each_init(Buffers::default, work);
    out
}

/// Buffers that a worker reuses from block to block.
#[derive(Default)]
struct Buffers {
    /// `[36, c, tiles]`.
    tiles: Vec<f32>,
    /// `[36, c', tiles]`.
    results: Vec<f32>,
    /// Six input rows of a row of tiles, or four output rows.
    strip: Vec<f32>,
}

impl Buffers {
    fn fit(&mut self, tiles: usize, results: usize, wide: usize) {
        self.tiles.resize(tiles, 0.0);
        self.results.resize(results, 0.0);
        self.strip.resize(TILE * strip_width(wide), 0.0);
    }

    /// Multiplies the kernels `[36, c', c]` with the tiles, point by point.
    fn multiply(&mut self, kernels: &[f32], [from, to]: [usize; 2], tiles: usize) {
        let product = Product {
            m: to,
            n: tiles,
            k: from,
            a: (from, 1),
            b: (tiles, 1),
            c: (tiles, 1),
            add: false,
        };
        for point in 0..POINTS {
            let a = &kernels[point * to * from..][..to * from];
            let b = &self.tiles[point * from * tiles..][..from * tiles];
            let c = &mut self.results[point * to * tiles..][..to * tiles];
            // SAFETY: the slices have the sizes of the product.
            unsafe { product.run(a.as_ptr(), b.as_ptr(), c.as_mut_ptr()) };
        }
    }
}

/// Cells of a strip's row: those of the tiles, and two more that the last tile reads.
fn strip_width(wide: usize) -> usize {
    STEP * wide + TILE - STEP
}

/// The six rows from `y - 1` on, each from column -1 on, with zeros outside the plane.
fn fill_strip(plane: &[f32], w: usize, y: usize, wide: usize, strip: &mut [f32]) {
    let h = plane.len() / w;
    for (r, row) in strip.chunks_exact_mut(strip_width(wide)).enumerate() {
        row.fill(0.0);
        if (1..=h).contains(&(y + r)) {
            let source = &plane[(y + r - 1) * w..][..w];
            row[1..=w].copy_from_slice(source);
        }
    }
}

/// Kernels `[c', c, 3, 3]` to `[36, c', c]`: `G g G'`.
fn transform_kernels(weight: &[f32], to: usize, from: usize) -> Vec<f32> {
    let side = |g: [f32; 3]| -> [f32; TILE] {
        let (even, odd) = (g[0] + g[2], g[1]);
        let (far, middle) = (g[0] / 24.0 + g[2] / 6.0, g[1] / 12.0);
        [
            g[0] / 4.0,
            -(even + odd) / 6.0,
            -(even - odd) / 6.0,
            far + middle,
            far - middle,
            g[2],
        ]
    };
    let mut all = vec![0.0; POINTS * to * from];
    let shared = Shared::new(&mut all);
    (0..to).into_par_iter().for_each(|o| {
        let mut rows = vec![0.0; POINTS * from];
        for (c, g) in weight[o * from * 9..][..from * 9]
            .chunks_exact(9)
            .enumerate()
        {
            let columns: [[f32; TILE]; 3] =
                std::array::from_fn(|j| side([g[j], g[3 + j], g[6 + j]]));
            for i in 0..TILE {
                let row = side([columns[0][i], columns[1][i], columns[2][i]]);
                for (j, value) in row.into_iter().enumerate() {
                    rows[(i * TILE + j) * from + c] = value;
                }
            }
        }
        for (point, row) in rows.chunks_exact(from).enumerate() {
            // SAFETY: each kernel writes its own rows.
            unsafe { shared.write((point * to + o) * from, row) };
        }
    });
    all
}

#[inline(always)]
fn lanes(f: impl Fn(usize) -> f32) -> Lanes {
    let mut all = [0.0; LANES];
    for (t, value) in all.iter_mut().enumerate() {
        *value = f(t);
    }
    all
}

/// `B' d` of a column.
#[inline(always)]
fn side_in(d: &[Lanes; TILE]) -> [Lanes; TILE] {
    [
        lanes(|t| 4.0 * d[0][t] - 5.0 * d[2][t] + d[4][t]),
        lanes(|t| (d[4][t] - 4.0 * d[2][t]) + (d[3][t] - 4.0 * d[1][t])),
        lanes(|t| (d[4][t] - 4.0 * d[2][t]) - (d[3][t] - 4.0 * d[1][t])),
        lanes(|t| (d[4][t] - d[2][t]) + 2.0 * (d[3][t] - d[1][t])),
        lanes(|t| (d[4][t] - d[2][t]) - 2.0 * (d[3][t] - d[1][t])),
        lanes(|t| 4.0 * d[1][t] - 5.0 * d[3][t] + d[5][t]),
    ]
}

/// `A' m` of a column.
#[inline(always)]
fn side_out(m: &[Lanes; TILE]) -> [Lanes; STEP] {
    [
        lanes(|t| m[0][t] + (m[1][t] + m[2][t]) + (m[3][t] + m[4][t])),
        lanes(|t| (m[1][t] - m[2][t]) + 2.0 * (m[3][t] - m[4][t])),
        lanes(|t| (m[1][t] + m[2][t]) + 4.0 * (m[3][t] + m[4][t])),
        lanes(|t| (m[1][t] - m[2][t]) + 8.0 * (m[3][t] - m[4][t]) + m[5][t]),
    ]
}

widest!(
    transform_tiles,
    tiles_body,
    (strip: &[f32], wide: usize, tiles: &mut [f32], stride: usize)
);

/// `B' d B` for a row of tiles; point i of the row is written to `tiles[i * stride ..]`.
#[inline(always)]
fn tiles_body(strip: &[f32], wide: usize, tiles: &mut [f32], stride: usize) {
    for group in (0..wide).step_by(LANES) {
        let mut half = [[[0.0; LANES]; TILE]; TILE]; // rows of B' d
        for j in 0..TILE {
            let column = std::array::from_fn(|i| {
                let row = &strip[i * strip_width(wide) + group * STEP + j..];
                let row = &row[..STEP * (LANES - 1) + 1];
                lanes(|t| row[STEP * t])
            });
            for (row, value) in half.iter_mut().zip(side_in(&column)) {
                row[j] = value;
            }
        }
        for (i, row) in half.iter().enumerate() {
            for (j, value) in side_in(row).iter().enumerate() {
                tiles[(i * TILE + j) * stride + group..][..LANES].copy_from_slice(value);
            }
        }
    }
}

widest!(
    transform_results,
    results_body,
    (results: &[f32], stride: usize, wide: usize, bias: f32, lines: &mut [f32])
);

/// `A' m A` plus the bias for a row of tiles: four lines of `4 wide` cells.
#[inline(always)]
fn results_body(results: &[f32], stride: usize, wide: usize, bias: f32, lines: &mut [f32]) {
    for group in (0..wide).step_by(LANES) {
        let mut half = [[[0.0; LANES]; TILE]; STEP]; // rows of A' m
        for j in 0..TILE {
            let column = std::array::from_fn(|i| {
                let at = (i * TILE + j) * stride + group;
                let from: &[f32; LANES] = results[at..].first_chunk().expect("whole lanes");
                *from
            });
            for (row, value) in half.iter_mut().zip(side_out(&column)) {
                row[j] = value;
            }
        }
        for (i, row) in half.iter().enumerate() {
            let line = &mut lines[(i * wide + group) * STEP..][..STEP * LANES];
            let cells = side_out(row);
            for (t, cell) in line.chunks_exact_mut(STEP).enumerate() {
                for (j, value) in cell.iter_mut().enumerate() {
                    *value = cells[j][t] + bias;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::kernel;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn same_as_the_direct_sum() {
        for (b, from, to, h, w) in [
            (1, 64, 64, 48, 64),
            (2, 65, 70, 33, 41),
            (3, 64, 66, 30, 97),
        ] {
            let g = Geometry {
                b,
                input: [from, h, w],
                output: [to, h, w],
                kernel: 3,
                stride: 1,
                before: 1,
            };
            assert!(pays(&g));
            let x = numbers(b * from * h * w, 1);
            let mut weight = numbers(to * from * 9, 2);
            weight.iter_mut().for_each(|w| *w /= 24.0); // about one over the root of the taps
            let bias = numbers(to, 3);
            let ours = forward(&g, &x, &weight, &bias);
            let direct = kernel::forward(&g, &x, &weight, Some(&bias));
            let pairs = ours.iter().zip(&direct);
            let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 3e-5, "off by {off}"); // of results of up to 2
        }
    }

    #[test]
    fn small_ones_are_left_alone() {
        let g = |channels, side| Geometry {
            b: 1,
            input: [channels, side, side],
            output: [channels, side, side],
            kernel: 3,
            stride: 1,
            before: 1,
        };
        assert!(pays(&g(128, 256)) && pays(&g(512, 64)));
        assert!(!pays(&g(48, 256)) && !pays(&g(512, 16)));
    }
}
