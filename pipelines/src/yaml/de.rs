//! serde over [`Node`]: any type can be read from the tree, and every error knows its place.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{self, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

use super::node::{Entry, Node, Value};
use crate::error::{Diagnostic, Mark, did_you_mean};

impl Node {
    /// The tree as a type.
    ///
    /// # Errors
    /// What does not fit, with its place: an unknown key, a wrong type, a missing key.
    pub fn read<'de, T: Deserialize<'de>>(&'de self) -> Result<T, Diagnostic> {
        T::deserialize(NodeDeserializer {
            node: self,
            entry: None,
        })
        .map_err(|e| Diagnostic {
            mark: e.mark.unwrap_or_else(|| self.mark.clone()),
            message: e.message,
            hint: e.hint,
        })
    }
}

/// An error that gets its place as it travels up.
#[derive(Debug)]
struct NodeError {
    message: String,
    hint: Option<String>,
    mark: Option<Mark>,
}

impl NodeError {
    fn at(mut self, mark: &Mark) -> Self {
        self.mark.get_or_insert_with(|| mark.clone());
        self
    }

    fn hint(mut self, hint: String) -> Self {
        self.hint = Some(hint);
        self
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for NodeError {}

impl de::Error for NodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let (message, hint, mark) = (message.to_string(), None, None);
        Self {
            message,
            hint,
            mark,
        }
    }

    fn invalid_type(found: Unexpected, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Unit => Value::Null,
            Unexpected::Bool(b) => Value::Bool(b),
            Unexpected::Unsigned(u) => Value::Int(u.into()),
            Unexpected::Signed(i) => Value::Int(i.into()),
            Unexpected::Float(x) => Value::Float(x),
            Unexpected::Str(s) => Value::Str(s.to_owned()),
            Unexpected::Seq => Value::Seq(vec![]),
            Unexpected::Map => Value::Map(vec![]),
            other => {
                return Self::custom(format!("this should be {expected}, but it is {other}"));
            }
        };
        let found = found.describe();
        Self::custom(format!("this should be {expected}, but it is {found}"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let hint = did_you_mean(field, expected, "the keys");
        Self::custom(format!("unknown key `{field}`")).hint(hint)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = did_you_mean(variant, expected, "the values");
        Self::custom(format!("unknown value `{variant}`")).hint(hint)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("the key `{field}` is missing"))
    }
}

/// Reads a type from a node.
#[derive(Clone, Copy)]
struct NodeDeserializer<'de> {
    node: &'de Node,
    /// The entry of a mapping whose value it is.
    entry: Option<&'de Entry>,
}

impl<'de> NodeDeserializer<'de> {
    fn visit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Int(i) => match (u64::try_from(*i), i64::try_from(*i)) {
                (Ok(u), _) => visitor.visit_u64(u),
                (_, Ok(i)) => visitor.visit_i64(i),
                _ => visitor.visit_i128(*i),
            },
            Value::Float(x) => visitor.visit_f64(*x),
            Value::Str(s) => visitor.visit_borrowed_str(s),
            Value::Seq(items) => {
                let nodes = items.iter().map(|node| Self { node, entry: None });
                visitor.visit_seq(SeqDeserializer::new(nodes))
            }
            Value::Map(entries) => visitor.visit_map(entries_deserializer(entries)),
        }
    }
}

type Pair<'de> = (KeyDeserializer<'de>, NodeDeserializer<'de>);

/// The keys and values of a mapping.
fn entries_deserializer<'de>(
    entries: &'de [Entry],
) -> MapDeserializer<'de, impl Iterator<Item = Pair<'de>>, NodeError> {
    MapDeserializer::new(entries.iter().map(|entry| {
        let (node, key) = (&entry.node, KeyDeserializer(entry));
        let entry = Some(entry);
        (key, NodeDeserializer { node, entry })
    }))
}

impl<'de> Deserializer<'de> for NodeDeserializer<'de> {
    type Error = NodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        self.visit(visitor).map_err(|e| e.at(&self.node.mark))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, NodeError> {
        visitor.visit_newtype_struct(self)
    }

    /// serde would read a struct from a list too.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NodeError> {
        match self.node.value {
            Value::Seq(_) => {
                let error: NodeError = de::Error::invalid_type(Unexpected::Seq, &visitor);
                Err(error.at(&self.node.mark))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NodeError> {
        let value = match &self.node.value {
            Value::Str(name) => visitor.visit_enum(name.as_str().into_deserializer()),
            Value::Map(entries) if entries.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(entries_deserializer(entries)))
            }
            _ => return self.deserialize_any(visitor),
        };
        value.map_err(|e| e.at(&self.node.mark))
    }

    /// serde ignores a key only where a type does not refuse unknown keys: here they are refused for every type.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        let Some(entry) = self.entry else {
            return self.deserialize_any(visitor);
        };
        let error: NodeError = de::Error::custom(format!("unknown key `{}`", entry.key));
        Err(error.at(&entry.mark))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

impl<'de> IntoDeserializer<'de, NodeError> for NodeDeserializer<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Reads the key of an entry.
struct KeyDeserializer<'de>(&'de Entry);

impl<'de> Deserializer<'de> for KeyDeserializer<'de> {
    type Error = NodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        let key = visitor.visit_borrowed_str(&self.0.key);
        key.map_err(|e: NodeError| e.at(&self.0.mark))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, NodeError> for KeyDeserializer<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
