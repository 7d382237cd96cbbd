//! The value of an option, and the flag or variable that set it.

use std::{
    ffi::{OsStr, OsString},
    fmt, fs,
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use clap::{Arg, Command, Error, builder::TypedValueParser, parser::ValueSource};

/// In milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// The value of an option, and the flag or variable that set it.
///
/// An invalid value is an error only when [`get`](Self::get) reads it: a command ignores the
/// variables of options that it does not use. `Debug` shows no value, because one of them is the
/// API key.
#[derive(Clone)]
pub(crate) struct OptionValue<T> {
    text: OsString,
    origin: String,
    is_default: bool,
    parsed: Result<T, Invalid>,
}

/// Why a text is not a value of an option.
#[derive(Clone, Debug)]
pub(crate) enum Invalid {
    NotUtf8,
    /// Breaks this rule.
    Rule(String),
}

impl<T: Clone> OptionValue<T> {
    /// Parses a value that does not come from clap. `origin` is its flag or variable.
    pub(crate) fn parse(
        text: OsString,
        origin: impl Into<String>,
        parse: impl Fn(&OsStr) -> Result<T, Invalid>,
    ) -> Self {
        let parsed = parse(&text);
        Self { text, origin: origin.into(), is_default: false, parsed }
    }

    /// Returns the value, or a message that names the flag or variable to fix.
    pub(crate) fn get(&self) -> Result<T, String> {
        self.parsed.clone().map_err(|invalid| match invalid {
            Invalid::NotUtf8 => format!("{} must be UTF-8", self.origin),
            Invalid::Rule(rule) => self.invalid(&rule),
        })
    }

    /// Returns the flag or variable that set the value; for a default, the flag that would set it.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the value if a flag or variable set it, and `None` if it is the default.
    pub(crate) fn if_set(&self) -> Option<&Self> {
        Some(self).filter(|value| !value.is_default)
    }

    /// Formats the message for a value that breaks a rule. The message shows the value, so do not
    /// use it for secrets.
    pub(crate) fn invalid(&self, rule: &str) -> String {
        format!("{} cannot be {:?}: {rule}", self.origin, self.text)
    }
}

impl OptionValue<PathBuf> {
    /// Reads the file that the option names.
    pub(crate) fn read_file(&self) -> Result<String, String> {
        fs::read_to_string(self.get()?).map_err(|error| self.invalid(&error.to_string()))
    }
}

impl<T> fmt::Debug for OptionValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

impl From<String> for Invalid {
    fn from(rule: String) -> Self {
        Self::Rule(rule)
    }
}

impl From<&str> for Invalid {
    fn from(rule: &str) -> Self {
        Self::Rule(rule.to_owned())
    }
}

/// Makes clap parse an option with this function, and remember which flag or variable set it.
pub(crate) fn option<F, T>(parse: F) -> OptionParser<F>
where
    F: Fn(&OsStr) -> Result<T, Invalid>,
{
    OptionParser(parse)
}

/// A clap parser for [`OptionValue`].
#[derive(Clone)]
pub(crate) struct OptionParser<F>(F);

impl<F, T> TypedValueParser for OptionParser<F>
where
    F: Fn(&OsStr) -> Result<T, Invalid> + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    type Value = OptionValue<T>;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        text: &OsStr,
    ) -> Result<Self::Value, Error> {
        self.parse_ref_(command, arg, text, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        _: &Command,
        arg: Option<&Arg>,
        text: &OsStr,
        source: ValueSource,
    ) -> Result<Self::Value, Error> {
        let origin = arg.map(|arg| origin(arg, source)).unwrap_or_default();
        let value = OptionValue::parse(text.to_owned(), origin, &self.0);
        Ok(OptionValue { is_default: source == ValueSource::DefaultValue, ..value })
    }
}

fn origin(arg: &Arg, source: ValueSource) -> String {
    match (source, arg.get_env(), arg.get_long()) {
        (ValueSource::EnvVariable, Some(variable), _) => variable.to_string_lossy().into_owned(),
        (_, _, Some(flag)) => format!("--{flag}"),
        _ => arg.get_id().to_string(),
    }
}

fn utf8(text: &OsStr) -> Result<&str, Invalid> {
    text.to_str().ok_or(Invalid::NotUtf8)
}

/// Parses any text.
pub(crate) fn text(text: &OsStr) -> Result<String, Invalid> {
    utf8(text).map(str::to_owned)
}

/// Parses a path, which need not be UTF-8.
pub(crate) fn path(text: &OsStr) -> Result<PathBuf, Invalid> {
    Ok(text.into())
}

/// Parses a whole number within these bounds.
pub(crate) fn number(
    bounds: RangeInclusive<usize>,
) -> impl Fn(&OsStr) -> Result<usize, Invalid> + Clone {
    move |text| {
        let number = utf8(text)?.trim().parse().map_err(|_| "must be a whole number")?;
        if bounds.contains(&number) {
            return Ok(number);
        }
        Err(format!("must be from {} to {}", bounds.start(), bounds.end()).into())
    }
}

/// Parses a boolean, in the words that the component's settings accept.
pub(crate) fn switch(text: &OsStr) -> Result<bool, Invalid> {
    match utf8(text)?.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

/// Parses a duration in whole milliseconds, from 1 ms to 24 h.
pub(crate) fn duration(text: &OsStr) -> Result<Duration, Invalid> {
    let text = utf8(text)?.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "ms" | "" => Some(1),
        "s" => Some(1000),
        "min" | "m" => Some(60 * 1000),
        "h" => Some(60 * 60 * 1000),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    let milliseconds = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    match milliseconds.filter(|milliseconds| (1..=DAY).contains(milliseconds)) {
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
        None => Err("must be a duration from 1ms to 24h: a whole number with the unit ms, s, min \
                     or h (without a unit: ms)"
            .into()),
    }
}

/// Parses a duration that may be zero.
pub(crate) fn delay(text: &OsStr) -> Result<Duration, Invalid> {
    let is_zero = utf8(text)?.trim().trim_end_matches(char::is_alphabetic) == "0";
    if is_zero { Ok(Duration::ZERO) } else { duration(text) }
}

/// Parses a file's permissions, in octal.
pub(crate) fn file_mode(text: &OsStr) -> Result<u32, Invalid> {
    let mode = u32::from_str_radix(utf8(text)?.trim(), 8).ok();
    let mode = mode.filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "must be permissions in octal, from 0 to 0777".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed<T: Clone>(
        parse: impl Fn(&OsStr) -> Result<T, Invalid>,
        value: &str,
    ) -> Result<T, String> {
        OptionValue::parse(value.into(), "--option", parse).get()
    }

    #[test]
    fn switches_and_numbers_are_read_as_the_components_own_are() {
        for (text, expected) in [("OFF", false), (" No ", false), ("True\n", true), ("ON", true)] {
            assert_eq!(parsed(switch, text), Ok(expected), "{text:?}");
        }
        let error = "--option cannot be \"perhaps\": must be true or false";
        assert_eq!(parsed(switch, "perhaps"), Err(error.to_owned()));
        assert_eq!(parsed(number(1..=9), " 7\n"), Ok(7));
        for (text, rule) in [("ten", "must be a whole number"), ("10", "must be from 1 to 9")] {
            let error = format!("--option cannot be {text:?}: {rule}");
            assert_eq!(parsed(number(1..=9), text), Err(error));
        }
    }

    #[test]
    fn durations_have_a_unit_and_are_a_day_at_most() {
        for (text, milliseconds) in [
            ("1", 1),
            ("20ms", 20),
            (" 3 s ", 3_000),
            ("2min", 120_000),
            ("24h", 86_400_000),
            ("86400s", 86_400_000),
        ] {
            assert_eq!(parsed(duration, text), Ok(Duration::from_millis(milliseconds)), "{text}");
            assert_eq!(parsed(delay, text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "0", "0s", "-1s", "1.5s", "86401s", "25h", "soon", "99999999999999999999h"]
        {
            let error = parsed(duration, text).unwrap_err();
            assert!(error.contains("must be a duration from 1ms to 24h"), "{error}");
        }
        for text in ["0", "0ms", "0s", "0h"] {
            assert_eq!(parsed(delay, text), Ok(Duration::ZERO), "{text}");
        }
        for text in ["-1s", "soon", ""] {
            assert!(parsed(delay, text).is_err(), "{text}");
        }
    }

    #[test]
    fn debug_of_a_value_shows_its_origin_and_not_the_value() {
        let key = OptionValue::parse("secret-key".into(), "STATSIG_API_KEY", text);
        assert_eq!(format!("{key:?}"), "STATSIG_API_KEY");
    }

    #[cfg(unix)]
    #[test]
    fn text_that_is_not_utf8_is_refused_without_being_shown() {
        use std::os::unix::ffi::OsStringExt;

        let value = OsString::from_vec(b"secret-\xff".to_vec());
        let key = OptionValue::parse(value.clone(), "STATSIG_API_KEY", text);
        assert_eq!(key.get(), Err("STATSIG_API_KEY must be UTF-8".to_owned()));
        assert_eq!(OptionValue::parse(value.clone(), "--rules", path).get(), Ok(value.into()));
    }
}
