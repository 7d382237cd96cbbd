//! The live page: one document with its style and script, and the figures that it requests once a
//! second.

mod activity;
mod history;
mod recent_errors;
mod wait_times;

use std::time::{Duration, Instant};

use actix_statsig::{Config, Statsig};
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_RESOURCE_POLICY, ContentType,
        REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
    rt::{self, time::sleep},
    web::{Bytes, Data},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::digest::{SHA256, digest};
use serde_json::json;

pub(crate) use self::activity::Activity;
use self::history::{PERIOD, Sample};
use crate::machine::clock::{now, since_1970};

const STYLE: &str = include_str!("style.css");
/// One script, in the order in which its parts run.
const SCRIPT: &str = concat!(
    include_str!("script/figures.js"),
    include_str!("script/asking.js"),
    include_str!("script/words.js"),
    include_str!("script/document.js"),
    include_str!("script/charts.js"),
    include_str!("script/controls.js"),
);

/// The page, and the data that it shows besides the component's statistics.
pub(crate) struct Page {
    document: Bytes,
    policy: String,
    activity: Activity,
    upstream: String,
    max_in_flight: usize,
    has_breaker: bool,
    started: Instant,
    /// When the process started, in milliseconds since 1970. It distinguishes this process from an
    /// earlier one.
    run: u64,
}

impl Page {
    /// `upstream` is the API's display name.
    pub(crate) fn new(upstream: String, config: &Config, activity: Activity) -> Self {
        Self {
            document: document().into(),
            policy: policy(),
            activity,
            upstream,
            max_in_flight: config.max_in_flight(),
            has_breaker: config.circuit_breaker(),
            started: now(),
            run: since_1970(),
        }
    }

    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Samples the statistics every second, until the process ends.
    pub(crate) fn start_sampling(page: Data<Self>, statsig: Statsig) {
        rt::spawn(async move {
            loop {
                sleep(PERIOD).await;
                let refused = page.activity.refused_bodies().values().sum();
                let sample = Sample::new(page.uptime(now()), &statsig.stats(), refused);
                page.activity.history().push(sample);
            }
        });
    }

    fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}

/// `GET /`
pub(crate) async fn page(page: Data<Page>) -> HttpResponse {
    let mut response = private();
    response.insert_header((CONTENT_SECURITY_POLICY, page.policy.as_str()));
    response.content_type(ContentType::html()).body(page.document.clone())
}

/// `GET /watch`: figures for this version's page only. Other programs read `/stats`. With
/// `?history`, the last three minutes are added.
pub(crate) async fn watch(
    request: HttpRequest,
    statsig: Data<Statsig>,
    page: Data<Page>,
) -> HttpResponse {
    let now = now();
    let activity = &page.activity;
    let mut figures = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "run": page.run,
        "uptime_ms": u64::try_from(page.uptime(now).as_millis()).unwrap_or(u64::MAX),
        "upstream": page.upstream,
        "max_in_flight": page.max_in_flight,
        "has_breaker": page.has_breaker,
        "stats": statsig.stats(),
        "waits": activity.waits().percentiles(now),
        "refused_bodies": *activity.refused_bodies(),
        "recent_errors": activity.errors().at(now),
    });
    if request.query_string() == "history" {
        figures["history"] = json!(*activity.history());
    }
    private().json(figures)
}

/// A response that no cache keeps and no other site may use, and whose page sends no referrer.
fn private() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"));
    response
}

fn document() -> String {
    format!(include_str!("page.html"), style = STYLE, script = SCRIPT)
}

/// Returns a policy that lets the browser use only this script and style, and connect only to this
/// server.
fn policy() -> String {
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        source(SCRIPT),
        source(STYLE),
    )
}

/// Returns a text's hash, in the form that a policy uses for its sources.
fn source(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_allows_exactly_the_pages_script_and_style() {
        let (document, policy) = (document(), policy());
        for tag in ["script", "style"] {
            let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
            let (_, rest) = document.split_once(&open).unwrap();
            let (text, rest) = rest.split_once(&close).unwrap();
            assert!(!rest.contains(&open), "one {tag} alone");
            assert!(policy.contains(&format!("{tag}-src {};", source(text))), "{tag}: {policy}");
        }
    }

    #[test]
    fn csp_source_is_the_sha_256_in_base64() {
        let empty = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='";
        assert_eq!(source(""), empty);
    }
}
