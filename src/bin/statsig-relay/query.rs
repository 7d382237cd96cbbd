//! The shell commands: each asks Statsig once, prints the answer on stdout, and reports it by its
//! exit code.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use actix_statsig::{Error, GateEvaluation, Statsig, User};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    MISUSE,
    args::{Args, Query},
    output,
    upstream::Upstream,
};

/// The exit code for a closed gate.
const CLOSED: u8 = 1;

/// The exit code if Statsig did not answer.
const UNANSWERED: u8 = 3;

/// An exit code, with a message for stderr on failure.
type CommandResult = Result<u8, (u8, String)>;

/// Prints `open` or `closed`. For several gates, prints one line for each, with the gate's name.
pub(crate) async fn check(args: &Args, query: &Query) -> CommandResult {
    let ask =
        async |statsig: Statsig, user| statsig.gate_evaluations(&user, query.names.clone()).await;
    let gates = ask_once(args, query, ask).await?;
    print(if query.json { by_name(&gates)? } else { open_or_closed(&gates) })?;
    let is_open = gates.iter().all(GateEvaluation::value);
    Ok(if is_open { 0 } else { CLOSED })
}

/// Prints the config's value.
pub(crate) async fn config(args: &Args, query: &Query) -> CommandResult {
    let ask = async |statsig: Statsig, user| statsig.get_configs(&user, query.names.clone()).await;
    for config in ask_once(args, query, ask).await? {
        print(if query.json { json(&config)? } else { config.json().get().to_owned() })?;
    }
    Ok(0)
}

fn print(answer: String) -> Result<(), (u8, String)> {
    output::print(answer).map_err(|error| (MISUSE, format!("stdout: {error}")))
}

async fn ask_once<T>(
    args: &Args,
    query: &Query,
    ask: impl AsyncFnOnce(Statsig, User) -> Result<T, Error>,
) -> Result<T, (u8, String)> {
    let misuse = |message| (MISUSE, message);
    output::log_to_stderr(&args.logging, output::COMMAND_FILTER).map_err(misuse)?;
    let user = read_user(&query.user).map_err(misuse)?;
    let mut notice = None;
    let announce = |line| notice = Some(line);
    let upstream = Upstream::choose(&args.statsig, announce).map_err(misuse)?;
    let config = upstream.config(&args.statsig, |_| {}).map_err(misuse)?;
    let explain = |error| misuse(args.statsig.settings.explain(error));
    let statsig = Statsig::start(config).map_err(explain)?;
    let answer = ask(statsig, user).await.map_err(|error| failure(args, &error))?;
    notice.into_iter().for_each(output::print_note);
    Ok(answer)
}

/// Returns the exit code and the message for an error.
fn failure(args: &Args, error: &Error) -> (u8, String) {
    match (error, args.statsig.api_key()) {
        (Error::Unauthorized { .. }, Some(key)) => (MISUSE, format!("{}: {error}", key.origin())),
        (Error::InvalidName { .. } | Error::InvalidUser { .. }, _) => (MISUSE, error.to_string()),
        _ => (UNANSWERED, error.to_string()),
    }
}

fn read_user(argument: &str) -> Result<User, String> {
    let mut piped = String::new();
    let text = if argument == "-" {
        io::stdin().read_to_string(&mut piped).map_err(|error| format!("--user: {error}"))?;
        &piped
    } else {
        argument
    };
    let user: &RawValue =
        serde_json::from_str(text).map_err(|error| format!("--user is not JSON: {error}"))?;
    User::try_from(user).map_err(|error| format!("--user: {error}"))
}

fn open_or_closed(gates: &[GateEvaluation]) -> String {
    let word = |gate: &GateEvaluation| if gate.value() { "open" } else { "closed" };
    match gates {
        [gate] => word(gate).to_owned(),
        gates => {
            let lines = gates.iter().map(|gate| format!("{} {}", gate.name(), word(gate)));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

/// Formats gates as the API does in its answer for several gates.
fn by_name(gates: &[GateEvaluation]) -> Result<String, (u8, String)> {
    json(&gates.iter().map(|gate| (gate.name(), gate)).collect::<BTreeMap<_, _>>())
}

fn json(value: &impl Serialize) -> Result<String, (u8, String)> {
    serde_json::to_string(value).map_err(|error| (UNANSWERED, error.to_string()))
}
