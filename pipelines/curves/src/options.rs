//! What a plot shows and how large it is.

/// What the horizontal axis counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum X {
    /// Optimiser steps.
    #[default]
    Steps,
    /// Time of training, in seconds, minutes, hours or days, whichever fits.
    Seconds,
    /// Examples seen, from the log's examples per second.
    Examples,
}

/// What a plot shows and how large it is.
#[derive(Clone, Debug, PartialEq)]
pub struct PlotOptions {
    /// The horizontal axis.
    pub x: X,
    /// A logarithmic axis for the loss; values of 0 and less are then not shown.
    pub log_loss: bool,
    /// How much noisy curves are smoothed: the span of the exponential moving average as a share of a run's lines, from 0
    /// (not smoothed) to 1.
    pub smoothing: f64,
    /// Width of the page in pixels, 400 to 8000.
    pub width: u32,
    /// Height of the page in pixels, to 8000; at least 300, and more for several rows of panels.
    pub height: u32,
}

impl Default for PlotOptions {
    fn default() -> Self {
        Self {
            x: X::Steps,
            log_loss: false,
            smoothing: 0.02,
            width: 1200,
            height: 900,
        }
    }
}
