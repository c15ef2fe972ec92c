//! bf16 products on AMX: one instruction multiplies 16 x 32 numbers by 32 x 16, into sums of f32.
//!
//! Eight registers hold a tile each: four of sums, 32 x 32 numbers of the result, two of the left factor and two of the right one. As the
//! instruction adds up even and odd places of the inner axis apart, sums differ in their last bits from those of AVX512-BF16. (Intel 64
//! and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18, and TDPBF16PS in volume 2.)

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::cell::RefCell;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::avx512::{self, pack_panel};
pub(crate) use super::avx512::{pair, rounded};
use super::factor::Factor;
use super::turned;
use crate::product::shared::Shared;

/// Rows of a tile register, and 4-byte places of its rows.
const SIDE: usize = 16;
/// Rows of the result that are computed at once.
const HIGH: usize = 2 * SIDE;
/// Columns of it.
const WIDE: usize = 2 * SIDE;
/// Places of a tile register.
const TILE: usize = SIDE * SIDE;
/// Places of the right factor that a step reads.
const STEP: usize = SIDE * WIDE;
/// Multiplications below which one thread computes the whole product.
const SINGLE_THREADED: usize = 400_000_000;

/// Whether this CPU has the instructions, and the system lets the program use them. It is asked once.
pub(crate) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| avx512::is_available() && has_instructions() && is_permitted())
}

fn has_instructions() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let both = AMX_BF16 | AMX_TILE;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & both == both
}

/// Asks the system for the tile registers, which Linux gives to programs that ask.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call changes nothing but what the process may use.
    unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        ) == 0
    }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// How the tile registers are divided.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// Eight registers of 16 rows of 64 bytes.
static SHAPES: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// The tile registers of this thread, from here until it is dropped.
struct Registers(());

impl Registers {
    /// # Safety
    /// [`is_available`] said so.
    unsafe fn new() -> Self {
        // SAFETY: the caller's promise; the shapes are those of palette 1.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly)) };
        Self(())
    }

    /// 32 x 32 sums at `out`, whose rows are `stride` numbers apart; only the first 16 rows of them unless `both`.
    ///
    /// # Safety
    /// `a` has `steps` times two tiles, `b` `steps` times 16 rows of 32 places, and there is at least one step; the places of the sums
    /// can be written.
    unsafe fn sums(
        &self,
        (a, b): (*const u32, *const u32),
        steps: usize,
        out: *mut f32,
        stride: usize,
        both: bool,
    ) {
        let stride = 4 * stride;
        if both {
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    "tileloadd tmm4, [{a} + {narrow}]",
                    "tileloadd tmm6, [{b} + {wide}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {wide} + 64]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a} + {narrow} + 1024]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {a}, 2048",
                    "add {b}, 2048",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{out} + {stride}], tmm0",
                    "tilestored [{out} + {stride} + 64], tmm1",
                    "tilestored [{low} + {stride}], tmm2",
                    "tilestored [{low} + {stride} + 64], tmm3",
                    a = inout(reg) a => _,
                    b = inout(reg) b => _,
                    steps = inout(reg) steps => _,
                    narrow = in(reg) 4 * SIDE,
                    wide = in(reg) 4 * WIDE,
                    out = in(reg) out,
                    low = in(reg) out.byte_add(SIDE * stride),
                    stride = in(reg) stride,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        } else {
            // SAFETY: as above.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "2:",
                    "tileloadd tmm4, [{a} + {narrow}]",
                    "tileloadd tmm6, [{b} + {wide}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {wide} + 64]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "add {a}, 2048",
                    "add {b}, 2048",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{out} + {stride}], tmm0",
                    "tilestored [{out} + {stride} + 64], tmm1",
                    a = inout(reg) a => _,
                    b = inout(reg) b => _,
                    steps = inout(reg) steps => _,
                    narrow = in(reg) 4 * SIDE,
                    wide = in(reg) 4 * WIDE,
                    out = in(reg) out,
                    stride = in(reg) stride,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: `new` configured them.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Sums of a tile that is not full.
#[repr(align(64))]
struct Sums([f32; HIGH * WIDE]);

thread_local! {
    /// Buffers for packed factors, reused from product to product.
    static PACKED: RefCell<(Vec<u32>, Vec<u32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
    /// A panel of the right factor.
    static PANEL: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// `[m, n]`, the sums over `k` of `a` times `b`, whose numbers are rounded to bf16.
///
/// # Panics
/// If the instructions are not available.
pub(super) fn product([m, n, k]: [usize; 3], a: Factor, b: Factor) -> Vec<f32> {
    assert!(is_available(), "a CPU without AMX");
    if m == 0 || n == 0 || k == 0 {
        return vec![0.0; m * n];
    }
    // SAFETY: all sums are written.
    unsafe { Shared::fill(m * n, |out| product_to([m, n, k], a, b, out)) }
}

/// [`product`], written to `out`.
fn product_to([m, n, k]: [usize; 3], a: Factor, b: Factor, out: &Shared) {
    let steps = k.div_ceil(2 * SIDE);
    let (tiles, threads) = (m.div_ceil(HIGH), rayon::current_num_threads());
    let single_threaded = m * n * k < SINGLE_THREADED;
    PACKED.with_borrow_mut(|(packed_a, packed_b)| {
        // SAFETY: the features were checked above.
        unsafe { pack_left(a, [m, k], steps, packed_a) };
        let packed_a = packed_a.as_slice();
        if !single_threaded && tiles < 2 * threads {
            // Few rows: they do not keep all threads busy, and packing the other factor is most of the work.
            columns(packed_a, b, [m, n, k], out);
            return;
        }
        let whole = n.is_multiple_of(WIDE) && k.is_multiple_of(2 * SIDE);
        let packed_b = make_room(packed_b, n.div_ceil(WIDE) * steps * STEP, whole);
        let panels = packed_b.chunks_exact_mut(steps * STEP);
        for (panel, first) in panels.zip((0..n).step_by(WIDE)) {
            // SAFETY: as above.
            unsafe { pack_right(b, [n, k], first, panel) };
        }
        let packed_b = &*packed_b;
        let share = if single_threaded {
            tiles
        } else {
            tiles.div_ceil(2 * threads).max(1)
        };
        let work = |first: usize| {
            let a = &packed_a[first * 2 * TILE * steps..];
            let high = (share * HIGH).min(m - first * HIGH);
            // SAFETY: the instructions are there, and the lines are those of these rows alone.
            unsafe {
                let rows = out.after(first * HIGH * n);
                let registers = Registers::new();
                for (panel, column) in packed_b
                    .chunks_exact(steps * STEP)
                    .zip((0..n).step_by(WIDE))
                {
                    rows_of_panel(&registers, a, panel, [high, n, column], &rows);
                }
            }
        };
        if share == tiles {
            work(0);
        } else {
            let firsts = (0..tiles.div_ceil(share)).into_par_iter();
            firsts.for_each(|i| work(i * share));
        }
    });
}

/// Room for the `count` places of a packed factor: zeros, unless the factor is `whole`, so that it fills its tiles.
fn make_room(packed: &mut Vec<u32>, count: usize, whole: bool) -> &mut [u32] {
    if packed.len() < count {
        packed.resize(count, 0);
    }
    let room = &mut packed[..count];
    if !whole {
        room.fill(0);
    }
    room
}

/// The whole result, panel by panel of `b`, each packed by the thread that multiplies it.
fn columns(a: &[u32], b: Factor, [m, n, k]: [usize; 3], out: &Shared) {
    let steps = k.div_ceil(2 * SIDE);
    (0..n.div_ceil(WIDE)).into_par_iter().for_each(|panel| {
        let column = panel * WIDE;
        PANEL.with_borrow_mut(|packed| {
            let whole = column + WIDE <= n && k.is_multiple_of(2 * SIDE);
            let packed = make_room(packed, steps * STEP, whole);
            // SAFETY: `product` checked the features; the lines are those of this panel alone.
            unsafe {
                pack_right(b, [n, k], column, packed);
                let registers = Registers::new();
                rows_of_panel(&registers, a, packed, [m, n, column], out);
            }
        });
    });
}

/// All `high` rows of the columns from `column` on, of a result with rows of `n` numbers.
///
/// # Safety
/// No other thread writes these places.
unsafe fn rows_of_panel(
    registers: &Registers,
    a: &[u32],
    panel: &[u32],
    [high, n, column]: [usize; 3],
    out: &Shared,
) {
    let steps = panel.len() / STEP;
    let columns = WIDE.min(n - column);
    let mut edge = Sums([0.0; HIGH * WIDE]);
    for (tile, row) in a
        .chunks_exact(2 * TILE * steps)
        .zip((0..high).step_by(HIGH))
    {
        let rows = HIGH.min(high - row);
        let factors = (tile.as_ptr(), panel.as_ptr());
        if (rows, columns) == (HIGH, WIDE) {
            // SAFETY: the tile lies in the result, whose places are the caller's.
            unsafe { registers.sums(factors, steps, out.at(row * n + column), n, true) };
            continue;
        }
        // SAFETY: the sums are ours, and each line lies in the result.
        unsafe {
            registers.sums(factors, steps, edge.0.as_mut_ptr(), WIDE, rows > SIDE);
            for (i, sums) in edge.0.chunks_exact(WIDE).take(rows).enumerate() {
                let line = out.line((row + i) * n + column, columns);
                line.copy_from_slice(&sums[..columns]);
            }
        }
    }
}

/// A panel of the right factor, `[steps, 16, 32]`; places of `panel` that no number fills hold zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack_right(factor: Factor, [n, k]: [usize; 2], first: usize, panel: &mut [u32]) {
    let pairs = k.div_ceil(2);
    pack_panel::<WIDE>(factor, [n, k], first, &mut panel[..pairs * WIDE]);
}

/// Where the pairs of a row in a step are.
fn place(steps: usize, row: usize, step: usize) -> usize {
    let (tile, half) = (row / HIGH, row / SIDE % 2);
    ((tile * steps + step) * 2 + half) * TILE + row % SIDE * SIDE
}

/// The left factor, `[tiles of 32 rows, steps, 2, 16, 16]`, padded with zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack_left(factor: Factor, [m, k]: [usize; 2], steps: usize, packed: &mut Vec<u32>) {
    let whole = m.is_multiple_of(HIGH) && k.is_multiple_of(2 * SIDE);
    let packed = make_room(packed, m.div_ceil(HIGH) * steps * 2 * TILE, whole);
    match factor {
        Factor::Rows(x) => {
            for (row, numbers) in x.chunks_exact(k).enumerate() {
                for (step, numbers) in numbers.chunks(2 * SIDE).enumerate() {
                    let at = place(steps, row, step);
                    turned::write(turned::rounded(numbers), &mut packed[at..at + SIDE]);
                }
            }
        }
        Factor::Columns(x) => {
            for first in (0..m).step_by(SIDE) {
                let count = SIDE.min(m - first);
                let row = |place: usize| -> &[f32] {
                    if place < k {
                        &x[place * m + first..][..count]
                    } else {
                        &[]
                    }
                };
                for step in 0..steps {
                    let places = (0..SIDE).map(|p| 2 * (step * SIDE + p));
                    let pairs = places.map(|place| [row(place), row(place + 1)]);
                    let tile = &mut packed[place(steps, first, step)..][..TILE];
                    let lines = tile.chunks_exact_mut(SIDE);
                    for (line, pairs) in lines.zip(turned::of_pairs(pairs)) {
                        turned::write(pairs, line);
                    }
                }
            }
        }
        Factor::Bf16(_) | Factor::Int8(_) => unreachable!("only right factors are stored so"),
    }
}

/// A left factor as the registers read it.
#[derive(Debug, Default)]
pub(crate) struct Left {
    rows: usize,
    /// Pairs of a row.
    pairs: usize,
    steps: usize,
    /// Zeros where no pair is; there may be more than it has.
    places: Vec<u32>,
}

impl Left {
    /// Of `rows` rows of pairs.
    pub fn of_pairs(pairs: &[u32], [rows, width]: [usize; 2]) -> Self {
        let mut left = Self::default();
        left.resize(rows, width);
        for (row, pairs) in pairs.chunks_exact(width).enumerate() {
            for (step, pairs) in pairs.chunks(SIDE).enumerate() {
                left.line(row, step)[..pairs.len()].copy_from_slice(pairs);
            }
        }
        left
    }

    /// Of `rows` rows of `width` numbers in bf16.
    pub fn set_halves(&mut self, halves: &[u16], [rows, width]: [usize; 2]) {
        self.resize(rows, width.div_ceil(2));
        for (row, halves) in halves.chunks_exact(width).enumerate() {
            for (step, halves) in halves.chunks(2 * SIDE).enumerate() {
                let (pairs, last) = halves.as_chunks::<2>();
                let line = self.line(row, step);
                for (to, &[low, high]) in line.iter_mut().zip(pairs) {
                    *to = u32::from(low) | (u32::from(high) << 16);
                }
                if let [last] = last {
                    line[pairs.len()] = u32::from(*last);
                }
            }
        }
    }

    /// Makes room.
    fn resize(&mut self, rows: usize, pairs: usize) {
        if (self.rows, self.pairs) == (rows, pairs) {
            return; // zeros are where they were
        }
        (self.rows, self.pairs) = (rows, pairs);
        self.steps = pairs.div_ceil(SIDE);
        let whole = rows.is_multiple_of(HIGH) && pairs.is_multiple_of(SIDE);
        let count = self.count();
        make_room(&mut self.places, count, whole);
    }

    /// Places of all tiles.
    fn count(&self) -> usize {
        self.rows.div_ceil(HIGH) * self.steps * 2 * TILE
    }

    /// The pairs of a row in a step.
    fn line(&mut self, row: usize, step: usize) -> &mut [u32] {
        let at = place(self.steps, row, step);
        &mut self.places[at..at + SIDE]
    }

    /// The product with `right`, `[rows, columns]`, at the start of `out`, which is made as long at least.
    ///
    /// # Panics
    /// If the inner axes differ, or the instructions are not available.
    pub fn multiply<'a>(&self, right: &Right, out: &'a mut Vec<f32>) -> &'a mut [f32] {
        assert_eq!(self.steps, right.steps, "steps of the inner axis");
        assert!(is_available(), "a CPU without AMX");
        let n = right.columns;
        let count = self.rows * n;
        if out.len() < count {
            out.resize(count, 0.0);
        }
        if self.steps == 0 {
            out[..count].fill(0.0); // no product is written over what was there
        }
        let out = &mut out[..count];
        let shared = Shared::new(out);
        let places = &self.places[..self.count()];
        let panels = right.places[..right.count()].chunks_exact((self.steps * STEP).max(1));
        // SAFETY: the instructions are there, and nobody else knows the result.
        unsafe {
            let registers = Registers::new();
            for (panel, column) in panels.zip((0..n).step_by(WIDE)) {
                let shape = [self.rows, n, column];
                rows_of_panel(&registers, places, panel, shape, &shared);
            }
        }
        out
    }
}

/// A right factor as the registers read it.
#[derive(Debug, Default)]
pub(crate) struct Right {
    columns: usize,
    /// Pairs of a column.
    pairs: usize,
    steps: usize,
    /// Zeros where no pair is; there may be more than it has.
    places: Vec<u32>,
}

impl Right {
    /// Of pairs, `[pairs, columns]`.
    pub fn set_pairs(&mut self, all: &[u32], [pairs, columns]: [usize; 2]) {
        self.resize(columns, pairs);
        let size = self.steps * STEP;
        for (row, line) in all.chunks_exact(columns).enumerate() {
            let panels = self.places.chunks_exact_mut(size);
            for (panel, line) in panels.zip(line.chunks(WIDE)) {
                panel[row * WIDE..][..line.len()].copy_from_slice(line);
            }
        }
    }

    /// Of the rows of its transpose, `[columns, numbers]`.
    pub fn set_rows(&mut self, rows: &[f32], [columns, numbers]: [usize; 2]) {
        self.resize(columns, numbers.div_ceil(2));
        let panels = self.places.chunks_exact_mut(self.steps * STEP);
        for (panel, first) in panels.zip((0..columns).step_by(WIDE)) {
            // SAFETY: callers have asked for the instructions.
            unsafe { pack_right(Factor::Rows(rows), [columns, numbers], first, panel) };
        }
    }

    /// As [`Left::resize`].
    fn resize(&mut self, columns: usize, pairs: usize) {
        if (self.columns, self.pairs) == (columns, pairs) {
            return;
        }
        (self.columns, self.pairs) = (columns, pairs);
        self.steps = pairs.div_ceil(SIDE);
        let whole = columns.is_multiple_of(WIDE) && pairs.is_multiple_of(SIDE);
        let count = self.count();
        make_room(&mut self.places, count, whole);
    }

    /// Places of all panels.
    fn count(&self) -> usize {
        self.columns.div_ceil(WIDE) * self.steps * STEP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers, whose sums are exact in every order.
    fn numbers(count: usize, factor: usize) -> Vec<f32> {
        let number = |i: usize| ((i * factor + 5) % 13) as f32 - 6.0;
        (0..count).map(number).collect()
    }

    fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        let place = |i: usize| x[i % rows * columns + i / rows];
        (0..rows * columns).map(place).collect()
    }

    #[test]
    fn products_of_all_shapes_and_layouts() {
        if !is_available() {
            return;
        }
        for [m, n, k] in [
            [1, 1, 1],
            [16, 32, 32],
            [32, 32, 64],
            [33, 31, 65],
            [5, 100, 33],
            [70, 7, 31],
            [200, 96, 250],
        ] {
            let (a, b) = (numbers(m * k, 29), numbers(k * n, 17));
            let expected: Vec<f32> = (0..m * n)
                .map(|i| (0..k).map(|p| a[i / n * k + p] * b[p * n + i % n]).sum())
                .collect();
            let (at, bt) = (transposed(&a, m, k), transposed(&b, k, n));
            for a in [Factor::Rows(&a), Factor::Columns(&at)] {
                for b in [Factor::Columns(&b), Factor::Rows(&bt)] {
                    assert_eq!(product([m, n, k], a, b), expected, "{m} {n} {k}");
                }
            }
        }
    }

    /// Factors that are set again, with the same and with other sizes, keep nothing of what they were.
    #[test]
    fn factors_are_used_again() {
        if !is_available() {
            return;
        }
        let (mut left, mut right) = (Left::default(), Right::default());
        let mut out = vec![7.0; 100_000];
        for [m, n, k] in [
            [40, 33, 33],
            [40, 33, 34],
            [40, 33, 33],
            [9, 70, 5],
            [64, 64, 64],
            [40, 33, 1],
        ] {
            let (a, b) = (numbers(m * k, 29 + k), numbers(n * k, 17 + m));
            let halves: Vec<u16> = a.iter().map(|&x| rounded(x) as u16).collect();
            left.set_halves(&halves, [m, k]);
            right.set_rows(&b, [n, k]);
            let ours = left.multiply(&right, &mut out);
            let expected = product([m, n, k], Factor::Rows(&a), Factor::Rows(&b));
            assert_eq!(ours, expected, "{m} {n} {k}");
        }
    }

    #[test]
    fn threads_and_rows_change_no_sum() {
        if !is_available() {
            return;
        }
        for [m, n, k] in [[700, 1024, 600], [13, 8001, 4099]] {
            assert!(m * n * k >= SINGLE_THREADED);
            let number = |i: usize| ((i * 29 + 5) % 1013) as f32 / 97.0 - 5.0;
            let a: Vec<f32> = (0..m * k).map(number).collect();
            let b: Vec<f32> = (0..k * n).map(|i| number(3 * i)).collect();
            let all = product([m, n, k], Factor::Rows(&a), Factor::Columns(&b));
            for i in [0, 12, m - 1] {
                let row = Factor::Rows(&a[i * k..][..k]);
                let row = product([1, n, k], row, Factor::Columns(&b));
                assert_eq!(all[i * n..][..n], row);
            }
            let near = |i: usize, j: usize| {
                let products = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j]));
                let sum: f64 = products.sum();
                (f64::from(all[i * n + j]) - sum).abs() < 2e-2 * sum.abs().max(100.0)
            };
            assert!(near(0, 0) && near(m - 1, n - 1) && near(m / 2, n / 3));
        }
    }
}
