//! What a panel shows, by the names in the log.

use crate::plot::axis::{Kind, Scale};
use crate::plot::colour::Paint;
use crate::plot::curve::{Side, Stroke};
use crate::plot::legend::Key;

/// What a panel shows if a log has it.
pub(crate) struct Recipe {
    /// The panel's title.
    pub(crate) title: &'static str,
    /// The axis on the left.
    pub(crate) left: Scale,
    /// The axis on the right.
    pub(crate) right: Option<Scale>,
    /// The numbers that are shown.
    pub(crate) lines: Vec<Line>,
    /// Entries of the legend before those of the lines.
    pub(crate) first_keys: Vec<Key>,
}

/// A number of the log as a curve.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    /// Its name in the log.
    pub(crate) name: String,
    /// Its name in the legend, if it is there.
    pub(crate) label: Option<String>,
    /// How it is drawn.
    pub(crate) stroke: Stroke,
    /// Whether it is smoothed.
    pub(crate) smooth: Smooth,
    /// Its axis.
    pub(crate) side: Side,
    /// What its colour stands for.
    pub(crate) paint: Paint,
}

/// Whether a curve is smoothed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Smooth {
    /// As it was measured.
    No,
    /// Its average.
    Average,
    /// Its average over it as it was measured.
    OverRaw,
}

impl Recipe {
    /// The axis on a side.
    pub(crate) fn scale(&self, side: Side) -> &Scale {
        match side {
            Side::Left => &self.left,
            Side::Right => self.right.as_ref().unwrap_or(&self.left),
        }
    }
}

/// A panel with these axes and lines.
pub(crate) fn recipe(
    title: &'static str,
    left: Scale,
    right: Option<Scale>,
    lines: Vec<Line>,
) -> Recipe {
    Recipe {
        title,
        left,
        right,
        lines,
        first_keys: Vec::new(),
    }
}

/// An axis with its label.
pub(crate) fn scale(label: &str, kind: Kind) -> Scale {
    Scale {
        label: label.to_owned(),
        kind,
    }
}

/// A line on the left axis, not smoothed, with one of a few colours.
pub(crate) fn line(name: &str, label: &str, stroke: Stroke, hue: usize) -> Line {
    Line {
        name: name.to_owned(),
        label: Some(label.to_owned()),
        stroke,
        smooth: Smooth::No,
        side: Side::Left,
        paint: Paint::Hue(hue),
    }
}

impl Line {
    /// The line, smoothed.
    pub(crate) fn smooth(self, smooth: Smooth) -> Self {
        Self { smooth, ..self }
    }

    /// The line on the right axis.
    pub(crate) fn on_the_right(self) -> Self {
        Self {
            side: Side::Right,
            ..self
        }
    }
}
