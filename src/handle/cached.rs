//! Answers from the cache, read on the caller's own thread.

use super::Statsig;
use crate::{
    message::BatchRequest,
    model::{
        evaluation::{Evaluation, Origin},
        user::User,
    },
    shared::cache::KeyRef,
};

impl Statsig {
    /// Returns the cached answer for one name.
    pub(super) fn cached<M: BatchRequest, R>(
        &self,
        user: &User,
        name: &str,
        read: impl Fn(&Evaluation, Origin) -> Option<R>,
    ) -> Option<R> {
        if self.shared.is_closing() {
            return None;
        }
        let user = user.within(self.shared.environment.as_ref());
        let exposure = self.shared.exposure_logging;
        let reader = self.shared.cache.reader();
        let key = KeyRef { user: &user, exposure, kind: M::KIND, name };
        let (evaluation, origin) = self.shared.lookup(&reader, key)?;
        self.shared.counters.hit(1, usize::from(origin.is_stale()));
        read(evaluation, origin)
    }

    /// Returns the cached answers for all names; `None` if one is missing or there are no names.
    pub(super) fn cached_all<M: BatchRequest, N: AsRef<str>, R>(
        &self,
        user: &User,
        exposure: Option<bool>,
        names: &[N],
        read: impl Fn(&Evaluation, Origin) -> Option<R>,
    ) -> Option<Vec<R>> {
        if names.is_empty() || self.shared.is_closing() {
            return None;
        }
        let user = user.within(self.shared.environment.as_ref());
        let exposure = exposure.unwrap_or(self.shared.exposure_logging);
        let reader = self.shared.cache.reader();
        let mut stale = 0;
        let answers = names.iter().map(|name| {
            let key = KeyRef { user: &user, exposure, kind: M::KIND, name: name.as_ref() };
            let (evaluation, origin) = self.shared.lookup(&reader, key)?;
            stale += usize::from(origin.is_stale());
            read(evaluation, origin)
        });
        let answers = answers.collect::<Option<Vec<_>>>()?;
        self.shared.counters.hit(names.len(), stale);
        Some(answers)
    }
}

/// Reads a gate's value.
pub(super) fn value(evaluation: &Evaluation, _: Origin) -> Option<bool> {
    match evaluation {
        Evaluation::Gate(gate) => Some(gate.value()),
        Evaluation::Config(_) => None,
    }
}

/// Reads a whole evaluation.
pub(super) fn whole<E: TryFrom<Evaluation>>(evaluation: &Evaluation, origin: Origin) -> Option<E> {
    evaluation.with_origin(origin).try_into().ok()
}
