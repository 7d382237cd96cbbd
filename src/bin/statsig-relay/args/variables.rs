//! Finds variables that look like options of the relay but are not.

use std::ffi::{OsStr, OsString};

use super::options::{API_KEY, CALLER_KEYS};

/// Returns the variables that begin with `STATSIG_` but that this grammar does not know.
pub(super) fn unknown(
    command: &clap::Command,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<String> {
    let options: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_env).collect();
    let is_known =
        |name: &str| [API_KEY, CALLER_KEYS].contains(&name) || options.contains(&OsStr::new(name));
    let unknown = variables.into_iter().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let is_ours = name.starts_with("STATSIG_") && !is_service_link(&name, &value);
        (is_ours && !is_known(&name)).then_some(name)
    });
    let mut unknown: Vec<_> = unknown.collect();
    unknown.sort_unstable();
    unknown
}

/// Whether Kubernetes sets the variable for a service named like the relay:
/// `STATSIG_RELAY_SERVICE_HOST`, `STATSIG_RELAY_PORT_8080_TCP_ADDR`, and a port that is a URL.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let is_url = value.to_str().is_some_and(|value| value.contains("://"));
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || (name.ends_with("_PORT") && is_url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown_of(variables: &[(&str, &str)]) -> Vec<String> {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        unknown(&super::super::options::command(), variables)
    }

    #[test]
    fn unknown_variable_is_noticed() {
        let variables = [
            ("STATSIG_FLUSH_INTERVAL_MS", "5"),
            ("STATSIG_API_KEY", "secret-key"),
            ("STATSIG_RELAY_KEYS", "caller-one"),
            ("STATSIG_RELAY_LISTEN", "[::1]:1"),
            ("STATSIG_RELAY_LOG", "debug"),
            ("STATSIG_TIMEOUT", "1s"),
            ("RUST_LOG", "trace"),
            ("HOME", "/"),
        ];
        assert_eq!(unknown_of(&variables), ["STATSIG_FLUSH_INTERVAL_MS"]);
    }

    #[test]
    fn kubernetes_service_variables_are_ignored() {
        let variables = [
            ("STATSIG_RELAY_SERVICE_HOST", "10.0.0.1"),
            ("STATSIG_RELAY_SERVICE_PORT", "8080"),
            ("STATSIG_RELAY_SERVICE_PORT_HTTP", "8080"),
            ("STATSIG_RELAY_PORT", "tcp://10.0.0.1:8080"),
            ("STATSIG_RELAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("STATSIG_RELAY_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ];
        assert_eq!(unknown_of(&variables), [] as [String; 0]);

        let meant = [("STATSIG_RELAY_PORT", "9090"), ("STATSIG_SERVICE", "shop")];
        assert_eq!(unknown_of(&meant), ["STATSIG_RELAY_PORT", "STATSIG_SERVICE"]);
    }
}
