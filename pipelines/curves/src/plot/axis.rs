//! Axes: their range, their ticks and the labels of these.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::number::{scientific, trimmed};

/// Space between the outermost values and the frame, as a share of the range.
const MARGIN: f64 = 0.05;

/// What an axis shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scale {
    /// The label, with the unit.
    pub(crate) label: String,
    /// How values are placed and written.
    pub(crate) kind: Kind,
}

/// How an axis places and writes values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// In proportion.
    Linear,
    /// In proportion, with ticks at whole numbers.
    Count,
    /// In proportion, shares as percents.
    Percent,
    /// By the logarithm.
    Log,
}

/// An axis with its range. Places on it are values or, if it is logarithmic, their decimal logarithms.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// What it shows.
    pub(crate) scale: Scale,
    /// The place of its lower end.
    pub(crate) low: f64,
    /// The place of its upper end.
    pub(crate) high: f64,
    /// The places of its ticks with their labels.
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// The axis of a quantity, for these values and about `count` ticks.
    pub(crate) fn of_values(scale: Scale, values: &[f64], count: usize) -> Self {
        let kind = scale.kind;
        let mut places: Vec<f64> = values
            .iter()
            .filter_map(|value| place(kind, *value))
            .collect();
        places.sort_by(f64::total_cmp);
        let (low, high) = match kind {
            Kind::Log => ends(&places),
            Kind::Linear | Kind::Count | Kind::Percent => without_spikes(&places),
        };
        let margin = match high - low {
            range if range > 1e-9 * high.abs().max(1e-9) => MARGIN * range,
            _ if low == 0.0 || kind == Kind::Log => 0.5,
            _ => 0.1 * low.abs(),
        };
        Self::new(scale, low - margin, high + margin, count)
    }

    /// The horizontal axis between two positions, for about `count` ticks.
    pub(crate) fn horizontal(scale: Scale, low: f64, high: f64, count: usize) -> Self {
        // A run from its start is shown from zero.
        let low = if low < 0.1 * high { low.min(0.0) } else { low };
        if high > low {
            return Self::new(scale, low, high + 0.01 * (high - low), count);
        }
        Self::new(scale, low - 1.0, low + 1.0, count)
    }

    fn new(scale: Scale, low: f64, high: f64, count: usize) -> Self {
        let ticks = match scale.kind {
            Kind::Linear => linear_ticks(low, high, count, 0.0),
            Kind::Count => linear_ticks(low, high, count, 1.0),
            Kind::Percent => linear_ticks(100.0 * low, 100.0 * high, count, 0.0)
                .into_iter()
                .map(|(percent, text)| (percent / 100.0, text))
                .filter(|(share, _)| (-1e-9..1.0 + 1e-9).contains(share))
                .collect(),
            Kind::Log => log_ticks(low, high, count),
        };
        Self {
            scale,
            low,
            high,
            ticks,
        }
    }

    /// Where a value is, at the edge if it is beyond it. None if it has no logarithm.
    pub(crate) fn place(&self, value: f64) -> Option<f64> {
        place(self.scale.kind, value).map(|place| place.clamp(self.low, self.high))
    }

    /// How far up a place is, from 0 to 1.
    pub(crate) fn share(&self, place: f64) -> f64 {
        (place - self.low) / (self.high - self.low)
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (first, last): (i32, i32)) -> i32 {
        let along = self.share(*place) * f64::from(last - first);
        first + along.round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            return Vec::new();
        }
        self.ticks.iter().map(|(place, _)| *place).collect()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    /// The label of the tick at a place.
    fn format_ext(&self, place: &f64) -> String {
        let near = 1e-6 * (self.high - self.low);
        let tick = self
            .ticks
            .iter()
            .find(|(tick, _)| (tick - place).abs() < near);
        tick.map(|(_, text)| text.clone()).unwrap_or_default()
    }
}

fn place(kind: Kind, value: f64) -> Option<f64> {
    match kind {
        Kind::Linear | Kind::Count | Kind::Percent => Some(value),
        Kind::Log => (value > 0.0).then(|| value.log10()),
    }
}

fn ends(sorted: &[f64]) -> (f64, f64) {
    let (low, high) = (sorted.first(), sorted.last());
    (low.copied().unwrap_or(0.0), high.copied().unwrap_or(1.0))
}

/// The ends, but not those of a few values far above all others: they would press the rest together.
fn without_spikes(sorted: &[f64]) -> (f64, f64) {
    let (low, high) = ends(sorted);
    if sorted.len() < 50 {
        return (low, high);
    }
    let at = |share: f64| sorted[(share * (sorted.len() - 1) as f64) as usize];
    let limit = at(0.98) + 4.0 * (at(0.98) - at(0.02));
    (low, if limit > low { high.min(limit) } else { high })
}

/// About `count` ticks at multiples of 1, 2 or 5 times a power of ten, `least` or more from each other.
fn linear_ticks(low: f64, high: f64, count: usize, least: f64) -> Vec<(f64, String)> {
    let rough = (high - low) / count.max(4) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = match rough / power {
        ratio if ratio < 1.4 => 1.0,
        ratio if ratio < 3.2 => 2.0,
        ratio if ratio < 7.0 => 5.0,
        _ => 10.0,
    };
    let step = (factor * power).max(least);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    let largest = low.abs().max(high.abs());
    let ticks = (first..=last).map(|i| i as f64 * step);
    ticks
        .map(|tick| (tick, linear_text(tick, step, largest)))
        .collect()
}

/// A tick's label with the decimals that its distance to the next one needs.
fn linear_text(tick: f64, step: f64, largest: f64) -> String {
    let (unit, suffix) = match largest {
        size if size >= 1e9 => (1e9, "G"),
        size if size >= 1e6 => (1e6, "M"),
        size if size >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let decimals = (-(step / unit).log10() - 1e-9).ceil().max(0.0) as usize;
    if tick == 0.0 {
        return "0".to_owned();
    }
    match decimals {
        0..=5 => format!("{:.decimals$}{suffix}", tick / unit),
        _ => scientific(tick),
    }
}

/// Ticks at powers of ten; on a short range between them, too; on a very short one evenly.
fn log_ticks(low: f64, high: f64, count: usize) -> Vec<(f64, String)> {
    let decades = high - low;
    if decades < 0.7 {
        let ticks = linear_ticks(10_f64.powf(low), 10_f64.powf(high), count, 0.0);
        let ticks = ticks.into_iter().filter(|(value, _)| *value > 0.0);
        return ticks.map(|(value, text)| (value.log10(), text)).collect();
    }
    let factors: &[f64] = match decades {
        decades if decades < 1.6 => &[1.0, 2.0, 5.0],
        decades if decades < 3.0 => &[1.0, 3.0],
        _ => &[1.0],
    };
    let every = (decades / count.max(2) as f64).round().max(1.0) as i64;
    let powers = low.floor() as i64..=high.ceil() as i64;
    powers
        .filter(|power| power.rem_euclid(every) == 0)
        .flat_map(|power| factors.iter().map(move |factor| (power, *factor)))
        .map(|(power, factor)| (power as f64 + factor.log10(), log_text(power, factor)))
        .filter(|(place, _)| (low..=high).contains(place))
        .collect()
}

fn log_text(power: i64, factor: f64) -> String {
    match power {
        -3..=-1 => trimmed(format!("{:.3}", factor * 10_f64.powi(power as i32))),
        0..=4 => format!("{}", factor * 10_f64.powi(power as i32)),
        _ => format!("{factor}e{power}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(kind: Kind, values: &[f64]) -> Vec<String> {
        let label = String::new();
        let axis = Axis::of_values(Scale { label, kind }, values, 5);
        for (place, text) in &axis.ticks {
            assert!(
                (axis.low..=axis.high).contains(place),
                "{place} of {axis:?}"
            );
            assert_eq!(axis.format_ext(place), *text);
        }
        axis.ticks.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round() {
        let linear = |values: &[f64]| texts(Kind::Linear, values);
        assert_eq!(linear(&[0.3, 0.7]), ["0.3", "0.4", "0.5", "0.6", "0.7"]);
        assert_eq!(
            linear(&[0.0, 25_000.0]),
            ["0", "5k", "10k", "15k", "20k", "25k"]
        );
        assert_eq!(
            linear(&[0.001, 0.0015]),
            ["0.0010", "0.0011", "0.0012", "0.0013", "0.0014", "0.0015"]
        );
        assert_eq!(texts(Kind::Count, &[3.0, 5.0]), ["3", "4", "5"]);
        assert_eq!(linear(&[2.0, 2.0]), ["1.8", "1.9", "2.0", "2.1", "2.2"]);
        assert_eq!(
            texts(Kind::Percent, &[0.8, 1.0]),
            ["80", "85", "90", "95", "100"]
        );
        let log = |values: &[f64]| texts(Kind::Log, values);
        assert_eq!(log(&[1e-5, 0.5]), ["1e-5", "1e-4", "0.001", "0.01", "0.1"]);
        assert_eq!(log(&[0.1, 2.0]), ["0.1", "0.2", "0.5", "1", "2"]);
        assert_eq!(log(&[2.0, 3.0]), ["2.0", "2.2", "2.4", "2.6", "2.8", "3.0"]);
    }

    #[test]
    fn values_without_a_logarithm_have_no_place() {
        let label = String::new();
        let kind = Kind::Log;
        let axis = Axis::of_values(Scale { label, kind }, &[0.0, -1.0, 1.0, 100.0], 5);
        assert_eq!(axis.place(0.0), None);
        assert_eq!(axis.place(10.0), Some(1.0));
        assert_eq!(axis.place(1e9), Some(axis.high));
    }

    #[test]
    fn a_spike_does_not_press_the_rest_together() {
        let mut values: Vec<f64> = (0..100).map(|i| 2.0 + f64::from(i) / 100.0).collect();
        values[50] = 1e6;
        let label = String::new();
        let kind = Kind::Linear;
        let axis = Axis::of_values(Scale { label, kind }, &values, 5);
        assert!(axis.high < 10.0, "{axis:?}");
        assert_eq!(axis.place(1e6), Some(axis.high));
    }
}
