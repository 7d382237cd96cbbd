//! The server that takes Statsig's place for the program.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::served::Served;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    Answer,
    /// Answers with a config value of this many bytes, shared by all users or specific to each.
    Long {
        bytes: usize,
        is_shared: bool,
    },
    /// Holds the answer until [`Upstream::release`].
    Hold,
    Refuse(u16),
}

/// A server that speaks the API. Each answer repeats its user, so that an answer to the wrong user
/// is noticed.
pub(crate) struct Upstream {
    pub(crate) url: String,
    seen: Arc<Seen>,
    _server: Served,
}

struct Seen {
    mood: Mood,
    calls: Mutex<Vec<Value>>,
    /// Closed to release the calls that wait.
    gate: Semaphore,
}

impl Upstream {
    pub(crate) fn start(mood: Mood) -> Self {
        let seen = Arc::new(Seen { mood, calls: Mutex::default(), gate: Semaphore::new(0) });
        let server = Served::start(&seen, answer);
        Self { url: server.url.clone(), seen, _server: server }
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen.calls.lock().unwrap().len()
    }

    pub(crate) fn last_logged_exposures(&self) -> bool {
        let calls = self.seen.calls.lock().unwrap();
        calls.last().unwrap()["statsigMetadata"]["exposureLoggingDisabled"] != true
    }

    pub(crate) fn release(&self) {
        self.seen.gate.close();
    }
}

async fn answer(request: HttpRequest, seen: web::Data<Seen>, body: web::Bytes) -> HttpResponse {
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    seen.calls.lock().unwrap().push(body.clone());
    match seen.mood {
        Mood::Answer => {}
        Mood::Long { bytes, is_shared } => {
            let whose = if is_shared { "" } else { &*body["user"].to_string() };
            let items = r#"{"n":7,"on":true},"#.repeat(bytes / r#"{"n":7,"on":true},"#.len());
            let (name, whose) = (&body["configName"], Value::from(whose));
            let value = format!(r#"{{"whose":{whose},"items":[{items}null]}}"#);
            return HttpResponse::Ok()
                .content_type("application/json")
                .body(format!(r#"{{"name":{name},"value":{value}}}"#));
        }
        Mood::Hold => drop(seen.gate.acquire().await),
        Mood::Refuse(status) => {
            let mut refusal = HttpResponse::build(StatusCode::from_u16(status).unwrap());
            return refusal.json(json!({"error": "refused"}));
        }
    }
    match evaluate(request.path(), &body) {
        Ok(answer) => HttpResponse::Ok().json(answer),
        Err(rule) => HttpResponse::BadRequest().body(rule),
    }
}

fn evaluate(path: &str, body: &Value) -> Result<Value, &'static str> {
    let user = body["user"].to_string();
    let gate =
        |name: &Value| json!({"name": name, "value": true, "rule_id": user, "group_name": "gate"});
    match (path, &body["gateName"], &body["gateNames"], &body["configName"]) {
        ("/v1/check_gate", name @ Value::String(_), Value::Null, _) => Ok(gate(name)),
        ("/v1/check_gate", Value::Null, Value::Array(names), _) => {
            let text = |name: &Value| name.as_str().unwrap_or_default().to_owned();
            let gates: HashMap<_, _> = names.iter().map(|name| (text(name), gate(name))).collect();
            let right = (1..=100).contains(&names.len()) && gates.len() == names.len();
            if right { Ok(json!(gates)) } else { Err("1 to 100 distinct names") }
        }
        ("/v1/get_config", _, _, name @ Value::String(_)) => Ok(json!({
            "name": name, "value": {"for": user}, "group": user, "rule_id": user,
            "group_name": "config"
        })),
        _ => Err("an operation with its name"),
    }
}
