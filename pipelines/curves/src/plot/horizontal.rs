//! What the horizontal axes of a page have in common.

use crate::log::Log;
use crate::options::X;
use crate::plot::axis::{Axis, Kind, Scale};

/// Units of time in seconds, and the longest time that is shown in each.
const TIMES: [(&str, f64, f64); 3] = [
    ("s", 1.0, 300.0),
    ("min", 60.0, 3.0 * 3600.0),
    ("h", 3600.0, 72.0 * 3600.0),
];

/// The horizontal axis of all panels.
#[derive(Debug)]
pub(crate) struct Horizontal {
    /// What it counts.
    pub(crate) kind: X,
    /// How much of that is a unit of the axis.
    pub(crate) unit: f64,
    label: String,
    /// The first and last position in units.
    ends: (f64, f64),
}

impl Horizontal {
    /// The axis for the lines of all logs.
    pub(crate) fn new(logs: &[Log], kind: X) -> Self {
        let positions = || logs.iter().flat_map(|log| log.positions(kind)).flatten();
        let first = positions().fold(f64::INFINITY, f64::min).min(f64::MAX);
        let last = positions().fold(0.0, f64::max);
        let (label, unit) = match kind {
            X::Steps => ("step".to_owned(), 1.0),
            X::Examples => ("examples".to_owned(), 1.0),
            X::Seconds => {
                let fits = TIMES.iter().find(|(.., longest)| last <= *longest);
                let (name, unit) =
                    fits.map_or(("days", 86_400.0), |(name, unit, _)| (*name, *unit));
                (format!("training time ({name})"), unit)
            }
        };
        let ends = (first.min(last) / unit, last / unit);
        Self {
            kind,
            unit,
            label,
            ends,
        }
    }

    /// The axis with about `count` ticks.
    pub(crate) fn axis(&self, count: usize) -> Axis {
        let kind = match self.kind {
            X::Steps | X::Examples => Kind::Count,
            X::Seconds => Kind::Linear,
        };
        let label = self.label.clone();
        Axis::horizontal(Scale { label, kind }, self.ends.0, self.ends.1, count)
    }
}
