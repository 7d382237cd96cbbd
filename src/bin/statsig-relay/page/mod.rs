//! The page to watch: one document with its style and script inside, and the figures that it asks
//! for once a second.

mod recent_errors;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use actix_statsig::{Config, Error, Statsig};
use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_RESOURCE_POLICY, ContentType,
        REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
    web::{Bytes, Data},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::digest::{SHA256, digest};
use serde_json::json;

use self::recent_errors::RecentErrors;
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

/// The page, and what it shows besides the component's own figures.
pub(crate) struct Page {
    document: Bytes,
    policy: String,
    errors: ErrorLog,
    upstream: String,
    max_in_flight: usize,
    has_breaker: bool,
    started: Instant,
    /// When the process started, in milliseconds since 1970: what tells it from the one before.
    run: u64,
}

/// The last errors. The component's hook thread writes them, and the server reads them.
#[derive(Clone, Default)]
pub(crate) struct ErrorLog(Arc<Mutex<RecentErrors>>);

impl ErrorLog {
    /// Returns the component's hook for errors.
    pub(crate) fn hook(&self) -> impl Fn(&Error) + Send + Sync + 'static {
        let errors = Arc::clone(&self.0);
        move |error| errors.lock().unwrap_or_else(PoisonError::into_inner).record(error, now())
    }
}

impl Page {
    /// `upstream` says, for people, who is asked.
    pub(crate) fn new(upstream: String, config: &Config, errors: ErrorLog) -> Self {
        Self {
            document: document().into(),
            policy: policy(),
            errors,
            upstream,
            max_in_flight: config.max_in_flight(),
            has_breaker: config.circuit_breaker(),
            started: now(),
            run: since_1970(),
        }
    }
}

/// `GET /`
pub(crate) async fn page(page: Data<Page>) -> HttpResponse {
    let mut response = private();
    response.insert_header((CONTENT_SECURITY_POLICY, page.policy.as_str()));
    response.content_type(ContentType::html()).body(page.document.clone())
}

/// `GET /watch`: for the page of this version alone. What others read is `/stats`.
pub(crate) async fn watch(statsig: Data<Statsig>, page: Data<Page>) -> HttpResponse {
    let now = now();
    let uptime = now.saturating_duration_since(page.started);
    let errors = page.errors.0.lock().unwrap_or_else(PoisonError::into_inner);
    private().json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "run": page.run,
        "uptime_ms": u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
        "upstream": page.upstream,
        "max_in_flight": page.max_in_flight,
        "has_breaker": page.has_breaker,
        "stats": statsig.stats(),
        "recent_errors": errors.at(now),
    }))
}

/// A response that is kept nowhere, is for its own page alone, is what it says it is, and tells
/// nobody where it was read.
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

/// Lets the browser run this very script and style, ask this server, and nothing else.
fn policy() -> String {
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        source(SCRIPT),
        source(STYLE),
    )
}

/// Names a text by its hash, as a policy does.
fn source(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_allows_the_very_script_and_style_of_the_document() {
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
    fn a_source_is_the_text_s_sha_256_in_base64() {
        let empty = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='";
        assert_eq!(source(""), empty);
    }
}
