//! Memory for large tensors in large pages.
//!
//! A model is gigabytes of fresh memory, and every operation makes more of it. In pages of 4 KiB the system spends as much
//! time on handing them out one by one as the program does on filling them.

use std::alloc::{GlobalAlloc, Layout, System};

/// Allocations from this size on, bytes: twice a large page.
const LARGE: usize = 4 << 20;

/// The system's allocator, which asks for large pages where they are worth it.
pub(crate) struct Pages;

/// Asks the system to back an allocation with large pages. It is free not to.
#[cfg(target_os = "linux")]
fn advise(start: *mut u8, size: usize) {
    if start.is_null() || size < LARGE {
        return;
    }
    let before = start.addr() % 4096;
    // SAFETY: the page in which an allocation begins is mapped as a whole, and the advice changes nothing that can be seen.
    unsafe {
        libc::madvise(start.sub(before).cast(), size + before, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut u8, _: usize) {}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Pages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let start = unsafe { System.alloc(layout) };
        advise(start, layout.size());
        start
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let start = unsafe { System.alloc_zeroed(layout) };
        advise(start, layout.size());
        start
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        let start = unsafe { System.realloc(start, layout, size) };
        advise(start, size);
        start
    }
}
