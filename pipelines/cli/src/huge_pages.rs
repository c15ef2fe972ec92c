//! Huge pages for large tensors.
//!
//! A model takes gigabytes of fresh memory, and every operation allocates more. With pages of 4 KiB the system spends as
//! much time on mapping them one by one as the program does on filling them.

use std::alloc::{GlobalAlloc, Layout, System};

/// Smallest allocation that gets huge pages, in bytes: two of them.
const MIN_BYTES: usize = 4 << 20;

/// The system's allocator, with huge pages for large allocations.
pub(crate) struct HugePages;

/// Asks the system to back an allocation with huge pages. The system may ignore it.
#[cfg(target_os = "linux")]
fn advise(start: *mut u8, size: usize) {
    if start.is_null() || size < MIN_BYTES {
        return;
    }
    let before = start.addr() % 4096;
    // SAFETY: the page in which an allocation starts is mapped as a whole, and the advice has no visible effect.
    unsafe {
        libc::madvise(start.sub(before).cast(), size + before, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut u8, _: usize) {}

// SAFETY: every call is passed to the system's allocator, but that zeros are written here.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's guarantees hold.
        let start = unsafe { System.alloc(layout) };
        advise(start, layout.size());
        start
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() < MIN_BYTES {
            // SAFETY: the caller's guarantees hold.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // The advice comes too late once the memory was written.
        // SAFETY: the caller's guarantees hold, and so many bytes were allocated.
        unsafe {
            let start = self.alloc(layout);
            if !start.is_null() {
                start.write_bytes(0, layout.size());
            }
            start
        }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's guarantees hold.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's guarantees hold.
        let start = unsafe { System.realloc(start, layout, size) };
        advise(start, size);
        start
    }
}
