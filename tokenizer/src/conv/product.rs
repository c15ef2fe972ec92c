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
