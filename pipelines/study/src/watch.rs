//! What a study reports while it runs, and how it is stopped.

use std::sync::atomic::AtomicBool;

/// What a study reports while it runs.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// What comes next.
    pub what: &'a str,
    /// Points that are done.
    pub done: usize,
    /// All points.
    pub all: usize,
}

/// Receives events, and may ask to stop.
pub struct Watch<'a> {
    /// Receives events.
    pub observe: &'a mut dyn FnMut(Event<'_>),
    /// Set to stop after the current point.
    pub stop: &'a AtomicBool,
}
