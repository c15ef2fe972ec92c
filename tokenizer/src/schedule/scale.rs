//! A scale, and a list of them.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One grid of tokens: `t` frames of `h` rows and `w` columns. Images have `t = 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scale {
    /// Latent frames.
    pub t: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Scale {
    /// A scale of `t` latent frames with `h` rows and `w` columns.
    pub const fn new(t: usize, h: usize, w: usize) -> Self {
        Self { t, h, w }
    }

    /// A scale of one image, `h` rows by `w` columns.
    pub const fn image(h: usize, w: usize) -> Self {
        Self { t: 1, h, w }
    }

    /// Number of tokens, `t * h * w`.
    pub const fn tokens(&self) -> usize {
        self.t * self.h * self.w
    }
}

impl std::fmt::Display for Scale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.t {
            1 => write!(f, "{}x{}", self.h, self.w),
            t => write!(f, "{t}x{}x{}", self.h, self.w),
        }
    }
}

/// Why a list of scales is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// The list has no scale.
    #[error("a schedule needs at least one scale")]
    Empty,
    /// A scale has a side of zero.
    #[error("scale {index} ({scale}) has a side of zero")]
    Zero {
        /// Position in the list, from 0.
        index: usize,
        /// The scale found there.
        scale: Scale,
    },
    /// A scale is smaller than the one before it along some axis.
    #[error("scale {index} ({scale}) is smaller than the one before it ({previous})")]
    Shrinks {
        /// Position in the list, from 0.
        index: usize,
        /// The scale found there.
        scale: Scale,
        /// Its predecessor.
        previous: Scale,
    },
}

/// A list of scales, coarse to fine; the last one is the size of the latent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScaleSchedule {
    pub(super) scales: Vec<Scale>,
}

impl ScaleSchedule {
    /// Checks and wraps a list of scales.
    ///
    /// # Errors
    /// An empty list, a side of zero, or a scale smaller than its predecessor.
    pub fn new(scales: Vec<Scale>) -> Result<Self, ScheduleError> {
        if scales.is_empty() {
            return Err(ScheduleError::Empty);
        }
        for (index, &scale) in scales.iter().enumerate() {
            if scale.tokens() == 0 {
                return Err(ScheduleError::Zero { index, scale });
            }
            let previous = scales[index.saturating_sub(1)];
            if scale.t < previous.t || scale.h < previous.h || scale.w < previous.w {
                return Err(ScheduleError::Shrinks {
                    index,
                    scale,
                    previous,
                });
            }
        }
        Ok(Self { scales })
    }

    /// A square image schedule from its sides, for example VAR's `[1, 2, 3, 4, 5, 6, 8, 10, 13, 16]`.
    ///
    /// # Errors
    /// As for [`ScaleSchedule::new`].
    pub fn square(sides: &[usize]) -> Result<Self, ScheduleError> {
        Self::new(sides.iter().map(|&p| Scale::image(p, p)).collect())
    }

    /// The schedule with rows and columns doubled: that of the VAE if the transformer works on patches of 2 x 2 codes.
    pub fn doubled(&self) -> Self {
        let twice = |s: &Scale| Scale::new(s.t, 2 * s.h, 2 * s.w);
        Self {
            scales: self.scales.iter().map(twice).collect(),
        }
    }

    /// The scales, coarse to fine.
    pub fn scales(&self) -> &[Scale] {
        &self.scales
    }

    /// Number of scales, K.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.scales.len()
    }

    /// The finest scale: the size of the latent.
    pub fn last(&self) -> Scale {
        self.scales[self.scales.len() - 1]
    }

    /// Tokens of all scales together, L.
    pub fn tokens(&self) -> usize {
        self.scales.iter().map(Scale::tokens).sum()
    }

    /// Tokens of all scales but the last: those that later scales attend to.
    pub fn kept_tokens(&self) -> usize {
        self.tokens() - self.last().tokens()
    }

    /// First token of each scale and, as the last entry, the number of all tokens: K + 1 entries.
    pub fn offsets(&self) -> Vec<usize> {
        let mut at = 0;
        let mut offsets = vec![0];
        offsets.extend(self.scales.iter().map(|s| {
            at += s.tokens();
            at
        }));
        offsets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_tokens() {
        let schedule = ScaleSchedule::square(&[1, 2, 3]).unwrap();
        assert_eq!(schedule.offsets(), vec![0, 1, 5, 14]);
        assert_eq!(schedule.tokens(), 14);
    }

    #[test]
    fn refuses_what_is_no_schedule() {
        assert_eq!(ScaleSchedule::new(vec![]), Err(ScheduleError::Empty));
        assert!(matches!(
            ScaleSchedule::square(&[2, 1]),
            Err(ScheduleError::Shrinks { index: 1, .. })
        ));
        assert!(matches!(
            ScaleSchedule::square(&[0]),
            Err(ScheduleError::Zero { index: 0, .. })
        ));
    }
}
