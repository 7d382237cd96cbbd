//! JSON values whose numbers keep their text. Pure.
//!
//! serde_json holds a number in 64 bits, unless a crate of the app enables `arbitrary_precision`.

use std::{borrow::Cow, mem};

use serde_json::{Number, Value};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    /// The number's text.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Fields<'a>),
}

/// An object's entries, in any order. If a key is repeated, its last entry counts.
pub(crate) type Fields<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

/// Why a value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ReadError {
    TooDeep,
    TooLong,
    NotJson,
}

impl<'a> Node<'a> {
    /// Reads valid JSON without lone surrogates, in one pass. `depth` and `longest` limit its nesting and
    /// its length when written without spaces.
    pub(crate) fn read(json: &'a str, depth: usize, longest: usize) -> Result<Self, ReadError> {
        Reader { rest: json, room: longest }.value(depth)
    }

    /// Converts a value of at most this depth.
    pub(crate) fn from_value(value: Value, depth: usize) -> Result<Self, ReadError> {
        let below = || depth.checked_sub(1).ok_or(ReadError::TooDeep);
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => Self::Number(number.to_string().into()),
            Value::String(text) => Self::String(text.into()),
            Value::Array(list) => {
                let below = below()?;
                let mut nodes = Vec::with_capacity(list.len());
                for value in list {
                    nodes.push(Self::from_value(value, below)?);
                }
                Self::List(nodes)
            }
            Value::Object(object) => {
                let below = below()?;
                let mut fields = Fields::with_capacity(object.len());
                for (key, value) in object {
                    fields.push((key.into(), Self::from_value(value, below)?));
                }
                Self::Object(fields)
            }
        })
    }

    /// Makes a number as serde_json writes it, if it is finite.
    pub(crate) fn from_f64(value: f64) -> Option<Self> {
        Number::from_f64(value).map(|number| Self::Number(number.to_string().into()))
    }

    /// Returns the type, without the value.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::List(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// Sorts the keys of all objects, and removes repeated ones.
    pub(crate) fn normalize(&mut self) {
        match self {
            Self::List(list) => list.iter_mut().for_each(Self::normalize),
            Self::Object(fields) => {
                sort(fields);
                fields.iter_mut().for_each(|(_, node)| node.normalize());
            }
            _ => {}
        }
    }

    /// Writes the value without spaces.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(text) => out.push_str(text),
            Self::String(text) => write_string(text, out),
            Self::List(list) => {
                out.push('[');
                for (place, node) in list.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    node.write(out);
                }
                out.push(']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (place, (key, node)) in fields.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    write_field(key, node, out);
                }
                out.push('}');
            }
        }
    }
}

/// Sorts the keys. If a key is repeated, its last entry stays.
pub(crate) fn sort(fields: &mut Fields<'_>) {
    if fields.is_sorted_by(|(a, _), (b, _)| a < b) {
        return;
    }
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    fields.dedup_by(|later, earlier| {
        let is_same = later.0 == earlier.0;
        if is_same {
            mem::swap(later, earlier);
        }
        is_same
    });
}

pub(crate) fn write_field(key: &str, node: &Node<'_>, out: &mut String) {
    write_string(key, out);
    out.push(':');
    node.write(out);
}

pub(crate) fn write_string(text: &str, out: &mut String) {
    if text.bytes().any(|byte| matches!(byte, ..0x20 | b'"' | b'\\')) {
        // A string can always be written.
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

/// The unread rest of a text, and the bytes that the result may still take.
struct Reader<'a> {
    rest: &'a str,
    room: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Node<'a>, ReadError> {
        let node = match self.peek()? {
            b'{' => Node::Object(self.fields(depth.checked_sub(1).ok_or(ReadError::TooDeep)?)?),
            b'[' => Node::List(self.list(depth.checked_sub(1).ok_or(ReadError::TooDeep)?)?),
            b'"' => Node::String(self.string()?),
            _ => match self.word()? {
                "null" => Node::Null,
                "true" => Node::Bool(true),
                "false" => Node::Bool(false),
                number => Node::Number(number.into()),
            },
        };
        Ok(node)
    }

    fn fields(&mut self, depth: usize) -> Result<Fields<'a>, ReadError> {
        let mut fields = Fields::new();
        self.take(1)?;
        while self.peek()? != b'}' {
            let key = self.string()?;
            self.punctuation(b':')?;
            fields.push((key, self.value(depth)?));
            if self.peek()? == b',' {
                self.take(1)?;
            }
        }
        self.take(1)?;
        Ok(fields)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node<'a>>, ReadError> {
        let mut list = Vec::new();
        self.take(1)?;
        while self.peek()? != b']' {
            list.push(self.value(depth)?);
            if self.peek()? == b',' {
                self.take(1)?;
            }
        }
        self.take(1)?;
        Ok(list)
    }

    fn string(&mut self) -> Result<Cow<'a, str>, ReadError> {
        let bytes = self.rest.as_bytes();
        let mut end = 1;
        let mut has_escapes = false;
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    end += 2;
                }
                Some(_) => end += 1,
                None => return Err(ReadError::NotJson),
            }
        }
        let quoted = self.split(end + 1)?;
        if has_escapes {
            let text: String = serde_json::from_str(quoted).map_err(|_| ReadError::NotJson)?;
            self.spend(text.len() + 2)?;
            Ok(Cow::Owned(text))
        } else {
            self.spend(quoted.len())?;
            Ok(Cow::Borrowed(quoted.get(1..end).ok_or(ReadError::NotJson)?))
        }
    }

    /// Reads a number, `null`, `true` or `false`.
    fn word(&mut self) -> Result<&'a str, ReadError> {
        let ends = |byte: u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
        let end = self.rest.bytes().position(ends).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(ReadError::NotJson);
        }
        self.spend(end)?;
        self.split(end)
    }

    /// Returns the next byte that is not whitespace.
    fn peek(&mut self) -> Result<u8, ReadError> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.bytes().next().ok_or(ReadError::NotJson)
    }

    fn punctuation(&mut self, byte: u8) -> Result<(), ReadError> {
        if self.peek()? == byte { self.take(1) } else { Err(ReadError::NotJson) }
    }

    fn take(&mut self, bytes: usize) -> Result<(), ReadError> {
        self.spend(bytes)?;
        self.split(bytes).map(drop)
    }

    fn split(&mut self, at: usize) -> Result<&'a str, ReadError> {
        let (first, rest) = self.rest.split_at_checked(at).ok_or(ReadError::NotJson)?;
        self.rest = rest;
        Ok(first)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), ReadError> {
        self.room = self.room.checked_sub(bytes).ok_or(ReadError::TooLong)?;
        Ok(())
    }
}
