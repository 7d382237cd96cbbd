//! Environment variables that look like settings but are not, such as misspelt ones. Pure.

use std::ffi::{OsStr, OsString};

use super::{Config, PREFIX, variable_of};

/// Returns a line for each unknown variable, with the nearest setting's variable if one is near. No
/// line shows a value, because a value may be a secret.
pub(super) fn warnings(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<String> {
    let mut lines: Vec<_> = variables
        .into_iter()
        .filter(|(name, value)| !is_service_link(name, value))
        .filter_map(|(name, _)| warning(&name.to_string_lossy()))
        .collect();
    lines.sort_unstable();
    lines
}

fn warning(variable: &str) -> Option<String> {
    let name = variable.strip_prefix(PREFIX)?;
    let mut settings = Config::SETTINGS.iter().map(|(setting, _)| variable_of(setting));
    // The relay reads variables of its own, and warns about them itself.
    if name.starts_with("RELAY_") || settings.any(|setting| setting == variable) {
        return None;
    }
    let hint = nearest(name).map(|setting| format!("; did you mean {}?", variable_of(setting)));
    let variable = variable.escape_debug();
    Some(format!("{variable} is set, but there is no such setting{}", hint.unwrap_or_default()))
}

/// Returns whether Kubernetes sets the variable for a service that is named `statsig` or
/// `statsig-…`: `STATSIG_SERVICE_HOST`, `STATSIG_PORT_80_TCP_ADDR`, or a port that is a URL.
fn is_service_link(name: &OsStr, value: &OsStr) -> bool {
    let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
}

/// Returns the setting whose name is the fewest edits away, if at most a third of the letters differ.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let settings = Config::SETTINGS.iter().map(|&(setting, _)| (edits(&name, setting), setting));
    let (edits, setting) = settings.min()?;
    (edits <= name.len().max(setting.len()) / 3).then_some(setting)
}

/// Returns the number of bytes to insert, remove or replace (the Levenshtein distance).
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(variables: &[(&str, &str)]) -> Vec<String> {
        warnings(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn unknown_variable_is_named_with_the_nearest_setting() {
        for (name, hint) in [
            ("APIKEY", "; did you mean STATSIG_API_KEY?"),
            ("FLUSH_INTERVAL_MS", "; did you mean STATSIG_FLUSH_INTERVAL?"),
            ("MAX_BATCH_SIZE", "; did you mean STATSIG_BATCH_SIZE?"),
            ("TIMOUT", "; did you mean STATSIG_TIMEOUT?"),
            ("timeout", "; did you mean STATSIG_TIMEOUT?"),
            ("CONSOLE_URL", ""),
            ("", ""),
            ("É\n", ""),
        ] {
            let variable = format!("STATSIG_{name}");
            let shown = variable.replace('\n', "\\n");
            let line = format!("{shown} is set, but there is no such setting{hint}");
            assert_eq!(lines(&[(&variable, "hunter2")]), [line]);
        }
    }

    #[test]
    fn known_and_foreign_variables_cause_no_warning() {
        let settings: Vec<_> =
            Config::SETTINGS.iter().map(|(setting, _)| variable_of(setting)).collect();
        let settings: Vec<_> = settings.iter().map(|variable| (&**variable, "1")).collect();
        assert_eq!(lines(&settings), [""; 0]);
        assert_eq!(
            lines(&[
                ("STATSIG_RELAY_LISTEN", "127.0.0.1:1"),
                ("STATSIG_SERVICE_HOST", "10.0.0.1"),
                ("STATSIG_PORT", "tcp://10.0.0.1:80"),
                ("STATSIG_PORT_80_TCP_ADDR", "10.0.0.1"),
                ("HOME", "/"),
            ]),
            [""; 0]
        );
    }

    #[test]
    fn edits_are_counted() {
        for (from, to, count) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(edits(from, to), count, "{from} {to}");
        }
    }
}
