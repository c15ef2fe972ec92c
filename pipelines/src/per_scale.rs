//! A number that may differ from scale to scale.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// One number for all scales, or one for each: `3` or `[1, 2, 3]` in YAML, `3` or `1,2,3` on the command line.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PerScale {
    /// The same at every scale.
    All(f64),
    /// One a scale, coarse to fine.
    Each(Vec<f64>),
}

/// Numbers that cannot be those of the scales.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PerScaleError {
    /// Another text than a finite number.
    #[error("`{0}` is no number")]
    NotANumber(String),
    /// A list of another length.
    #[error("{numbers} numbers for {scales} scales: there should be one a scale, or a single one")]
    Length {
        /// Length of the list.
        numbers: usize,
        /// Number of scales.
        scales: usize,
    },
}

/// What it should look like, for messages.
const EXPECTED: &str = "a number, or a list with one number a scale";

impl PerScale {
    /// The numbers of `scales` scales.
    ///
    /// # Errors
    /// A list of another length.
    pub fn values(&self, scales: usize) -> Result<Vec<f64>, PerScaleError> {
        match self {
            Self::All(value) => Ok(vec![*value; scales]),
            Self::Each(values) if values.len() == scales => Ok(values.clone()),
            Self::Each(values) => Err(PerScaleError::Length {
                numbers: values.len(),
                scales,
            }),
        }
    }

    /// All numbers that were given.
    pub fn given(&self) -> &[f64] {
        match self {
            Self::All(value) => std::slice::from_ref(value),
            Self::Each(values) => values,
        }
    }
}

impl From<f64> for PerScale {
    fn from(value: f64) -> Self {
        Self::All(value)
    }
}

impl fmt::Display for PerScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.given().iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

impl FromStr for PerScale {
    type Err = PerScaleError;

    fn from_str(text: &str) -> Result<Self, PerScaleError> {
        let number = |part: &str| match part.trim().parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(PerScaleError::NotANumber(part.trim().to_owned())),
        };
        if text.contains(',') {
            let values: Result<_, _> = text.split(',').map(number).collect();
            values.map(Self::Each)
        } else {
            number(text).map(Self::All)
        }
    }
}

impl<'de> Deserialize<'de> for PerScale {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = PerScale;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_f64<E>(self, value: f64) -> Result<PerScale, E> {
                Ok(PerScale::All(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<PerScale, E> {
                Ok(PerScale::All(value as f64))
            }
            fn visit_i64<E>(self, value: i64) -> Result<PerScale, E> {
                Ok(PerScale::All(value as f64))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<PerScale, E> {
                let message = format!("this should be {EXPECTED}, but it is the string `{text}`");
                Err(E::custom(message))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<PerScale, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(PerScale::Each)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl JsonSchema for PerScale {
    fn schema_name() -> Cow<'static, str> {
        "PerScale".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "number" },
                { "type": "array", "items": { "type": "number" }, "minItems": 1 }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_the_command_line() {
        assert_eq!("3".parse(), Ok(PerScale::All(3.0)));
        assert_eq!("1, 2.5,4".parse(), Ok(PerScale::Each(vec![1.0, 2.5, 4.0])));
        for bad in ["", "x", "nan", "inf", "1,,2", "1,"] {
            let message = bad.parse::<PerScale>().unwrap_err().to_string();
            assert!(message.ends_with("is no number"), "{bad}: {message}");
        }
    }

    #[test]
    fn one_a_scale_or_one_for_all() {
        assert_eq!(PerScale::All(2.0).values(3), Ok(vec![2.0; 3]));
        let each = PerScale::Each(vec![1.0, 2.0]);
        assert_eq!(each.values(2), Ok(vec![1.0, 2.0]));
        let message = each.values(13).unwrap_err().to_string();
        assert!(message.starts_with("2 numbers for 13 scales"), "{message}");
        assert_eq!(each.to_string(), "1,2");
    }

    #[test]
    fn there_and_back() {
        for (json, value) in [
            ("3.0", PerScale::All(3.0)),
            ("[1.0,4.5]", PerScale::Each(vec![1.0, 4.5])),
        ] {
            assert_eq!(serde_json::from_str::<PerScale>(json).unwrap(), value);
            assert_eq!(serde_json::to_string(&value).unwrap(), json);
        }
        assert_eq!(
            serde_json::from_str::<PerScale>("4").unwrap(),
            PerScale::All(4.0)
        );
        let error = serde_json::from_str::<PerScale>("\"high\"").unwrap_err();
        assert!(error.to_string().contains("the string `high`"), "{error}");
    }
}
