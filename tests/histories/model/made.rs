//! The calls that were made, and what became of them.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_statsig::CallRequest;

use super::{Lane, Model};
use crate::fate::Fault;

pub(super) struct CallMade {
    pub(super) lane: Lane,
    pub(super) names: Arc<[Arc<str>]>,
    pub(super) at: Instant,
    /// When the names were asked for: of a part of a call that was refused, and of a lost one that is
    /// sent again, when that was made.
    pub(super) since: Instant,
    pub(super) ends_at: Instant,
    pub(super) fault: Option<Fault>,
    /// The names it has an answer for.
    pub(super) answered: HashSet<Arc<str>>,
    pub(super) error: Option<&'static str>,
    /// Known at the first quiet moment after it.
    pub(super) doubt: Option<Doubt>,
}

/// How the component may have taken in the end of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    /// So much later at most.
    pub(super) later: Duration,
    /// Not at all: a panic came between.
    pub(super) missed: bool,
}

impl CallMade {
    pub(super) fn is_lost(&self) -> bool {
        self.fault == Some(Fault::Lose) || self.ends_transport()
    }

    /// Other calls may be lost with it, before they were seen.
    pub(super) fn ends_transport(&self) -> bool {
        matches!(self.fault, Some(Fault::Panic | Fault::Stop))
    }

    /// Whether a stale evaluation would do instead.
    pub(super) fn is_outage(&self) -> bool {
        self.error.is_some_and(|error| OUTAGES.contains(&error))
    }
}

const OUTAGES: [&str; 6] =
    ["timeout", "attempt_timeout", "unavailable", "connect", "intermediary", "invalid_response"];

impl Model {
    /// When the names of a call that has come to the transport were asked for.
    pub(super) fn asked_since(&self, call: &CallRequest, lane: Lane, now: Instant) -> Instant {
        let Some(name) = call.names.first() else { return now };
        let mut earlier = self.calls_for(lane, name).map(|(_, made)| made);
        let before = earlier.find(|made| match &call.refusal {
            Some(_) => made.error == Some("refused") && made.ends_at <= now,
            None => made.is_lost() && Arc::ptr_eq(&made.names, &call.names),
        });
        before.map_or(now, |made| made.since)
    }

    pub(super) fn doubt_about(&self, call: &CallMade) -> Doubt {
        call.doubt.unwrap_or(self.doubt())
    }

    pub(super) fn doubt(&self) -> Doubt {
        Doubt { later: self.rests(), missed: self.armed.contains_key("batch.completion") }
    }
}
