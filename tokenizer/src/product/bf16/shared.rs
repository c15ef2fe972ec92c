//! A result that several threads write.

/// The result, shared by threads that each write their own places.
pub(super) struct Shared(*mut f32);

// SAFETY: every thread gets other places of the buffer.
unsafe impl Sync for Shared {}

impl Shared {
    /// That of all numbers of `out`, to which there is no other reference meanwhile.
    pub fn new(out: &mut [f32]) -> Self {
        Self(out.as_mut_ptr())
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
}
