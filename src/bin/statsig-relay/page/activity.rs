//! The relay's own observations for the page, besides the component's statistics.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix_statsig::Error;

use super::{history::History, recent_errors::RecentErrors, wait_times::WaitTimes};
use crate::{http::problem::Problem, machine::clock::now};

/// The relay's observations. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Activity(Arc<Shared>);

#[derive(Default)]
struct Shared {
    errors: Mutex<RecentErrors>,
    refused_bodies: Mutex<BTreeMap<&'static str, u64>>,
    waits: Mutex<WaitTimes>,
    history: Mutex<History>,
}

impl Activity {
    /// Returns the component's hook for errors.
    pub(crate) fn error_hook(&self) -> impl Fn(&Error) + Send + Sync + 'static {
        let activity = self.clone();
        move |error| activity.errors().record(error.kind().as_str(), &error.to_string(), now())
    }

    /// Records that a request was refused for its body. The component never saw it.
    pub(crate) fn body_refused(&self, problem: &Problem) {
        let kind = problem.kind();
        // The message may quote the user.
        let is_private = kind == "invalid_user";
        let message = if is_private { "the answer says what is wrong" } else { problem.message() };
        self.errors().record(kind, message, now());
        *self.refused_bodies().entry(kind).or_default() += 1;
    }

    /// Records how long a caller waited for an answer that the cache did not have.
    pub(crate) fn caller_waited(&self, wait: Duration) {
        self.waits().record(wait, now());
    }

    pub(super) fn errors(&self) -> MutexGuard<'_, RecentErrors> {
        lock(&self.0.errors)
    }

    pub(super) fn refused_bodies(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        lock(&self.0.refused_bodies)
    }

    pub(super) fn waits(&self) -> MutexGuard<'_, WaitTimes> {
        lock(&self.0.waits)
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.0.history)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
