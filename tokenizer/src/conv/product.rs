//! Matrix products on raw memory, and buffers that several tasks fill.

/// `c = [c +] a b`, with `a` `[m, k]`, `b` `[k, n]`, `c` `[m, n]`; strides of rows and columns are given.
pub(super) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: (usize, usize),
    pub b: (usize, usize),
    pub c: (usize, usize),
    pub add: bool,
}

impl Product {
    /// # Safety
    /// Every index that shape and strides reach must be inside the buffers, and no other reference may write them.
    pub(super) unsafe fn run(&self, a: *const f32, b: *const f32, c: *mut f32) {
        let s = |stride: usize| stride as isize;
        unsafe {
            gemm::gemm(
                self.m,
                self.n,
                self.k,
                c,
                s(self.c.1),
                s(self.c.0),
                self.add,
                a,
                s(self.a.1),
                s(self.a.0),
                b,
                s(self.b.1),
                s(self.b.0),
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

/// A buffer that several tasks write, each its own part.
pub(super) struct Shared(*mut f32);
// SAFETY: `write` is the only access, and its callers guarantee that no two tasks write the same place.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn new(numbers: &mut [f32]) -> Self {
        Self(numbers.as_mut_ptr())
    }

    /// `count` numbers, which `write` gets to fill.
    ///
    /// # Safety
    /// `write` writes all of them.
    pub(super) unsafe fn fill(count: usize, write: impl FnOnce(&Self)) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(count);
        write(&Self(numbers.as_mut_ptr()));
        // SAFETY: the capacity is there, and the caller promised that the numbers are.
        unsafe { numbers.set_len(count) };
        numbers
    }

    /// Copies `from` to the buffer at index `at`.
    ///
    /// # Safety
    /// The range is inside the buffer, which still exists, and no other task accesses it.
    pub(super) unsafe fn write(&self, at: usize, from: &[f32]) {
        // SAFETY: guaranteed by the caller.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.0.add(at), from.len()) }
    }
}
