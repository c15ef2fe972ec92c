//! Frame rates, also those that are no whole number.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Frames per second as a reduced fraction: 24, or 30000/1001 (NTSC, "29.97").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameRate {
    numerator: u32,
    denominator: u32,
}

/// A text that is no frame rate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a frame rate: write 24, 29.97 or 30000/1001")]
pub struct FrameRateError(String);

/// Decimals of a rate are kept to this part of a frame.
const DECIMALS: u32 = 1000;
/// NTSC rates are a whole number over this.
const NTSC: f64 = 1.001;

impl FrameRate {
    /// `numerator / denominator` frames per second; none if a part is 0.
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        let divisor = gcd(numerator, denominator);
        (numerator > 0 && denominator > 0).then(|| Self {
            numerator: numerator / divisor,
            denominator: denominator / divisor,
        })
    }

    /// A whole number of frames per second, at least 1.
    pub fn whole(fps: usize) -> Self {
        let numerator = u32::try_from(fps.max(1)).unwrap_or(u32::MAX);
        Self {
            numerator,
            denominator: 1,
        }
    }

    /// The fraction's numerator.
    pub fn numerator(self) -> u32 {
        self.numerator
    }

    /// The fraction's denominator.
    pub fn denominator(self) -> u32 {
        self.denominator
    }

    /// Frames per second.
    pub fn per_second(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator)
    }

    /// The nearest rate to a decimal number, where 23.976 and 29.97 mean 24000/1001 and 30000/1001.
    fn of_decimal(rate: f64) -> Option<Self> {
        if !(rate > 0.0 && rate < f64::from(u32::MAX / DECIMALS)) {
            return None;
        }
        let whole = (rate * NTSC).round();
        let is_ntsc = rate.fract() != 0.0 && (rate - whole / NTSC).abs() < 0.005;
        if is_ntsc {
            return Self::new(whole as u32 * 1000, 1001);
        }
        Self::new((rate * f64::from(DECIMALS)).round() as u32, DECIMALS)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

impl FromStr for FrameRate {
    type Err = FrameRateError;

    fn from_str(text: &str) -> Result<Self, FrameRateError> {
        let rate = match text.split_once('/') {
            Some((n, d)) => match (n.trim().parse(), d.trim().parse()) {
                (Ok(n), Ok(d)) => Self::new(n, d),
                _ => None,
            },
            None => text.trim().parse().ok().and_then(Self::of_decimal),
        };
        rate.ok_or_else(|| FrameRateError(text.to_owned()))
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denominator {
            1 => write!(f, "{}", self.numerator),
            denominator => write!(f, "{}/{denominator}", self.numerator),
        }
    }
}

impl Serialize for FrameRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.denominator {
            1 => serializer.serialize_u32(self.numerator),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for FrameRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rate;
        impl Visitor<'_> for Rate {
            type Value = FrameRate;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a frame rate such as 24, 29.97 or \"30000/1001\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<FrameRate, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_f64<E: serde::de::Error>(self, rate: f64) -> Result<FrameRate, E> {
                self.visit_str(&rate.to_string())
            }

            fn visit_u64<E: serde::de::Error>(self, rate: u64) -> Result<FrameRate, E> {
                self.visit_str(&rate.to_string())
            }

            fn visit_i64<E: serde::de::Error>(self, rate: i64) -> Result<FrameRate, E> {
                self.visit_str(&rate.to_string())
            }
        }
        deserializer.deserialize_any(Rate).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        let of = |text: &str| {
            let rate: FrameRate = text.parse().unwrap();
            (rate.numerator(), rate.denominator())
        };
        assert_eq!(of("24"), (24, 1));
        assert_eq!(of("29.97"), (30000, 1001));
        assert_eq!(of("23.976"), (24000, 1001));
        assert_eq!(of("59.94"), (60000, 1001));
        assert_eq!(of("30000/1001"), (30000, 1001));
        assert_eq!(of("50/2"), (25, 1));
        assert_eq!(of("12.5"), (25, 2));
        for text in [
            "", "0", "-1", "a", "1/0", "0/1", "nan", "inf", "1e99", "24/",
        ] {
            let error = text.parse::<FrameRate>().unwrap_err().to_string();
            assert!(error.contains("is not a frame rate"), "{error}");
        }
    }

    #[test]
    fn rates_are_written_as_they_are_read() {
        for text in ["24", "30000/1001"] {
            assert_eq!(text.parse::<FrameRate>().unwrap().to_string(), text);
        }
    }
}
