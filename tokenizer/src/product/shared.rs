//! A result that several threads write, each its own part.

/// The result, shared by threads that each write their own places.
pub(crate) struct Shared(*mut f32);

// SAFETY: its users give every thread other places of the buffer.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    /// That of all numbers of `out`, to which there is no other reference meanwhile.
    pub fn new(out: &mut [f32]) -> Self {
        Self(out.as_mut_ptr())
    }

    /// `count` numbers, which `write` gets to fill.
    ///
    /// # Safety
    /// `write` writes all of them.
    pub unsafe fn fill(count: usize, write: impl FnOnce(&Self)) -> Vec<f32> {
        let mut out = Vec::with_capacity(count);
        write(&Self(out.as_mut_ptr()));
        // SAFETY: the capacity is there, and the caller promised that the numbers are.
        unsafe { out.set_len(count) };
        out
    }

    /// The result from a place on.
    ///
    /// # Safety
    /// The place lies in the result.
    pub unsafe fn after(&self, place: usize) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { self.at(place) })
    }

    /// The place of a number.
    ///
    /// # Safety
    /// It lies in the result.
    pub unsafe fn at(&self, place: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(place) }
    }

    /// `count` numbers from `at` on.
    ///
    /// # Safety
    /// The range lies in the result, and no other reference to it exists.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn line(&self, at: usize, count: usize) -> &mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.at(at), count) }
    }

    /// Copies `numbers` to the place `at` and those after it.
    ///
    /// # Safety
    /// The range lies in the result, and no other reference to it exists.
    pub unsafe fn write(&self, at: usize, numbers: &[f32]) {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr(), self.at(at), numbers.len()) }
    }
}
