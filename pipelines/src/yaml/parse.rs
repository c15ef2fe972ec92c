//! YAML text to a tree in which every value has its place.

use std::fmt;
use std::sync::Arc;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Location, Spanned};

use super::node::{Entry, Node, Value};
use crate::error::{Diagnostic, Mark, PipelineError};

impl Node {
    /// Reads YAML; `origin` is what errors call the text, normally the path of its file.
    ///
    /// # Errors
    /// Anything that is not YAML, and a key that is repeated in one mapping.
    pub fn parse(text: &str, origin: &str) -> Result<Self, PipelineError> {
        let origin: Arc<str> = origin.into();
        let options = serde_saphyr::options! {
            duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::PassThrough,
            with_snippet: false,
            strict_booleans: true,
        };
        let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| syntax_error(&error, &origin))?;
        convert(raw, &origin)
    }
}

/// A value as the parser returns it, before the origin is put into each mark.
enum Raw {
    Scalar(Value),
    Seq(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Bool(v)))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Int(v.into())))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Int(v.into())))
    }

    fn visit_i128<E>(self, v: i128) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Int(v)))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Float(v)))
    }

    fn visit_str<E>(self, v: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Str(v.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Raw, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Raw::Seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = vec![];
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

fn mark(location: Location, origin: &Arc<str>) -> Mark {
    let (line, column) = (location.line(), location.column());
    Mark {
        origin: origin.clone(),
        line,
        column,
    }
}

fn convert(raw: Spanned<Raw>, origin: &Arc<str>) -> Result<Node, PipelineError> {
    let at = mark(raw.referenced, origin);
    let value = match raw.value {
        Raw::Scalar(value) => value,
        Raw::Seq(items) => Value::Seq(
            items
                .into_iter()
                .map(|i| convert(i, origin))
                .collect::<Result<_, _>>()?,
        ),
        Raw::Map(pairs) => {
            let mut entries: Vec<Entry> = vec![];
            for (key, node) in pairs {
                let mark = mark(key.referenced, origin);
                if let Some(first) = entries.iter().find(|e| e.key == key.value) {
                    let message = format!("`{}` stands twice in one mapping", key.value);
                    let hint = format!("it is first written at {}; rename one of them", first.mark);
                    return Err(Diagnostic::new(&mark, message).hint(hint).into());
                }
                let node = convert(node, origin)?;
                entries.push(Entry {
                    key: key.value,
                    mark,
                    node,
                });
            }
            Value::Map(entries)
        }
    };
    Ok(Node { value, mark: at })
}

fn syntax_error(error: &serde_saphyr::Error, origin: &Arc<str>) -> PipelineError {
    let at = error
        .location()
        .map_or_else(|| Mark::origin(origin), |l| mark(l, origin));
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or("this is not YAML");
    // The place is already in the mark.
    let first = first.split(" at line ").next().unwrap_or(first);
    Diagnostic::new(&at, first).into()
}
