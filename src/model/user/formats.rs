//! Users in any format that serde reads.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, value::RawValue};

use super::{User, fields::MAX_DEPTH};
use crate::model::json::{Fields, Node};

/// Reads the API's JSON form: JSON text like [`User::from_json_text`], and other formats, such as a
/// `serde_json::Value`, like [`User::from_json`].
impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(RAW_VALUE, UserVisitor)
    }
}

/// The name by which [`RawValue`] asks serde_json for the text. Other formats take it for the name of a
/// type. If serde_json changed the name, numbers would have 64 bits and a test would fail.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// The only key of an object whose value is a number's text. serde_json makes such objects if a crate of
/// the app enables `arbitrary_precision`.
const NUMBER: &str = "$serde_json::private::Number";

struct UserVisitor;

impl<'de> Visitor<'de> for UserVisitor {
    type Value = User;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a user, an object")
    }

    /// Reads a format other than JSON text.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<User, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<User, A::Error> {
        let first = map.next_key::<String>()?;
        if first.as_deref() == Some(RAW_VALUE) {
            let json: String = map.next_value()?;
            let json: &RawValue = serde_json::from_str(&json).map_err(A::Error::custom)?;
            return User::try_from(json).map_err(A::Error::custom);
        }
        let mut fields = Nodes { depth: MAX_DEPTH - 1 }.fields(first, map)?;
        User::from_fields(&mut fields).map_err(A::Error::custom)
    }
}

/// Reads any value of at most this depth.
#[derive(Clone, Copy)]
struct Nodes {
    depth: usize,
}

impl Nodes {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        let depth =
            depth.ok_or_else(|| E::custom("a user must have at most 64 levels of nesting"))?;
        Ok(Self { depth })
    }

    fn fields<'de, A: MapAccess<'de>>(
        self,
        first: Option<String>,
        mut map: A,
    ) -> Result<Fields<'static>, A::Error> {
        let mut fields = Fields::new();
        let mut next = first;
        while let Some(key) = next {
            fields.push((key.into(), map.next_value_seed(self)?));
            next = map.next_key()?;
        }
        Ok(fields)
    }
}

impl<'de> DeserializeSeed<'de> for Nodes {
    type Value = Node<'static>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nodes {
    type Value = Node<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Node::Number(value.to_string().into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Node::Number(value.to_string().into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Self::Value, E> {
        Ok(Node::Number(value.to_string().into()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Self::Value, E> {
        Ok(Node::Number(value.to_string().into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Node::from_f64(value).ok_or_else(|| E::custom("a user's numbers must be finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Node::String(text.to_owned().into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Node::String(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let below = self.below()?;
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element_seed(below)? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let first = map.next_key::<String>()?;
        if first.as_deref() == Some(NUMBER) {
            let number: Number = map.next_value::<String>()?.parse().map_err(A::Error::custom)?;
            return Ok(Node::Number(number.to_string().into()));
        }
        self.below()?.fields(first, map).map(Node::Object)
    }
}
