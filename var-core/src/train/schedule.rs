//! The learning rate as a function of progress.

use serde::{Deserialize, Serialize};

/// How long a run lasts. The learning rate is a function of the fraction of the budget spent, so a
/// budget in minutes decays to its end on a machine of any speed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// A number of optimiser steps. Only this budget gives the same curve twice.
    Steps(u64),
    /// Minutes of training time; the time before a resume counts too.
    Minutes(f64),
}

impl Budget {
    /// The fraction spent after `step` steps and `seconds` of training, in 0..=1.
    pub fn progress(&self, step: u64, seconds: f64) -> f64 {
        let spent = match *self {
            Budget::Steps(steps) => step as f64 / steps.max(1) as f64,
            Budget::Minutes(minutes) => seconds / (minutes * 60.0).max(f64::MIN_POSITIVE),
        };
        spent.clamp(0.0, 1.0)
    }
}

/// What happens after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Stay at the peak.
    Constant,
    /// Half a cosine from the peak to the end value.
    #[default]
    Cosine,
    /// Stay at the peak for `flat` of the budget, then a straight line to the end value (the
    /// released VAR and Infinity recipes, which call it `lin0`, with `flat` 0.05).
    FlatThenLinear,
}

/// Linear warm-up, then a [`Decay`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningRate {
    /// The highest rate.
    pub peak: f64,
    /// Steps of linear warm-up from 0 to the peak.
    #[serde(default)]
    pub warmup_steps: u64,
    /// The shape after the warm-up.
    #[serde(default)]
    pub decay: Decay,
    /// Fraction of the budget that [`Decay::FlatThenLinear`] stays flat.
    #[serde(default = "default_flat")]
    pub flat: f64,
    /// The last rate, as a fraction of the peak.
    #[serde(default)]
    pub end: f64,
}

fn default_flat() -> f64 {
    0.05
}

impl LearningRate {
    /// The rate of the step numbered `step` (from 0) when `progress` (0..=1) of the budget is spent.
    pub fn at(&self, step: u64, progress: f64) -> f64 {
        let warmup = ((step + 1) as f64 / (self.warmup_steps + 1) as f64).min(1.0);
        let shape = match self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Decay::FlatThenLinear => {
                1.0 - ((progress - self.flat) / (1.0 - self.flat).max(1e-9)).clamp(0.0, 1.0)
            }
        };
        let floor = match self.decay {
            Decay::Constant => 0.0,
            Decay::Cosine | Decay::FlatThenLinear => self.end,
        };
        self.peak * warmup * (floor + (1.0 - floor) * shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(decay: Decay) -> LearningRate {
        LearningRate {
            peak: 2.0,
            warmup_steps: 9,
            decay,
            flat: 0.5,
            end: 0.1,
        }
    }

    #[test]
    fn warms_up_then_decays_to_the_end_value() {
        for decay in [Decay::Cosine, Decay::FlatThenLinear] {
            let rate = rate(decay);
            assert!((rate.at(0, 0.0) - 0.2).abs() < 1e-12);
            assert!((rate.at(9, 0.0) - 2.0).abs() < 1e-12);
            assert!((rate.at(1000, 1.0) - 0.2).abs() < 1e-12);
        }
        assert!((rate(Decay::Cosine).at(100, 0.5) - 1.1).abs() < 1e-12);
        assert!((rate(Decay::FlatThenLinear).at(100, 0.5) - 2.0).abs() < 1e-12);
        assert!((rate(Decay::FlatThenLinear).at(100, 0.75) - 1.1).abs() < 1e-12);
        assert!((rate(Decay::Constant).at(100, 1.0) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_budget_is_counted_in_steps_or_in_minutes() {
        assert_eq!(Budget::Steps(10).progress(5, 1e9), 0.5);
        assert_eq!(Budget::Minutes(2.0).progress(1 << 40, 60.0), 0.5);
        assert_eq!(Budget::Steps(10).progress(20, 0.0), 1.0);
    }
}
