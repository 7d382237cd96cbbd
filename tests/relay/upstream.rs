//! The server that the program asks.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_rt::time::sleep;
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, http::StatusCode, web,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::program::KEY;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    Answer,
    AnswerAfter(Duration),
    /// Answers when it is released.
    Hold,
    Refuse(u16),
}

/// A server that speaks the API, and whose answers repeat the user they are about: an answer that
/// reaches somebody else shows.
pub(crate) struct Upstream {
    url: String,
    seen: Arc<Seen>,
    server: ServerHandle,
}

struct Seen {
    mood: Mood,
    calls: Mutex<Vec<Value>>,
    refused: Mutex<Vec<String>>,
    /// Closed when the calls that wait are released.
    gate: Semaphore,
    is_key_right: AtomicBool,
}

impl Upstream {
    pub(crate) fn start(mood: Mood) -> Self {
        let seen = Arc::new(Seen {
            mood,
            calls: Mutex::default(),
            refused: Mutex::default(),
            gate: Semaphore::new(0),
            is_key_right: AtomicBool::new(true),
        });
        let shared = web::Data::from(Arc::clone(&seen));
        let app = move || App::new().app_data(shared.clone()).default_service(web::to(answer));
        let server = HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(0);
        let server = server.bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Self { url, seen, server: handle }
    }

    pub(crate) fn options(&self, more: &[&str]) -> Vec<String> {
        let own = ["--upstream", &self.url];
        own.iter().chain(more).map(ToString::to_string).collect()
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen.calls.lock().unwrap().len()
    }

    pub(crate) fn last_logged_exposures(&self) -> bool {
        let calls = self.seen.calls.lock().unwrap();
        calls.last().unwrap()["statsigMetadata"]["exposureLoggingDisabled"] != true
    }

    /// Why calls were refused, if any broke the API's rules.
    pub(crate) fn refused(&self) -> Vec<String> {
        assert!(self.seen.is_key_right.load(SeqCst));
        self.seen.refused.lock().unwrap().clone()
    }

    pub(crate) fn release(&self) {
        self.seen.gate.close();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

async fn answer(request: HttpRequest, seen: web::Data<Seen>, body: web::Bytes) -> HttpResponse {
    let key = request.headers().get("statsig-api-key").and_then(|key| key.to_str().ok());
    seen.is_key_right.fetch_and(key == Some(KEY), SeqCst);
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    seen.calls.lock().unwrap().push(body.clone());
    match seen.mood {
        Mood::Answer => {}
        Mood::AnswerAfter(latency) => sleep(latency).await,
        Mood::Hold => drop(seen.gate.acquire().await),
        Mood::Refuse(status) => {
            return HttpResponse::build(StatusCode::from_u16(status).unwrap()).finish();
        }
    }
    match evaluate(request.path(), &body) {
        Ok(answer) => HttpResponse::Ok().json(answer),
        Err(rule) => {
            seen.refused.lock().unwrap().push(format!("{rule}: {body}"));
            HttpResponse::BadRequest().finish()
        }
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
