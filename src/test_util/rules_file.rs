//! Reads rules from a file, or from JSON.

use std::{fmt, fs, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, MapAccess, Visitor, value::MapAccessDeserializer,
    },
};
use serde_json::{Map, Value};
use thiserror::Error as ThisError;

use super::{
    attribute::Conditions,
    rules::{ALL_USERS, Rule, Rules, name_fault},
    unique::{Convert, Key, Unique},
};

/// Why rules cannot be read.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum RulesError {
    /// The file cannot be read.
    #[error("rules file {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The text is not JSON, or does not have the form of [`Rules`].
    #[error("{}line {line}, column {column}: {reason}", in_file(.path))]
    Parse {
        /// The file, if there is one.
        path: Option<String>,
        /// The line, counted from 1.
        line: usize,
        /// The column where the faulty part ends, in bytes, counted from 1.
        column: usize,
        /// A description of the value found there and the values allowed.
        reason: String,
    },
}

fn in_file(path: &Option<String>) -> String {
    path.as_ref().map(|path| format!("rules file {path}, ")).unwrap_or_default()
}

impl Rules {
    /// Returns the rules that `statsig-relay` answers from without a key:
    ///
    /// ```json
    #[doc = include_str!("sample_rules.json")]
    /// ```
    pub fn sample() -> Self {
        Self::from_json(SAMPLE).expect("the compiled-in sample is valid: a test reads it")
    }

    /// Reads rules from JSON.
    ///
    /// # Errors
    /// [`RulesError::Parse`] names the line and the column.
    pub fn from_json(json: &str) -> Result<Self, RulesError> {
        parse(json.as_bytes(), None)
    }

    /// Reads rules from a file.
    ///
    /// # Errors
    /// [`RulesError::Read`] if the file cannot be read, otherwise as [`from_json`](Self::from_json),
    /// with the file's path.
    pub fn from_file(file: impl AsRef<Path>) -> Result<Self, RulesError> {
        let path = file.as_ref().display().to_string();
        match fs::read(file) {
            Ok(json) => parse(&json, Some(&path)),
            Err(source) => Err(RulesError::Read { path, source }),
        }
    }
}

const SAMPLE: &str = include_str!("sample_rules.json");

/// Reads rules from JSON; `path` is for the error.
fn parse(json: &[u8], path: Option<&str>) -> Result<Rules, RulesError> {
    let file: File = serde_json::from_slice(json).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let at = format!(" at line {line} column {column}");
        let reason = text.strip_suffix(&at).unwrap_or(&text).to_owned();
        RulesError::Parse { path: path.map(str::to_owned), line, column, reason }
    })?;
    let gates = file.gates.0.into_iter().map(|(name, gate)| (name.0, gate.0));
    let configs = file.configs.0.into_iter().map(|(name, config)| (name.0, config.into()));
    Ok(Rules::from_parts(gates.collect(), configs.collect()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    gates: Unique<Name, Gate>,
    #[serde(default)]
    configs: Unique<Name, Entry<Map<String, Value>>>,
}

/// A rule in the form of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound = "T: DeserializeOwned")]
struct Entry<T> {
    value: T,
    #[serde(default = "Unique::default")]
    overrides: Unique<String, T>,
    percentage: Option<Percentage>,
    #[serde(default)]
    when: Conditions,
    rule_id: Option<String>,
    group_name: Option<String>,
}

impl<T> From<Entry<T>> for Rule<T> {
    fn from(entry: Entry<T>) -> Self {
        Self {
            value: entry.value,
            overrides: entry.overrides.0,
            when: entry.when.0,
            percentage: entry.percentage.map_or(ALL_USERS, |percentage| percentage.0),
            rule_id: entry.rule_id,
            group_name: entry.group_name,
        }
    }
}

/// A gate: a rule, or `true` or `false` alone.
struct Gate(Rule<bool>);

impl<'de> Deserialize<'de> for Gate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct GateVisitor;

        impl<'de> Visitor<'de> for GateVisitor {
            type Value = Gate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a rule such as {\"value\": true, \"percentage\": 25}")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Gate, E> {
                Ok(Gate(Rule::new(value)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Gate, A::Error> {
                let entry = Entry::<bool>::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Gate(entry.into()))
            }
        }

        deserializer.deserialize_any(GateVisitor)
    }
}

/// The name of a gate or a config.
#[derive(Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name_fault(&name) {
            None => Ok(Self(name)),
            Some(fault) => Err(format!("the name {name:?} {fault}")),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<V: DeserializeOwned> Key<V> for Name {}

/// A number from 0 to 100.
struct Percentage(f64);

impl<'de> Deserialize<'de> for Percentage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Convert(|value: Value| {
            let number = value.as_f64().filter(|number| (0.0..=100.0).contains(number));
            number
                .map(Self)
                .ok_or_else(|| format!("expected a number from 0 to 100, found {value}"))
        });
        read.deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the error in a file of these lines.
    fn error_of(lines: &[&str]) -> RulesError {
        let text = lines.join("\n");
        parse(text.as_bytes(), None).expect_err("the rules are wrong")
    }

    #[test]
    fn error_names_the_line_and_the_allowed_values() {
        #[rustfmt::skip]
        let cases: &[(&[&str], usize, &[&str])] = &[
            (&["{", r#""gate": {}"#, "}"], 2, &["unknown field `gate`", "`gates`", "`configs`"]),
            (&[r#"{"gates": {"#, r#""beta": {"#, r#""valu": true"#, "}}}"], 3, &["unknown field `valu`", "`percentage`"]),
            (&[r#"{"gates": {"#, r#""beta": {"percentage": 3}"#, "}}"], 2, &["missing field `value`"]),
            (&[r#"{"gates": {"#, r#""beta": "yes""#, "}}"], 2, &["string \"yes\"", "true, false or a rule"]),
            (&[r#"{"gates": {"#, r#""b": true"#, "}}"], 2, &["\"b\"", "2 to 100 characters"]),
            (&[r#"{"gates": {"#, r#""beta/2": true"#, "}}"], 2, &["\"beta/2\"", "a-z"]),
            (&[r#"{"gates": {"#, r#""beta": true,"#, r#""beta": false"#, "}}"], 3, &["`beta` is repeated"]),
            (&[r#"{"gates": {"beta": {"value": true,"#, r#""percentage": 101"#, "}}}"], 2, &["101", "0 to 100"]),
            (&[r#"{"gates": {"beta": {"value": true,"#, r#""percentage": -1"#, "}}}"], 2, &["0 to 100"]),
            (&[r#"{"gates": {"beta": {"value": true,"#, r#""percentage": "half""#, "}}}"], 2, &["half", "0 to 100"]),
            (&[r#"{"gates": {"beta": {"value": true, "overrides": {"#, r#""u-1": 1"#, "}}}}"], 2, &["boolean"]),
            (&[r#"{"gates": {"beta": {"value": true, "when": {"#, r#""contry": "NL""#, "}}}}"], 2, &["`contry`", "country"]),
            (&[r#"{"gates": {"beta": {"value": true, "when": {"#, r#""country": []"#, "}}}}"], 2, &["`country` must be a string, a number, true or false"]),
            (&[r#"{"gates": {"beta": {"value": true, "when": {"#, r#""custom.a": null"#, "}}}}"], 2, &["`custom.a` must be anything but null"]),
            (&[r#"{"gates": {"beta": {"value": true, "when": {"#, r#""statsigEnvironment.tier": 1"#, "}}}}"], 2, &["`statsigEnvironment.tier` must be a string"]),
            (&[r#"{"configs": {"#, r#""homepage": {"value": "dark"}"#, "}}"], 2, &["\"dark\"", "map"]),
            (&[r#"{"configs": {"#, r#""homepage": true"#, "}}"], 2, &["true"]),
            (&["{", r#""gates": {"#], 2, &["EOF"]),
            (&["{}", "{}"], 2, &["trailing"]),
        ];

        for (lines, line, words) in cases {
            let error = error_of(lines);
            let text = error.to_string();
            let RulesError::Parse { line: at, .. } = error else { panic!("{text}") };
            assert_eq!(at, *line, "{text}\n{lines:?}");
            assert!(text.starts_with(&format!("line {line}, column ")), "{text}");
            assert!(!text.contains(" at line "), "{text}");
            for word in *words {
                assert!(text.contains(word), "{word:?} is not in: {text}");
            }
        }
    }

    #[test]
    fn error_names_the_file() {
        let directory = std::env::temp_dir().join(format!("rules-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("rules.json");
        std::fs::write(&path, "{\n  \"gates\": 1\n}").expect("a file");

        let wrong = Rules::from_file(&path).expect_err("gates are an object");
        std::fs::write(&path, b"{\"\xff\": 1}").expect("a file");
        let text = Rules::from_file(&path).expect_err("it is not UTF-8");
        let missing = Rules::from_file(directory.join("none.json")).expect_err("no such file");
        std::fs::remove_dir_all(&directory).expect("the directory is ours");

        let file = format!("rules file {}", path.display());
        assert!(wrong.to_string().starts_with(&format!("{file}, line 2, ")), "{wrong}");
        assert!(text.to_string().starts_with(&format!("{file}, line 1, ")), "{text}");
        assert!(matches!(missing, RulesError::Read { .. }), "{missing}");
        assert!(missing.to_string().contains("none.json: "), "{missing}");
    }

    #[test]
    fn gates_and_configs_are_optional() {
        assert!(Rules::from_json("{}").is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, None);
        }

        #[test]
        fn no_cut_or_changed_file_makes_it_panic(at in 0_usize..1_300, byte in any::<u8>(), cut in any::<bool>()) {
            let mut bytes = include_bytes!("sample_rules.json").to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            let _ = parse(&bytes, None).map_err(|error| error.to_string());
        }
    }
}
