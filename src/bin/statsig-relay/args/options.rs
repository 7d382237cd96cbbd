//! The options there are: the relay's own, and one for each setting of the component.

use std::ops::RangeInclusive;

use actix_statsig::Config;

/// An option: a flag and a variable that give the same thing.
#[derive(Clone, Debug)]
pub(crate) struct Opt {
    pub(crate) name: &'static str,
    pub(crate) about: About,
    /// What stands for its value in the help.
    pub(crate) value: &'static str,
    pub(crate) default: Option<String>,
    /// What a number of the relay's own may be; the component knows the bounds of its settings.
    pub(crate) bounds: Option<RangeInclusive<usize>>,
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

/// What actix-server takes.
pub(crate) const MOST_WORKERS: usize = 512;

/// An option of the relay's own.
struct Own {
    name: &'static str,
    about: About,
    value: &'static str,
    default: Option<&'static str>,
    /// Where it is a number: what it may be.
    bounds: Option<RangeInclusive<usize>>,
    meaning: &'static str,
}

const OWN: [Own; 17] = [
    Own {
        name: "listen",
        about: About::Serving,
        value: "ADDR",
        default: Some("127.0.0.1:8080"),
        bounds: None,
        meaning: "where to listen: ADDRESS:PORT (port 0 picks one), or unix:PATH for a Unix socket",
    },
    Own {
        name: "socket_mode",
        about: About::Serving,
        value: "MODE",
        default: Some("0600"),
        bounds: None,
        meaning: "permissions of the Unix socket, in octal",
    },
    Own {
        name: "workers",
        about: About::Serving,
        value: "NUMBER",
        default: None,
        bounds: Some(1..=MOST_WORKERS),
        meaning: "threads that serve; if it is not given, one for each core, but no more than \
                  connections",
    },
    Own {
        name: "max_connections",
        about: About::Serving,
        value: "NUMBER",
        default: Some("10000"),
        bounds: Some(1..=10_000_000),
        meaning: "open connections of the process; more wait until one is closed",
    },
    Own {
        name: "keep_alive",
        about: About::Serving,
        value: "DURATION",
        default: Some("120s"),
        bounds: None,
        meaning: "how long an idle connection is kept open",
    },
    Own {
        name: "client_timeout",
        about: About::Serving,
        value: "DURATION",
        default: Some("15s"),
        bounds: None,
        meaning: "longest a client takes to send a request, or to read an answer",
    },
    Own {
        name: "drain_delay",
        about: About::Serving,
        value: "DURATION",
        default: Some("0"),
        bounds: None,
        meaning: "how long it serves on after SIGTERM, not ready, before it drains: for load \
                  balancers that notice late",
    },
    Own {
        name: "max_body",
        about: About::Serving,
        value: "BYTES",
        default: Some("1048576"),
        bounds: Some(1..=1024 * 1024 * 1024),
        meaning: "largest body that is read",
    },
    Own {
        name: "max_incoming",
        about: About::Serving,
        value: "BYTES",
        default: Some("67108864"),
        bounds: Some(1..=64 * 1024 * 1024 * 1024),
        meaning: "bytes of all requests that are read and not answered, beyond 8 KiB each; and as \
                  many of answers that clients have not taken",
    },
    Own {
        name: "keys",
        about: About::Callers,
        value: "",
        default: None,
        bounds: None,
        meaning: "keys of callers who may ask, with commas between them",
    },
    Own {
        name: "keys_file",
        about: About::Callers,
        value: "FILE",
        default: None,
        bounds: None,
        meaning: "keys of callers who may ask, one a line; # begins a comment; read again when it \
                  changes, and on SIGHUP",
    },
    Own {
        name: "allow_anyone",
        about: About::Callers,
        value: "BOOL",
        default: Some("false"),
        bounds: None,
        meaning: "let anyone ask who can reach the relay, without a key",
    },
    Own {
        name: "trust_loopback",
        about: About::Callers,
        value: "on|off",
        default: Some("on"),
        bounds: None,
        meaning: "let callers on this machine ask without a key",
    },
    Own {
        name: "log",
        about: About::Logging,
        value: "FILTER",
        default: None,
        bounds: None,
        meaning: "a level, or levels by target: warn, or info,actix_statsig=debug; serving logs \
                  info",
    },
    Own {
        name: "log_format",
        about: About::Logging,
        value: "FORMAT",
        default: Some("text"),
        bounds: None,
        meaning: "how logs are written: text or json",
    },
    Own {
        name: "api_key_file",
        about: About::Asking,
        value: "FILE",
        default: None,
        bounds: None,
        meaning: "file with the server secret key, in place of STATSIG_API_KEY; read again when it \
                  changes, and on SIGHUP",
    },
    Own {
        name: "rules",
        about: About::Asking,
        value: "FILE",
        default: None,
        bounds: None,
        meaning: "rules for the stand-in for Statsig that answers without a key",
    },
];

impl Opt {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let defaults = Config::new("-").ok();
        let settings = Config::SETTINGS.iter().map(move |&(name, meaning)| Self {
            name,
            about: About::Asking,
            value: "VALUE",
            default: defaults.as_ref().and_then(|config| config.text(name)),
            bounds: None,
            meaning: meaning.to_owned(),
            is_own: false,
        });
        let own = OWN.into_iter().map(|own| Self {
            name: own.name,
            about: own.about,
            value: own.value,
            default: own.default.map(str::to_owned),
            bounds: own.bounds,
            meaning: own.meaning.to_owned(),
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
