//! Numbers that JavaScript cannot hold, and names that look like numbers.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A number or a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    Natural(u64),
    Integer(i64),
    Text(String),
}

/// A seed as a number or as its digits; none for null and -1.
pub(super) fn seed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let wrong = || D::Error::custom("a seed is an integer from 0 to 18446744073709551615, or -1");
    let given = Option::<Given>::deserialize(deserializer).map_err(|_| wrong())?;
    match given {
        None | Some(Given::Integer(-1)) => Ok(None),
        Some(Given::Natural(seed)) => Ok(Some(seed)),
        Some(Given::Integer(_)) => Err(wrong()),
        Some(Given::Text(digits)) => digits.parse().map(Some).map_err(|_| wrong()),
    }
}

/// A seed that has to be there.
pub(super) fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    seed(deserializer)?.ok_or_else(|| D::Error::custom("the seed of the original is missing"))
}

/// A text, or a number in its place.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let given = Option::<Given>::deserialize(deserializer)?;
    Ok(given.map(|given| match given {
        Given::Natural(number) => number.to_string(),
        Given::Integer(number) => number.to_string(),
        Given::Text(text) => text,
    }))
}
