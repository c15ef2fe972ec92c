//! YAML as a tree in which every value knows where it was written.
//!
//! A pipeline is read into this tree first, overrides of the command line are put into it, and only then
//! is it given to serde: so that an error in a value names its line whether a built-in stage or somebody
//! else's stage asked for it.

mod de;

use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_saphyr::{Location, Spanned};

use crate::error::{Diagnostic, Mark, PipelineError};

pub(crate) use de::SKIP;

/// A value and the place where it was written.
#[derive(Debug, Clone)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it stands.
    pub mark: Mark,
}

/// What YAML can say, with keys in the order in which they were written.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing, or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// A string.
    Str(String),
    /// A list.
    Seq(Vec<Node>),
    /// A mapping.
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub mark: Mark,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// Reads YAML; `origin` is the name that errors give the text, normally the path of its file.
    ///
    /// # Errors
    /// Anything that is not YAML, and a key that stands twice in one mapping.
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

    /// A value that a program made; `origin` says which, for example `--seed`.
    ///
    /// # Errors
    /// A value that serde cannot write as plain data.
    pub fn from_data(data: &impl Serialize, origin: &str) -> Result<Self, PipelineError> {
        let json = serde_json::to_value(data)
            .map_err(|e| PipelineError::refused(format!("cannot use {origin}: {e}")))?;
        Ok(from_json(json, &Mark::origin(origin)))
    }

    /// An empty mapping.
    pub fn map(origin: &str) -> Self {
        let (value, mark) = (Value::Map(vec![]), Mark::origin(origin));
        Self { value, mark }
    }

    /// The entries of a mapping; none for any other value.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The entry of a mapping.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|e| e.key == key)
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|e| &e.node)
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// Sets the value at a path of keys, making mappings on the way; a number picks from a list.
    ///
    /// # Errors
    /// A path through a value that is neither a mapping nor a list, or past the end of a list.
    pub fn set(&mut self, path: &[&str], new: Node) -> Result<(), Diagnostic> {
        let Some((&first, rest)) = path.split_first() else {
            *self = new;
            return Ok(());
        };
        let at = new.mark.clone();
        if matches!(self.value, Value::Null) {
            self.value = Value::Map(vec![]);
        }
        let next = match &mut self.value {
            Value::Map(entries) => {
                let found = entries.iter().position(|e| e.key == first);
                let index = found.unwrap_or_else(|| {
                    let (value, mark) = (Value::Null, at.clone());
                    let (key, node) = (
                        first.to_owned(),
                        Node {
                            value,
                            mark: mark.clone(),
                        },
                    );
                    entries.push(Entry { key, mark, node });
                    entries.len() - 1
                });
                &mut entries[index].node
            }
            Value::Seq(items) => {
                let count = items.len();
                let item = first.parse().ok().and_then(|i: usize| items.get_mut(i));
                item.ok_or_else(|| {
                    let message = format!("`{first}` picks nothing from a list of {count}");
                    Diagnostic::new(&at, message)
                })?
            }
            other => {
                let message = format!("`{first}` cannot be set inside {}", other.describe());
                return Err(Diagnostic::new(&at, message));
            }
        };
        next.set(rest, new)
    }

    /// Removes a key of a mapping and gives back its value.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        let index = entries.iter().position(|e| e.key == key)?;
        Some(entries.remove(index).node)
    }

    /// The tree as a type.
    ///
    /// # Errors
    /// What does not fit, with its place: an unknown key, a wrong type, a missing key.
    pub fn read<'de, T: Deserialize<'de>>(&'de self) -> Result<T, Diagnostic> {
        T::deserialize(de::NodeDeserializer { node: self })
            .map_err(|e| e.into_diagnostic(&self.mark))
    }

    /// The tree as YAML.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).unwrap_or_default()
    }
}

impl Value {
    /// What it is, for messages: "the string `x`".
    pub fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".into(),
            Self::Bool(b) => format!("`{b}`"),
            Self::Int(i) => format!("the number {i}"),
            Self::Float(x) => format!("the number {x}"),
            Self::Str(s) => format!("the string `{s}`"),
            Self::Seq(_) => "a list".into(),
            Self::Map(_) => "a mapping".into(),
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Int(i) => match (u64::try_from(*i), i64::try_from(*i)) {
                (Ok(u), _) => serializer.serialize_u64(u),
                (_, Ok(i)) => serializer.serialize_i64(i),
                _ => serializer.serialize_f64(*i as f64),
            },
            Value::Float(x) => serializer.serialize_f64(*x),
            Value::Str(s) => serializer.serialize_str(s),
            Value::Seq(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|i| seq.serialize_element(i))?;
                seq.end()
            }
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries
                    .iter()
                    .try_for_each(|e| map.serialize_entry(&e.key, &e.node))?;
                map.end()
            }
        }
    }
}

/// What the parser hands over before the name of the text is put into each mark.
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

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = vec![];
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::Seq(items))
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

fn from_json(json: serde_json::Value, mark: &Mark) -> Node {
    let value = match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(b),
        serde_json::Value::Number(n) => match (n.as_u64(), n.as_i64()) {
            (Some(u), _) => Value::Int(u.into()),
            (_, Some(i)) => Value::Int(i.into()),
            _ => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(s) => Value::Str(s),
        serde_json::Value::Array(items) => {
            Value::Seq(items.into_iter().map(|i| from_json(i, mark)).collect())
        }
        serde_json::Value::Object(map) => {
            let entries = map.into_iter();
            let entry = |(key, v)| Entry {
                key,
                mark: mark.clone(),
                node: from_json(v, mark),
            };
            Value::Map(entries.map(entry).collect())
        }
    };
    Node {
        value,
        mark: mark.clone(),
    }
}

fn syntax_error(error: &serde_saphyr::Error, origin: &Arc<str>) -> PipelineError {
    let at = error
        .location()
        .map_or_else(|| Mark::origin(origin), |l| mark(l, origin));
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or("this is not YAML");
    // The place is said once, in front.
    let first = first.split(" at line ").next().unwrap_or(first);
    Diagnostic::new(&at, first).into()
}

#[cfg(test)]
mod tests;
