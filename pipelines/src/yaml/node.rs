//! A value of YAML and the place where it was written.

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::error::{Diagnostic, Mark, PipelineError};

/// A value and the place where it was written.
#[derive(Debug, Clone)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it was written.
    pub mark: Mark,
}

/// A value of YAML, with keys in the order in which they were written.
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
    /// Where the key was written.
    pub mark: Mark,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// A value that a program made; `origin` names the source for errors, for example `--seed`.
    ///
    /// # Errors
    /// A value that serde cannot serialise as plain data.
    pub fn from_data(data: &impl Serialize, origin: &str) -> Result<Self, PipelineError> {
        let json = serde_json::to_value(data)
            .map_err(|e| PipelineError::refused(format!("cannot use {origin}: {e}")))?;
        Ok(from_json(json, &Mark::origin(origin)))
    }

    /// The entries of a mapping; none for any other value.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The entries of a mapping, to change their values; none for any other value.
    pub(crate) fn entries_mut(&mut self) -> &mut [Entry] {
        match &mut self.value {
            Value::Map(entries) => entries,
            _ => &mut [],
        }
    }

    /// The items of a list; none for any other value.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Seq(items) => items,
            _ => &[],
        }
    }

    /// The same, to be changed.
    pub(crate) fn items_mut(&mut self) -> &mut [Node] {
        match &mut self.value {
            Value::Seq(items) => items,
            _ => &mut [],
        }
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.entries().iter().find(|e| e.key == key);
        entry.map(|e| &e.node)
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// Sets the value at a path of keys, creating mappings on the way; a number is an index into a list.
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
                    entries.push(Entry::null(first, &at));
                    entries.len() - 1
                });
                &mut entries[index].node
            }
            Value::Seq(items) => {
                let count = items.len();
                let item = first.parse().ok().and_then(|i: usize| items.get_mut(i));
                item.ok_or_else(|| {
                    let message = format!("`{first}` is not an index of a list of {count}");
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

    /// The value of a key of a mapping, to change it.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        let entry = entries.iter_mut().find(|e| e.key == key)?;
        Some(&mut entry.node)
    }

    /// Removes a key of a mapping and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        let index = entries.iter().position(|e| e.key == key)?;
        Some(entries.remove(index).node)
    }

    /// The tree as YAML.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).unwrap_or_default()
    }
}

impl Entry {
    fn null(key: &str, mark: &Mark) -> Self {
        let node = Node {
            value: Value::Null,
            mark: mark.clone(),
        };
        Self {
            key: key.to_owned(),
            mark: mark.clone(),
            node,
        }
    }
}

impl Value {
    /// A description for messages: "the string `x`".
    pub fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".into(),
            Self::Bool(b) => format!("`{b}`"),
            Self::Int(i) => format!("the number {i}"),
            Self::Float(x) => format!("the number {x}"),
            Self::Str(s) if s.chars().count() > 80 => {
                let start: String = s.chars().take(80).collect();
                format!("the string `{start}…`")
            }
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
