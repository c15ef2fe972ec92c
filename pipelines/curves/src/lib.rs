//! Plots of training runs: a page of curves as SVG or PNG, a summary in a few lines, event files for TensorBoard.
//!
//! ```no_run
//! use std::path::Path;
//! use nextscale_curves::{Log, PlotOptions, plot, summary};
//!
//! let log = Log::read(Path::new("runs/icons"))?;
//! println!("{}", summary(&log));
//! let plotted = plot(&[log], &PlotOptions::default(), Path::new("curves.png"))?;
//! println!("{}", plotted.panels.join(", "));
//! # Ok::<(), nextscale_curves::CurvesError>(())
//! ```

mod error;
mod events;
mod font;
mod log;
mod number;
mod options;
mod plot;
mod summary;

pub use error::CurvesError;
pub use events::EventWriter;
pub use font::register_font;
pub use log::Log;
pub use options::{PlotOptions, X};
pub use plot::{Plotted, plot};
pub use summary::summary;
