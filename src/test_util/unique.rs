//! Maps of a rules file. serde cannot derive them, because a repeated key is an error, and an error
//! in a value has the line of that value.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_json::Value;

/// A map that refuses a repeated key. In serde_json's maps, the last one would win.
pub(super) struct Unique<K, V>(pub(super) BTreeMap<K, V>);

/// A key of a [`Unique`] map.
pub(super) trait Key<V: DeserializeOwned>: fmt::Display + Ord {
    /// Reads this key's value.
    fn read_value<'de, A: MapAccess<'de>>(&self, map: &mut A) -> Result<V, A::Error> {
        map.next_value()
    }
}

impl<V: DeserializeOwned> Key<V> for String {}

impl<K, V> Default for Unique<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, K, V> Deserialize<'de> for Unique<K, V>
where
    K: Deserialize<'de> + Key<V>,
    V: DeserializeOwned,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}

struct MapVisitor<K, V>(PhantomData<(K, V)>);

impl<'de, K, V> Visitor<'de> for MapVisitor<K, V>
where
    K: Deserialize<'de> + Key<V>,
    V: DeserializeOwned,
{
    type Value = Unique<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some(key) = map.next_key::<K>()? {
            if entries.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key `{key}` is repeated")));
            }
            let value = key.read_value(&mut map)?;
            entries.insert(key, value);
        }
        Ok(Unique(entries))
    }
}

/// Reads any JSON value and converts it. The conversion runs inside the visitor, where serde_json
/// knows the line of the value.
pub(super) struct Convert<F>(pub(super) F);

macro_rules! convert_scalars {
    ($($visit:ident: $scalar:ty),+) => {$(
        fn $visit<E: Error>(self, scalar: $scalar) -> Result<T, E> {
            self.0(scalar.into()).map_err(E::custom)
        }
    )+};
}

impl<'de, T, F: FnOnce(Value) -> Result<T, String>> DeserializeSeed<'de> for Convert<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T, F: FnOnce(Value) -> Result<T, String>> Visitor<'de> for Convert<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        self.0(Value::Null).map_err(E::custom)
    }

    convert_scalars! { visit_str: &str, visit_bool: bool, visit_u64: u64, visit_i64: i64, visit_f64: f64 }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<T, A::Error> {
        let list = Value::deserialize(SeqAccessDeserializer::new(seq))?;
        self.0(list).map_err(A::Error::custom)
    }

    /// Reads an object; also a number, if a crate of the app enables serde_json's
    /// `arbitrary_precision`.
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let object = Value::deserialize(MapAccessDeserializer::new(map))?;
        self.0(object).map_err(A::Error::custom)
    }
}
