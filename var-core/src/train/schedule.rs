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

    /// Where the step numbered `step` (from 0) stands between the first, 0, and the last, 1, when `progress` of the budget is
    /// spent.
    pub(super) fn position(&self, step: u64, progress: f64) -> f64 {
        match *self {
            Self::Steps(steps) => (step as f64 / (steps.max(2) - 1) as f64).min(1.0),
            Self::Minutes(_) => progress,
        }
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
    /// As the released trainers compute it, from the end of the warm-up to the last step: half a cosine.
    Cos,
    /// In the same way: flat for 15 %, then a straight line.
    Lin,
    /// In the same way: flat for 5 %, then a straight line.
    Lin0,
    /// In the same way: a straight line.
    Lin00,
    /// In the same way: flat for 15 %, then by equal factors.
    Exp,
}

impl Decay {
    /// Whether it is computed as by `lr_wd_annealing` of the released trainers.
    fn is_official(self) -> bool {
        !matches!(self, Self::Constant | Self::Cosine | Self::FlatThenLinear)
    }

    /// The share of the peak at `p` (0..=1) of the time after the warm-up, with `end` at its end, of an official shape.
    fn official(self, p: f64, end: f64) -> f64 {
        let line = |flat: f64| {
            if p < flat {
                1.0
            } else {
                end + (1.0 - end) * (1.0 - p) / (1.0 - flat)
            }
        };
        match self {
            Self::Constant => 1.0,
            Self::Cosine | Self::Cos => {
                end + (1.0 - end) * 0.5 * (1.0 + (std::f64::consts::PI * p).cos())
            }
            Self::Lin => line(0.15),
            Self::FlatThenLinear | Self::Lin0 => line(0.05),
            Self::Lin00 => line(0.0),
            Self::Exp if p < 0.15 => 1.0,
            Self::Exp => end.powf((p - 0.15) / 0.85),
        }
    }
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
    /// The share of the peak at which the warm-up of an official shape starts (`wp0` of the released trainers).
    #[serde(default = "default_start")]
    pub warmup_start: f64,
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

fn default_start() -> f64 {
    0.005
}

fn default_flat() -> f64 {
    0.05
}

impl LearningRate {
    /// The rate of the step numbered `step` (from 0) when `progress` (0..=1) of the budget is spent.
    pub fn at(&self, budget: Budget, step: u64, progress: f64) -> f64 {
        if self.decay.is_official() {
            return self.peak * self.official(budget, step, progress);
        }
        let warmup = ((step + 1) as f64 / (self.warmup_steps + 1) as f64).min(1.0);
        let shape = match self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            _ => 1.0 - ((progress - self.flat) / (1.0 - self.flat).max(1e-9)).clamp(0.0, 1.0),
        };
        let floor = match self.decay {
            Decay::Constant => 0.0,
            _ => self.end,
        };
        self.peak * warmup * (floor + (1.0 - floor) * shape)
    }

    /// The share of the peak of an official shape (`lr_wd_annealing` in `utils/lr_control.py` of VAR and Infinity).
    fn official(&self, budget: Budget, step: u64, progress: f64) -> f64 {
        let (n, warmup) = (step as f64, self.warmup_steps as f64);
        if n < warmup {
            return self.warmup_start + (1.0 - self.warmup_start) * n / warmup;
        }
        let p = match budget {
            Budget::Steps(steps) => (n - warmup) / (steps as f64 - 1.0 - warmup).max(1.0),
            Budget::Minutes(_) => progress,
        };
        self.decay.official(p.clamp(0.0, 1.0), self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::AdamWConfig;

    const STEPS: Budget = Budget::Steps(1001);

    /// Values of the released function, made by calling it.
    #[test]
    fn official_shapes_are_those_of_the_released_trainers() {
        let file: serde_json::Value = serde_json::from_str(include_str!("schedules.json")).unwrap();
        let steps = file["steps"].as_array().unwrap();
        let all = file["max_steps"].as_u64().unwrap();
        let mut compared = 0;
        for case in file["cases"].as_array().unwrap() {
            let number = |key: &str| case[key].as_f64().unwrap();
            let decay: Result<Decay, _> = serde_json::from_value(case["schedule"].clone());
            let Ok(decay) = decay else { continue };
            let rate = LearningRate {
                peak: number("peak"),
                warmup_steps: number("warmup").round() as u64,
                warmup_start: number("start"),
                decay,
                flat: 0.0,
                end: number("end"),
            };
            let adamw = AdamWConfig {
                weight_decay: number("decay") as f32,
                weight_decay_end: Some(number("decay_end") as f32),
                ..AdamWConfig::default()
            };
            for (i, step) in steps.iter().enumerate() {
                let step = step.as_u64().unwrap();
                let expected = case["rates"][i].as_f64().unwrap();
                let ours = rate.at(Budget::Steps(all), step, 0.0);
                assert!(
                    (ours - expected).abs() < 1e-12,
                    "{decay:?} step {step}: {ours} {expected}"
                );
                let position = Budget::Steps(all).position(step, 0.0);
                let decays = f64::from(adamw.weight_decay) * adamw.decay_at(position);
                let expected = case["decays"][i].as_f64().unwrap();
                assert!(
                    (decays - expected).abs() < 1e-8,
                    "step {step}: {decays} {expected}"
                );
                compared += 1;
            }
        }
        assert_eq!(compared, 8 * steps.len());
    }

    fn rate(decay: Decay) -> LearningRate {
        LearningRate {
            peak: 2.0,
            warmup_steps: 9,
            warmup_start: 0.0,
            decay,
            flat: 0.5,
            end: 0.1,
        }
    }

    #[test]
    fn warms_up_then_decays_to_the_end_value() {
        for decay in [Decay::Cosine, Decay::FlatThenLinear] {
            let rate = rate(decay);
            assert!((rate.at(STEPS, 0, 0.0) - 0.2).abs() < 1e-12);
            assert!((rate.at(STEPS, 9, 0.0) - 2.0).abs() < 1e-12);
            assert!((rate.at(STEPS, 1000, 1.0) - 0.2).abs() < 1e-12);
        }
        assert!((rate(Decay::Cosine).at(STEPS, 100, 0.5) - 1.1).abs() < 1e-12);
        assert!((rate(Decay::FlatThenLinear).at(STEPS, 100, 0.5) - 2.0).abs() < 1e-12);
        assert!((rate(Decay::FlatThenLinear).at(STEPS, 100, 0.75) - 1.1).abs() < 1e-12);
        assert!((rate(Decay::Constant).at(STEPS, 100, 1.0) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_budget_is_counted_in_steps_or_in_minutes() {
        assert_eq!(Budget::Steps(10).progress(5, 1e9), 0.5);
        assert_eq!(Budget::Minutes(2.0).progress(1 << 40, 60.0), 0.5);
        assert_eq!(Budget::Steps(10).progress(20, 0.0), 1.0);
    }
}
