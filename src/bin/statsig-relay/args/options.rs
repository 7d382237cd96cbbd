//! The options there are: the relay's own, and one for each setting of the component.

use actix_statsig::Config;

/// An option: a flag and a variable that give the same thing.
#[derive(Clone, Debug)]
pub(crate) struct Opt {
    pub(crate) name: &'static str,
    pub(crate) about: About,
    /// What stands for its value in the help.
    pub(crate) value: &'static str,
    pub(crate) default: Option<String>,
    pub(crate) meaning: String,
    is_own: bool,
}

/// What an option is about, which is where the help has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Serving,
    Callers,
    Logging,
    Asking,
}

/// A command line is there for every user of the machine to read: what is secret has no flag.
const SECRET: [&str; 2] = ["api_key", "keys"];

/// The variable by which many programs are told what to log.
pub(crate) const USUAL_LOG: &str = "RUST_LOG";

const OWN: [(&str, About, &str, Option<&str>, &str); 11] = [
    (
        "listen",
        About::Serving,
        "ADDR",
        Some("127.0.0.1:8080"),
        "where to listen: ADDRESS:PORT; port 0 picks one",
    ),
    (
        "workers",
        About::Serving,
        "NUMBER",
        None,
        "threads that serve (1 to 1024); one for each core, if it is not given",
    ),
    (
        "max_connections",
        About::Serving,
        "NUMBER",
        Some("10000"),
        "open connections, shared out evenly among the workers; more wait until one is closed",
    ),
    ("max_body", About::Serving, "BYTES", Some("1048576"), "largest body that is read"),
    ("keys", About::Callers, "", None, "keys of callers who may ask, with commas between them"),
    (
        "keys_file",
        About::Callers,
        "FILE",
        None,
        "keys of callers who may ask, one a line; # begins a comment",
    ),
    (
        "allow_anyone",
        About::Callers,
        "BOOL",
        Some("false"),
        "let anyone ask who can reach the relay, without a key",
    ),
    (
        "log",
        About::Logging,
        "FILTER",
        None,
        "a level, or levels by target: warn, or info,actix_statsig=debug; serving logs info",
    ),
    ("log_format", About::Logging, "FORMAT", Some("text"), "how logs are written: text or json"),
    (
        "api_key_file",
        About::Asking,
        "FILE",
        None,
        "file with the server secret key, in place of STATSIG_API_KEY",
    ),
    (
        "rules",
        About::Asking,
        "FILE",
        None,
        "rules for the stand-in for Statsig that answers where there is no key",
    ),
];

impl Opt {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let defaults = Config::new("-").ok();
        let settings = Config::SETTINGS.into_iter().map(move |(name, meaning)| Self {
            name,
            about: About::Asking,
            value: "VALUE",
            default: defaults.as_ref().and_then(|config| config.text(name)),
            meaning: meaning.to_owned(),
            is_own: false,
        });
        let own = OWN.into_iter().map(|(name, about, value, default, meaning)| Self {
            name,
            about,
            value,
            default: default.map(str::to_owned),
            meaning: meaning.to_owned(),
            is_own: true,
        });
        own.chain(settings)
    }

    pub(crate) fn flag(&self) -> Option<String> {
        let is_secret = SECRET.contains(&self.name);
        (!is_secret).then(|| match self.name {
            "base_url" => "upstream".to_owned(),
            name => name.replace('_', "-"),
        })
    }

    pub(crate) fn variable(&self) -> String {
        let prefix = if self.is_own { "STATSIG_RELAY" } else { "STATSIG" };
        format!("{prefix}_{}", self.name.to_ascii_uppercase())
    }

    /// The variables it is read from, the first one first.
    pub(crate) fn variables(&self) -> Vec<String> {
        let usual = (self.name == "log").then(|| USUAL_LOG.to_owned());
        [self.variable()].into_iter().chain(usual).collect()
    }

    /// What an error says where neither flag nor variable gave the value.
    pub(crate) fn title(&self) -> String {
        self.flag().map_or_else(|| self.variable(), |flag| format!("--{flag}"))
    }
}
