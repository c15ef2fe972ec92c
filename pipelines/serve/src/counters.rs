//! What has been done.

use std::sync::atomic::AtomicU64;

/// What a server has done since it started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub images: AtomicU64,
    pub failed: AtomicU64,
    pub cancelled: AtomicU64,
    pub refused: AtomicU64,
    pub batches: AtomicU64,
    pub scales: AtomicU64,
    /// Milliseconds of all scales.
    pub scale_milliseconds: AtomicU64,
}
