//! Any JSON in memory: numbers keep their text, and text is read and written without losing any. Pure.
//!
//! serde_json cannot do it: it holds a number in 64 bits, unless some crate of the app turns on
//! `arbitrary_precision`.

use std::{borrow::Cow, mem};

use serde_json::{Number, Value};

/// Any JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    /// As it is written.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Fields<'a>),
}

/// An object's entries, in any order; where a key stands twice, the last one counts.
pub(crate) type Fields<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

/// Why there is no node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unreadable {
    TooDeep,
    TooLong,
    NotJson,
}

impl<'a> Node<'a> {
    /// Reads what is known to be JSON without a lone surrogate, in one pass over the text, as long as
    /// it is at most so many levels deep, and not longer than this when it is written without a space.
    pub(crate) fn read(json: &'a str, depth: usize, longest: usize) -> Result<Self, Unreadable> {
        Reader { rest: json, room: longest }.value(depth)
    }

    /// Takes over a value, at most so many levels deep.
    pub(crate) fn from_value(value: Value, depth: usize) -> Result<Self, Unreadable> {
        let below = || depth.checked_sub(1).ok_or(Unreadable::TooDeep);
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

    /// A number as serde_json writes it, if it is finite.
    pub(crate) fn from_f64(value: f64) -> Option<Self> {
        Number::from_f64(value).map(|number| Self::Number(number.to_string().into()))
    }

    /// What it is, without what it says.
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

    /// Puts the keys of all objects in order, each there once.
    pub(crate) fn settle(&mut self) {
        match self {
            Self::List(list) => list.iter_mut().for_each(Self::settle),
            Self::Object(fields) => {
                sort(fields);
                fields.iter_mut().for_each(|(_, node)| node.settle());
            }
            _ => {}
        }
    }

    /// Writes it without a space.
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

/// Puts the keys in order, each there once: the last one.
pub(crate) fn sort(fields: &mut Fields<'_>) {
    if fields.is_sorted_by(|(a, _), (b, _)| a < b) {
        return;
    }
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    fields.dedup_by(|later, kept| {
        let is_same = later.0 == kept.0;
        if is_same {
            mem::swap(later, kept);
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

/// What of the text has not been read, and how many bytes there is room for in what is made of it.
struct Reader<'a> {
    rest: &'a str,
    room: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Node<'a>, Unreadable> {
        let node = match self.peek()? {
            b'{' => Node::Object(self.fields(depth.checked_sub(1).ok_or(Unreadable::TooDeep)?)?),
            b'[' => Node::List(self.list(depth.checked_sub(1).ok_or(Unreadable::TooDeep)?)?),
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

    fn fields(&mut self, depth: usize) -> Result<Fields<'a>, Unreadable> {
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

    fn list(&mut self, depth: usize) -> Result<Vec<Node<'a>>, Unreadable> {
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

    fn string(&mut self) -> Result<Cow<'a, str>, Unreadable> {
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
                None => return Err(Unreadable::NotJson),
            }
        }
        let quoted = self.split(end + 1)?;
        if has_escapes {
            let text: String = serde_json::from_str(quoted).map_err(|_| Unreadable::NotJson)?;
            self.spend(text.len() + 2)?;
            Ok(Cow::Owned(text))
        } else {
            self.spend(quoted.len())?;
            Ok(Cow::Borrowed(quoted.get(1..end).ok_or(Unreadable::NotJson)?))
        }
    }

    /// A number, or one of the three words that JSON has.
    fn word(&mut self) -> Result<&'a str, Unreadable> {
        let ends = |byte: u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
        let end = self.rest.bytes().position(ends).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(Unreadable::NotJson);
        }
        self.spend(end)?;
        self.split(end)
    }

    /// The next byte that says something.
    fn peek(&mut self) -> Result<u8, Unreadable> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.bytes().next().ok_or(Unreadable::NotJson)
    }

    fn punctuation(&mut self, byte: u8) -> Result<(), Unreadable> {
        if self.peek()? == byte { self.take(1) } else { Err(Unreadable::NotJson) }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Unreadable> {
        self.spend(bytes)?;
        self.split(bytes).map(drop)
    }

    fn split(&mut self, at: usize) -> Result<&'a str, Unreadable> {
        let (first, rest) = self.rest.split_at_checked(at).ok_or(Unreadable::NotJson)?;
        self.rest = rest;
        Ok(first)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Unreadable> {
        self.room = self.room.checked_sub(bytes).ok_or(Unreadable::TooLong)?;
        Ok(())
    }
}
