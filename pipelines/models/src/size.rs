//! Sizes in pixels, the transformer's schedule for each, and finding the one that is asked for.

use nextscale_tokenizer::{Scale, ScaleSchedule};
use serde::{Deserialize, Serialize};

use crate::error::Flaw;

/// How far apart two numbers of pixels, or two ratios, may be and still be taken for each other: a natural logarithm.
const NEAR: f64 = 0.3;

/// Rows and columns of tokens.
pub type Grid = [usize; 2];

/// A size in pixels with the transformer's schedule for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Rows and columns of the transformer's tokens at each scale, coarse to fine.
    pub scales: Vec<Grid>,
    /// The grid on which positions are measured; the last of `scales` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Grid>,
    /// How many scales the transformer knows from training; further ones take the embedding of the last of these. All if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<usize>,
}

impl Size {
    /// A size in pixels with this schedule, all of which the transformer knows.
    pub fn new(width: usize, height: usize, schedule: &ScaleSchedule) -> Self {
        Self {
            width,
            height,
            scales: schedule.scales().iter().map(|s| [s.h, s.w]).collect(),
            reference: None,
            known: None,
        }
    }

    /// Refuses a schedule that makes other pixels.
    pub(crate) fn check_pixels(&self, width: usize, height: usize) -> Result<(), Flaw> {
        if (self.width, self.height) == (width, height) {
            return Ok(());
        }
        Err(Flaw::new(format!(
            "says {}x{} of a schedule that makes {width}x{height} pixels",
            self.width, self.height
        )))
    }

    /// The transformer's schedule.
    ///
    /// # Errors
    /// Scales that make no schedule.
    pub fn schedule(&self) -> Result<ScaleSchedule, Flaw> {
        let scales = self
            .scales
            .iter()
            .map(|&[h, w]| Scale::image(h, w))
            .collect();
        let wrong = |e| {
            Flaw::new(format!(
                "has no schedule at {}x{}: {e}",
                self.width, self.height
            ))
        };
        ScaleSchedule::new(scales).map_err(wrong)
    }

    /// The grid on which positions are measured.
    pub fn reference(&self) -> Option<Scale> {
        let [h, w] = self.reference.or(self.scales.last().copied())?;
        Some(Scale::image(h, w))
    }

    /// The size with exactly these pixels; where one side is not asked for, the first that fits.
    pub fn find(all: &[Self], width: Option<usize>, height: Option<usize>) -> Option<&Self> {
        all.iter().find(|size| {
            width.is_none_or(|w| w == size.width) && height.is_none_or(|h| h == size.height)
        })
    }

    /// The size nearest to these pixels, by the ratios of the sides.
    pub fn nearest(all: &[Self], width: Option<usize>, height: Option<usize>) -> Option<&Self> {
        let side = |asked: Option<usize>, has: usize| {
            let asked = asked.unwrap_or(has).max(1);
            (asked as f64 / has as f64).ln().powi(2)
        };
        let far = |size: &&Self| side(width, size.width) + side(height, size.height);
        all.iter().min_by(|a, b| far(a).total_cmp(&far(b)))
    }

    /// The size whose ratio of width to height is nearest, among those of about this many pixels if that is asked for; of
    /// several the first.
    ///
    /// # Errors
    /// No size of about this many pixels, or no ratio that comes near.
    pub fn of_aspect(all: &[Self], ratio: f64, pixels: Option<f64>) -> Result<&Self, NoSuchShape> {
        let about = |size: &&Size| {
            let has = (size.width * size.height) as f64;
            pixels.is_none_or(|asked| (has / asked).ln().abs() < NEAR)
        };
        let far = |size: &&Size| (size.width as f64 / size.height as f64 / ratio).ln().abs();
        let candidates = all.iter().filter(about);
        let best = candidates.min_by(|a, b| far(a).total_cmp(&far(b)));
        let best = best.ok_or_else(|| NoSuchShape::PixelCount(pixel_counts(all)))?;
        // A model of one shape generates that shape; one of many should not turn a banner into something else.
        let single = all.iter().all(|s| s.width == s.height);
        if single || far(&best) < NEAR {
            Ok(best)
        } else {
            Err(NoSuchShape::Aspect([best.width, best.height]))
        }
    }
}

/// Why a model has no size of a shape; its text says what there is instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchShape {
    /// The numbers of pixels that there are, in words.
    #[error("it generates about {0} pixels")]
    PixelCount(String),
    /// The nearest width and height.
    #[error("the nearest that it generates is {}x{}", .0[0], .0[1])]
    Aspect([usize; 2]),
}

/// The numbers of pixels of all sizes, those that are nearly equal once: `0.06M, 0.26M`.
fn pixel_counts(all: &[Size]) -> String {
    let mut counts: Vec<usize> = all.iter().map(|s| s.width * s.height).collect();
    counts.sort_unstable();
    counts.dedup_by(|a, b| (*a as f64 / *b as f64).ln() < NEAR);
    let counts: Vec<String> = counts
        .iter()
        .map(|&n| format!("{:.2}M", n as f64 / 1e6))
        .collect();
    counts.join(", ")
}
