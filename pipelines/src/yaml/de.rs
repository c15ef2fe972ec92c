//! serde over [`Node`]: any type can be read from the tree, and every error knows its place.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

use super::node::{Entry, Node, Value};
use crate::error::{Diagnostic, Mark, did_you_mean};

impl Node {
    /// The tree as a type.
    ///
    /// # Errors
    /// What does not fit, with its place: an unknown key, a wrong type, a missing key.
    pub fn read<'de, T: Deserialize<'de>>(&'de self) -> Result<T, Diagnostic> {
        T::deserialize(NodeDeserializer { node: self }).map_err(|e| e.into_diagnostic(&self.mark))
    }
}

/// What does not fit.
#[derive(Debug)]
enum Cause {
    /// A key that the type ignores; its name is filled in on the way up.
    IgnoredKey,
    /// Anything else, in one sentence.
    Message(String),
}

/// An error that gets its place as it travels up.
#[derive(Debug)]
struct NodeError {
    cause: Cause,
    hint: Option<String>,
    mark: Option<Mark>,
}

impl NodeError {
    fn new(message: String, hint: Option<String>) -> Self {
        Self {
            cause: Cause::Message(message),
            hint,
            mark: None,
        }
    }

    fn at(mut self, mark: &Mark) -> Self {
        self.mark.get_or_insert_with(|| mark.clone());
        self
    }

    fn into_diagnostic(self, outermost: &Mark) -> Diagnostic {
        let message = self.to_string();
        Diagnostic {
            mark: self.mark.unwrap_or_else(|| outermost.clone()),
            message,
            hint: self.hint,
        }
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::IgnoredKey => f.write_str("unknown key"),
            Cause::Message(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for NodeError {}

impl de::Error for NodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string(), None)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let hint = did_you_mean(field, expected, "the keys");
        Self::new(format!("unknown key `{field}`"), Some(hint))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = did_you_mean(variant, expected, "the values");
        Self::new(format!("unknown value `{variant}`"), Some(hint))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("the key `{field}` is missing"))
    }
}

/// Reads a type from a node.
#[derive(Clone, Copy)]
struct NodeDeserializer<'de> {
    node: &'de Node,
}

impl<'de> NodeDeserializer<'de> {
    fn wrong_type(self, visitor: &dyn de::Expected) -> NodeError {
        let found = self.node.value.describe();
        let message = format!("this should be {visitor}, but it is {found}");
        NodeError::new(message, None).at(&self.node.mark)
    }

    fn scalar<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
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
            Value::Seq(items) => visitor.visit_seq(Items {
                items: items.iter(),
            }),
            Value::Map(entries) => {
                let (rest, value) = (entries.iter(), None);
                visitor.visit_map(Entries { rest, value })
            }
        }
    }
}

macro_rules! only {
    ($($method:ident: $pattern:pat),+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
            match &self.node.value {
                $pattern => self.scalar(visitor).map_err(|e| e.at(&self.node.mark)),
                _ => Err(self.wrong_type(&visitor)),
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for NodeDeserializer<'de> {
    type Error = NodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        self.scalar(visitor).map_err(|e| e.at(&self.node.mark))
    }

    only! {
        deserialize_bool: Value::Bool(_),
        deserialize_i8: Value::Int(_), deserialize_i16: Value::Int(_),
        deserialize_i32: Value::Int(_), deserialize_i64: Value::Int(_),
        deserialize_u8: Value::Int(_), deserialize_u16: Value::Int(_),
        deserialize_u32: Value::Int(_), deserialize_u64: Value::Int(_),
        deserialize_f32: Value::Int(_) | Value::Float(_),
        deserialize_f64: Value::Int(_) | Value::Float(_),
        deserialize_char: Value::Str(_), deserialize_str: Value::Str(_),
        deserialize_string: Value::Str(_), deserialize_seq: Value::Seq(_),
        deserialize_map: Value::Map(_)
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

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NodeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NodeError> {
        let (name, mark, node) = match &self.node.value {
            Value::Str(s) => (s, &self.node.mark, None),
            Value::Map(entries) if entries.len() == 1 => {
                (&entries[0].key, &entries[0].mark, Some(&entries[0].node))
            }
            _ => return Err(self.wrong_type(&visitor)),
        };
        visitor
            .visit_enum(Variant { name, mark, node })
            .map_err(|e| e.at(mark))
    }

    /// serde ignores a key only where a type does not refuse unknown keys: here they are refused for every type.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NodeError> {
        Err(NodeError {
            cause: Cause::IgnoredKey,
            hint: None,
            mark: None,
        })
    }

    forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

struct Items<'de> {
    items: std::slice::Iter<'de, Node>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = NodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, NodeError> {
        let Some(node) = self.items.next() else {
            return Ok(None);
        };
        let value = seed.deserialize(NodeDeserializer { node });
        value.map(Some).map_err(|e| e.at(&node.mark))
    }
}

struct Entries<'de> {
    rest: std::slice::Iter<'de, Entry>,
    value: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = NodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, NodeError> {
        self.value = self.rest.next();
        let Some(entry) = self.value else {
            return Ok(None);
        };
        let key = seed.deserialize(entry.key.as_str().into_deserializer());
        key.map(Some).map_err(|e: NodeError| e.at(&entry.mark))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, NodeError> {
        let Some(entry) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let node = &entry.node;
        let value = seed.deserialize(NodeDeserializer { node });
        value.map_err(|e| match e.cause {
            Cause::IgnoredKey => {
                NodeError::new(format!("unknown key `{}`", entry.key), e.hint).at(&entry.mark)
            }
            Cause::Message(_) => e.at(&node.mark),
        })
    }
}

struct Variant<'de> {
    name: &'de str,
    mark: &'de Mark,
    node: Option<&'de Node>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = NodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), NodeError> {
        let value = seed.deserialize(self.name.into_deserializer());
        value
            .map(|v| (v, Self { ..self }))
            .map_err(|e: NodeError| e.at(self.mark))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = NodeError;

    fn unit_variant(self) -> Result<(), NodeError> {
        match self.node {
            None => Ok(()),
            Some(_) => Err(de::Error::custom(format!("`{}` takes no value", self.name))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, NodeError> {
        match self.node {
            Some(node) => seed.deserialize(NodeDeserializer { node }),
            None => Err(de::Error::custom(format!("`{}` needs a value", self.name))),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, NodeError> {
        match self.node {
            Some(node) => NodeDeserializer { node }.deserialize_seq(visitor),
            None => Err(de::Error::custom(format!("`{}` needs a list", self.name))),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NodeError> {
        match self.node {
            Some(node) => NodeDeserializer { node }.deserialize_map(visitor),
            None => Err(de::Error::custom(format!(
                "`{}` needs a mapping",
                self.name
            ))),
        }
    }
}
