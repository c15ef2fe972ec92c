//! Whether cards take kernels that are fixed beforehand, instead of those that were measured to be the fastest.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_ON: AtomicBool = AtomicBool::new(false);

/// Fixes kernels for the rest of this process. It is for whoever opens devices, before the first one: by itself it only keeps
/// this crate from operations that are always chosen by measurement.
pub fn turn_on() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// Whether kernels are fixed.
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}
