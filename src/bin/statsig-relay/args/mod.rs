//! What the relay was started with: the command line, and the environment where it says nothing.

mod command;
mod options;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    path::Path,
    time::Duration,
};

use actix_statsig::{Config, Error};
use clap::ArgMatches;

pub(crate) use self::options::MOST_WORKERS;
use self::options::{Opt, USUAL_LOG};

/// In milliseconds.
const A_DAY: u64 = 24 * 60 * 60 * 1000;

/// What the relay was started with.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) task: Task,
    /// Variables that look like options and are none.
    pub(crate) unknown: Vec<String>,
    options: BTreeMap<&'static str, (Opt, Option<Given>)>,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Task {
    Serve,
    Check(Asked),
    Config(Asked),
}

/// What a command asks.
#[derive(Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) names: Vec<String>,
    /// As it was given.
    pub(crate) user: String,
    /// Whether to print the whole answer.
    pub(crate) json: bool,
}

/// An option's value, and the flag or variable it came from. Its `Debug` shows no value: one of them
/// is the key.
#[derive(Clone)]
pub(crate) struct Given {
    value: OsString,
    pub(crate) by: String,
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.by)
    }
}

impl Given {
    pub(crate) fn path(&self) -> &Path {
        Path::new(&self.value)
    }

    pub(crate) fn text(&self) -> Result<&str, String> {
        self.value.to_str().ok_or_else(|| format!("{} must be UTF-8", self.by))
    }

    /// What the file has whose name was given.
    pub(crate) fn read_file(&self) -> Result<String, String> {
        fs::read_to_string(self.path()).map_err(|error| self.cannot_be(&error.to_string()))
    }

    /// Says that it breaks a rule, and shows it: not for what is secret.
    pub(crate) fn cannot_be(&self, rule: &str) -> String {
        format!("{} cannot be {:?}: {rule}", self.by, self.value)
    }
}

impl Args {
    /// Reads the command line, and the environment for what it does not give.
    ///
    /// Ends the process where `--help` or `--version` is asked for.
    pub(crate) fn parse(
        line: impl IntoIterator<Item = OsString>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, String> {
        let mut matches = command::command().try_get_matches_from(line).map_err(|error| {
            if error.use_stderr() { first_paragraph(&error.to_string()) } else { error.exit() }
        })?;
        let (task, mut matches) = match matches.remove_subcommand() {
            None => (Task::Serve, matches),
            Some((name, mut matches)) => (asked(&name, &mut matches), matches),
        };
        let mut environment = Environment::of(variables);
        let options = Opt::all().map(|opt| {
            let given = flag(&opt, &mut matches);
            // Taken in any case: what stays is nobody's.
            let variable = environment.take(&opt);
            (opt.name, (opt, given.or(variable)))
        });
        let mut args = Self { task, options: options.collect(), unknown: Vec::new() };
        args.unknown = environment.0.into_keys().collect();
        args.read_key_file()?;
        Ok(args)
    }

    /// What gave this option, if something did.
    pub(crate) fn given(&self, option: &str) -> Option<&Given> {
        self.options.get(option)?.1.as_ref()
    }

    /// What gave this option; its default, if nothing did.
    pub(crate) fn given_or_default(&self, option: &str) -> Option<Given> {
        let (opt, given) = self.options.get(option)?;
        let default = || Some(Given { value: opt.default.as_ref()?.into(), by: opt.title() });
        given.clone().or_else(default)
    }

    /// A number within its bounds.
    pub(crate) fn number(&self, option: &str) -> Result<Option<usize>, String> {
        let Some(given) = self.given_or_default(option) else { return Ok(None) };
        let number = given.text()?.trim().parse();
        let number = number.map_err(|_| given.cannot_be("must be a whole number"))?;
        match self.options.get(option).and_then(|(opt, _)| opt.bounds.as_ref()) {
            Some(bounds) if !bounds.contains(&number) => {
                let rule = format!("must be from {} to {}", bounds.start(), bounds.end());
                Err(given.cannot_be(&rule))
            }
            _ => Ok(Some(number)),
        }
    }

    /// How long something takes, in whole milliseconds: at least one, at most a day.
    pub(crate) fn duration(&self, option: &str) -> Result<Duration, String> {
        let given = self.given_or_default(option).ok_or("no such option")?;
        let text = given.text()?.trim();
        let (number, unit) =
            text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let unit = match unit.trim() {
            "ms" | "" => Some(1),
            "s" => Some(1000),
            _ => None,
        };
        let number = number.parse::<u64>().ok();
        let milliseconds = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
        match milliseconds.filter(|ms| (1..=A_DAY).contains(ms)) {
            Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
            None => Err(given.cannot_be(
                "must be whole milliseconds, or a number with `ms` or `s`, from 1ms to 86400s",
            )),
        }
    }

    /// The same, or no time at all.
    pub(crate) fn delay(&self, option: &str) -> Result<Duration, String> {
        match self.given_or_default(option).ok_or("no such option")?.text()?.trim() {
            "0" | "0ms" | "0s" => Ok(Duration::ZERO),
            _ => self.duration(option),
        }
    }

    /// Permissions of a file, in octal.
    pub(crate) fn mode(&self, option: &str) -> Result<u32, String> {
        let given = self.given_or_default(option).ok_or("no such option")?;
        let mode = u32::from_str_radix(given.text()?.trim(), 8).ok();
        let mode = mode.filter(|mode| *mode <= 0o777);
        mode.ok_or_else(|| given.cannot_be("must be permissions in octal, from 0 to 0777"))
    }

    /// Yes or no, in the words that the component's settings know.
    pub(crate) fn is_on(&self, option: &str) -> Result<bool, String> {
        let Some(given) = self.given_or_default(option) else { return Ok(false) };
        match given.text()?.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" => Ok(true),
            "false" | "0" | "off" | "no" => Ok(false),
            _ => Err(given.cannot_be("must be true or false")),
        }
    }

    /// The component's configuration: these settings over what is given, over the defaults.
    /// Errors are told to this hook.
    pub(crate) fn config(
        &self,
        over: &[(&str, &str)],
        on_error: impl Fn(&Error) + Send + Sync + 'static,
    ) -> Result<Config, String> {
        let mut builder = Config::builder("");
        for &(setting, _) in Config::SETTINGS {
            if let Some(given) = self.given(setting) {
                builder = builder.set(setting, given.text()?).map_err(|error| self.blame(error))?;
            }
        }
        for (setting, text) in over {
            builder = builder.set(setting, text).map_err(|error| self.blame(error))?;
        }
        builder.on_error(on_error).build().map_err(|error| self.blame(error))
    }

    /// Says it with the flag's or variable's name, which is what there is to mend.
    pub(crate) fn blame(&self, error: Error) -> String {
        match error {
            Error::InvalidConfig { setting, value, rule, .. } => {
                self.blame_setting(setting, &value, &rule)
            }
            other => other.to_string(),
        }
    }

    /// A rule may have another setting in it, `in such marks`: where nobody gave this one, that one
    /// is to be mended.
    fn blame_setting(&self, setting: &str, value: &str, rule: &str) -> String {
        let name = self.name_of(setting);
        let Some((other, (before, after))) = marked(rule) else {
            return format!("{name} cannot be {value}: {rule}");
        };
        let other_name = self.name_of(other);
        let rule = format!("{before}{other_name}{after}");
        match (self.given(setting), self.given(other)) {
            (None, Some(_)) => format!("{other_name} does not fit: {name} is {value}, and {rule}"),
            _ => format!("{name} cannot be {value}: {rule}"),
        }
    }

    /// What gave this option, or would.
    pub(crate) fn name_of(&self, option: &str) -> String {
        match self.options.get(option) {
            Some((_, Some(given))) => given.by.clone(),
            Some((opt, None)) => opt.title(),
            None => option.to_owned(),
        }
    }

    /// A file with the key is another way to give the key.
    fn read_key_file(&mut self) -> Result<(), String> {
        let Some(file) = self.given("api_key_file").cloned() else { return Ok(()) };
        if let Some(key) = self.given("api_key") {
            return Err(format!("{} and {} both give the key: leave one out", key.by, file.by));
        }
        let key = file.read_file()?.trim_end().into();
        if let Some((_, given)) = self.options.get_mut("api_key") {
            *given = Some(Given { value: key, by: file.by });
        }
        Ok(())
    }
}

/// The variables that may be options, by name.
struct Environment(BTreeMap<String, OsString>);

impl Environment {
    fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let named = variables.into_iter().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let may_be_one = name.starts_with("STATSIG_") && !is_service_link(&name, &value);
            let says_what_to_log = name == USUAL_LOG && !value.is_empty();
            (may_be_one || says_what_to_log).then_some((name, value))
        });
        Self(named.collect())
    }

    /// Takes an option's variables; the first counts.
    fn take(&mut self, opt: &Opt) -> Option<Given> {
        let given = |by: String| Some(Given { value: self.0.remove(&by)?, by });
        let given: Vec<_> = opt.variables().into_iter().filter_map(given).collect();
        given.into_iter().next()
    }
}

/// Whether Kubernetes has set it, as it does for a service that is named like the relay:
/// `STATSIG_RELAY_SERVICE_HOST`, `STATSIG_RELAY_PORT_8080_TCP_ADDR`, and a port that is a URL.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let is_url = value.to_str().is_some_and(|value| value.contains("://"));
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || (name.ends_with("_PORT") && is_url)
}

fn flag(opt: &Opt, matches: &mut ArgMatches) -> Option<Given> {
    let value = matches.try_remove_one(opt.name).ok().flatten()?;
    Some(Given { value, by: opt.title() })
}

fn asked(command: &str, matches: &mut ArgMatches) -> Task {
    let asked = Asked {
        names: matches.remove_many("names").into_iter().flatten().collect(),
        user: matches.remove_one("user").unwrap_or_default(),
        json: matches.get_flag("json"),
    };
    if command == "check" { Task::Check(asked) } else { Task::Config(asked) }
}

/// The setting that a rule names, and the rule around it.
fn marked(rule: &str) -> Option<(&str, (&str, &str))> {
    let (before, rest) = rule.split_once('`')?;
    let (setting, after) = rest.split_once('`')?;
    Config::SETTINGS.iter().any(|(name, _)| *name == setting).then_some((setting, (before, after)))
}

/// clap says what is wrong first, and how to use the program below.
fn first_paragraph(error: &str) -> String {
    let lines = error.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let text = lines.collect::<Vec<_>>().join(" ");
    text.strip_prefix("error: ").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str], variables: &[(&str, &str)]) -> Result<Args, String> {
        let line = [&["statsig-relay"], line].concat();
        let variables = variables.iter().map(|(name, text)| (name.into(), text.into()));
        Args::parse(line.into_iter().map(OsString::from), variables)
    }

    fn config(line: &[&str], variables: &[(&str, &str)]) -> Result<Config, String> {
        parse(line, variables)?.config(&[("api_key", "secret-key")], |_| {})
    }

    #[test]
    fn each_option_that_is_no_secret_has_a_flag_whose_help_says_default_and_variable() {
        let help = command::command().render_long_help().to_string();
        for opt in Opt::all() {
            let flag = opt.flag().map(|flag| format!("--{flag} "));
            let flag =
                flag.map(|flag| if opt.value == "BOOL" { flag.replace(' ', "[=") } else { flag });
            assert!(flag.is_none_or(|flag| help.contains(&flag)), "{opt:?}: {help}");
            assert!(help.contains(&opt.variable()), "{opt:?}: {help}");
        }
        assert!(help.contains("[default: 5ms, env: STATSIG_FLUSH_INTERVAL]"), "{help}");
        assert!(!help.contains("--api-key ") && !help.contains("--keys "), "{help}");
        for heading in ["Serving:", "Who may ask:", "Logging:", "Asking Statsig:", "Environment:"] {
            assert!(help.contains(&format!("\n{heading}\n")), "{heading} {help}");
        }
    }

    #[test]
    fn the_commands_take_how_to_ask_and_not_how_to_serve() {
        let line = ["check", "beta", "new_checkout", "--user", "-", "--json", "--timeout", "1s"];
        let args = parse(&line, &[]).unwrap();
        let names = vec!["beta".to_owned(), "new_checkout".to_owned()];
        assert_eq!(args.task, Task::Check(Asked { names, user: "-".to_owned(), json: true }));
        assert_eq!(args.given("timeout").unwrap().by, "--timeout");

        for (line, message) in [
            (&["check", "beta", "--listen", "[::]:1"][..], "unexpected argument '--listen' found"),
            (
                &["--timeout", "1s", "check", "beta"],
                "the subcommand 'check' cannot be used with '--timeout <VALUE>'",
            ),
            (
                &["check", "beta"],
                "the following required arguments were not provided: --user <JSON>",
            ),
            (&["chekc"], "unrecognized subcommand 'chekc'"),
        ] {
            assert_eq!(parse(line, &[]).unwrap_err(), message);
        }
    }

    #[test]
    fn a_variable_that_is_no_option_is_noticed() {
        let variables = [
            ("STATSIG_FLUSH_INTERVAL_MS", "5"),
            ("STATSIG_API_KEY", "secret-key"),
            ("STATSIG_RELAY_KEYS", "caller-one"),
            ("STATSIG_RELAY_LISTEN", "[::1]:1"),
            ("STATSIG_RELAY_LOG", "debug"),
            ("RUST_LOG", "trace"),
            ("HOME", "/"),
        ];
        let args = parse(&["--listen", "[::1]:2"], &variables).unwrap();
        assert_eq!(args.unknown, ["STATSIG_FLUSH_INTERVAL_MS"]);
        assert_eq!(args.given("log").unwrap().by, "STATSIG_RELAY_LOG");
        assert!(!format!("{args:?}").contains("secret-key"), "{args:?}");
    }

    #[test]
    fn a_switch_may_stand_alone_or_have_a_value_as_its_variable_has() {
        let is_on = |line: &[_], variables: &[_]| parse(line, variables)?.is_on("allow_anyone");
        assert_eq!(is_on(&[], &[]), Ok(false));
        assert_eq!(is_on(&["--allow-anyone"], &[]), Ok(true));
        assert_eq!(is_on(&[], &[("STATSIG_RELAY_ALLOW_ANYONE", "on")]), Ok(true));
        let variable = [("STATSIG_RELAY_ALLOW_ANYONE", "perhaps")];
        assert_eq!(is_on(&["--allow-anyone=no"], &variable), Ok(false));
        let refusal = "STATSIG_RELAY_ALLOW_ANYONE cannot be \"perhaps\": must be true or false";
        assert_eq!(is_on(&[], &variable), Err(refusal.to_owned()));
    }

    #[test]
    fn switches_and_numbers_are_read_as_the_components_own_are() {
        for (text, wanted) in [("OFF", false), (" No ", false), ("True\n", true), ("ON", true)] {
            let variable = [("STATSIG_RELAY_TRUST_LOOPBACK", text)];
            assert_eq!(parse(&[], &variable).unwrap().is_on("trust_loopback"), Ok(wanted));
        }
        let args = parse(&["--trust-loopback", "off"], &[]).unwrap();
        assert_eq!(args.is_on("trust_loopback"), Ok(false));
        let args = parse(&[], &[("STATSIG_RELAY_WORKERS", " 7\n")]).unwrap();
        assert_eq!(args.number("workers"), Ok(Some(7)));
    }

    #[test]
    fn the_help_has_the_bounds_of_a_number_that_are_kept() {
        let help = command::command().render_long_help().to_string();
        for (flag, most) in [("workers", 512), ("max-connections", 10_000_000)] {
            let text = help.split(&format!("--{flag} ")).nth(1).unwrap();
            assert!(text.split(']').next().unwrap().contains(&format!("[1 to {most}")), "{text}");
            let number = |number: usize| {
                let args = parse(&[&format!("--{flag}"), &number.to_string()], &[]);
                args.unwrap().number(&flag.replace('-', "_"))
            };
            assert_eq!(number(most), Ok(Some(most)));
            assert!(number(most + 1).unwrap_err().contains(&format!("from 1 to {most}")));
        }
    }

    #[test]
    fn what_kubernetes_says_of_a_service_named_like_the_relay_is_no_setting() {
        let variables = [
            ("STATSIG_RELAY_SERVICE_HOST", "10.0.0.1"),
            ("STATSIG_RELAY_SERVICE_PORT", "8080"),
            ("STATSIG_RELAY_SERVICE_PORT_HTTP", "8080"),
            ("STATSIG_RELAY_PORT", "tcp://10.0.0.1:8080"),
            ("STATSIG_RELAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("STATSIG_RELAY_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ];
        assert_eq!(parse(&[], &variables).unwrap().unknown, [] as [String; 0]);

        let meant = [("STATSIG_RELAY_PORT", "9090"), ("STATSIG_SERVICE", "shop")];
        assert_eq!(parse(&[], &meant).unwrap().unknown, ["STATSIG_RELAY_PORT", "STATSIG_SERVICE"]);
    }

    #[test]
    fn an_empty_rust_log_says_nothing() {
        assert!(parse(&[], &[("RUST_LOG", "")]).unwrap().given("log").is_none());
        assert!(parse(&[], &[("RUST_LOG", "warn")]).unwrap().given("log").is_some());
    }

    #[test]
    fn a_flag_wins_over_its_variable_and_a_variable_over_the_default() {
        let variables = [("STATSIG_BATCH_SIZE", "7"), ("STATSIG_MAX_PENDING", "8")];

        let config = config(&["--batch-size", "9"], &variables).unwrap();

        assert_eq!((config.batch_size(), config.max_pending()), (9, 8));
        assert_eq!(config.retry_attempts(), 3);
    }

    #[test]
    fn a_refusal_is_one_line_that_names_the_flag_or_the_variable() {
        for (line, variables, message) in [
            (
                &["--batch-size", "0"][..],
                &[][..],
                "--batch-size cannot be 0: must be from 1 to 100",
            ),
            (&["--batch-size", "-1"], &[], "--batch-size cannot be \"-1\": must be a whole number"),
            (
                &[],
                &[("STATSIG_BATCH_SIZE", "ten")],
                "STATSIG_BATCH_SIZE cannot be \"ten\": must be a whole number",
            ),
            (
                &["--upstream", "ftp://a"],
                &[],
                "--upstream cannot be \"ftp://a\": must begin with https:// or http://",
            ),
            (
                &["--timeout", "4ms"],
                &[],
                "--timeout does not fit: --flush-interval is 5ms, and must be less than --timeout, 4ms",
            ),
            (
                &[],
                &[("STATSIG_TIMEOUT", "4ms")],
                "STATSIG_TIMEOUT does not fit: --flush-interval is 5ms, and must be less than \
                 STATSIG_TIMEOUT, 4ms",
            ),
            (
                &[],
                &[("STATSIG_FLUSH_INTERVAL", "3s")],
                "STATSIG_FLUSH_INTERVAL cannot be 3s: must be less than --timeout, 3s",
            ),
            (
                &["--timeout", "1s"],
                &[("STATSIG_FLUSH_INTERVAL", "3s")],
                "STATSIG_FLUSH_INTERVAL cannot be 3s: must be less than --timeout, 1s",
            ),
            (
                &["--transports", "9"],
                &[("STATSIG_MAX_IN_FLIGHT", "8")],
                "--transports cannot be 9: must be at most STATSIG_MAX_IN_FLIGHT, 8",
            ),
            (&["--api-key=hunter2"], &[], "unexpected argument '--api-key' found"),
        ] {
            assert_eq!(config(line, variables).unwrap_err(), message);
        }
    }
}
