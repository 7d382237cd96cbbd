//! The commands for the shell: they ask once, print the answer, and say it with the exit code too.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use actix_statsig::{Error, GateEvaluation, Statsig, User};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    MISUSE,
    args::{Args, Asked},
    output,
    upstream::Upstream,
};

/// The exit code for a closed gate.
const CLOSED: u8 = 1;

/// The exit code for when Statsig did not answer.
const UNANSWERED: u8 = 3;

/// The exit code, with a line where something went wrong.
type Ended = Result<u8, (u8, String)>;

/// Prints `open` or `closed`; of several gates, each on a line with its name.
pub(crate) async fn check(args: &Args, asked: &Asked) -> Ended {
    let ask =
        async |statsig: Statsig, user| statsig.gate_evaluations(&user, asked.names.clone()).await;
    let gates = answer(args, asked, ask).await?;
    print(if asked.json { by_name(&gates)? } else { in_words(&gates) })?;
    let is_open = gates.iter().all(GateEvaluation::value);
    Ok(if is_open { 0 } else { CLOSED })
}

/// Prints the config's value.
pub(crate) async fn config(args: &Args, asked: &Asked) -> Ended {
    let ask = async |statsig: Statsig, user| statsig.get_configs(&user, asked.names.clone()).await;
    for config in answer(args, asked, ask).await? {
        print(if asked.json { json(&config)? } else { config.json().get().to_owned() })?;
    }
    Ok(0)
}

fn print(answer: String) -> Result<(), (u8, String)> {
    output::print(answer).map_err(|error| (MISUSE, format!("stdout: {error}")))
}

async fn answer<T>(
    args: &Args,
    asked: &Asked,
    ask: impl AsyncFnOnce(Statsig, User) -> Result<T, Error>,
) -> Result<T, (u8, String)> {
    let misuse = |message| (MISUSE, message);
    output::log_to_stderr(args, output::USUAL_FOR_A_COMMAND).map_err(misuse)?;
    let user = user(&asked.user).map_err(misuse)?;
    let mut note = None;
    let upstream = Upstream::choose(args, |line| note = Some(line)).map_err(misuse)?;
    let config = upstream.config(args, |_| {}).map_err(misuse)?;
    let statsig = Statsig::start(config).map_err(|error| misuse(args.blame(error)))?;
    let answer = ask(statsig, user).await.map_err(|error| blame(args, &error))?;
    note.into_iter().for_each(output::mention);
    Ok(answer)
}

/// Whose fault it is, as an exit code, and in words.
fn blame(args: &Args, error: &Error) -> (u8, String) {
    match (error, args.given("api_key")) {
        (Error::Unauthorized { .. }, Some(key)) => (MISUSE, format!("{}: {error}", key.by)),
        (Error::InvalidName { .. } | Error::InvalidUser { .. }, _) => (MISUSE, error.to_string()),
        _ => (UNANSWERED, error.to_string()),
    }
}

fn user(given: &str) -> Result<User, String> {
    let mut piped = String::new();
    let text = if given == "-" {
        io::stdin().read_to_string(&mut piped).map_err(|error| format!("--user: {error}"))?;
        &piped
    } else {
        given
    };
    let user: &RawValue =
        serde_json::from_str(text).map_err(|error| format!("--user is not JSON: {error}"))?;
    User::try_from(user).map_err(|error| format!("--user: {error}"))
}

fn in_words(gates: &[GateEvaluation]) -> String {
    let word = |gate: &GateEvaluation| if gate.value() { "open" } else { "closed" };
    match gates {
        [gate] => word(gate).to_owned(),
        gates => {
            let lines = gates.iter().map(|gate| format!("{} {}", gate.name(), word(gate)));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

/// As the API answers for several gates.
fn by_name(gates: &[GateEvaluation]) -> Result<String, (u8, String)> {
    json(&gates.iter().map(|gate| (gate.name(), gate)).collect::<BTreeMap<_, _>>())
}

fn json(value: &impl Serialize) -> Result<String, (u8, String)> {
    serde_json::to_string(value).map_err(|error| (UNANSWERED, error.to_string()))
}
