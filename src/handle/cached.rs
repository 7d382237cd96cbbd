//! What the cache has of a question, read on the caller's own thread.

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
    /// What is kept of one name.
    pub(super) fn cached<M: BatchRequest, R>(
        &self,
        user: &User,
        name: &str,
        read: impl FnOnce(&Evaluation, Origin) -> Option<R>,
    ) -> Option<R> {
        let user = user.within(self.shared.environment.as_ref());
        let exposure = self.shared.exposure_logging;
        let question = KeyRef { user: &user, exposure, kind: M::KIND, name };
        let (kept, is_stale) = self.shared.get_unless_closing(question, |evaluation, origin| {
            (read(evaluation, origin), matches!(origin, Origin::Stale { .. }))
        })?;
        self.shared.counters.hit(1, usize::from(is_stale));
        kept
    }

    /// What is kept of all of these names; nothing if one is missing.
    pub(super) fn cached_all<M: BatchRequest, N: AsRef<str>, R>(
        &self,
        user: &User,
        exposure: Option<bool>,
        names: &[N],
        read: impl Fn(&Evaluation, Origin) -> Option<R>,
    ) -> Option<Vec<R>> {
        let user = user.within(self.shared.environment.as_ref());
        let exposure = exposure.unwrap_or(self.shared.exposure_logging);
        let mut stale = 0;
        let kept = names.iter().map(|name| {
            let question = KeyRef { user: &user, exposure, kind: M::KIND, name: name.as_ref() };
            self.shared.get_unless_closing(question, |evaluation, origin| {
                stale += usize::from(matches!(origin, Origin::Stale { .. }));
                read(evaluation, origin)
            })?
        });
        let kept = kept.collect::<Option<Vec<_>>>().filter(|kept| !kept.is_empty())?;
        self.shared.counters.hit(names.len(), stale);
        Some(kept)
    }
}

pub(super) fn value(evaluation: &Evaluation, _: Origin) -> Option<bool> {
    match evaluation {
        Evaluation::Gate(gate) => Some(gate.value()),
        Evaluation::Config(_) => None,
    }
}

pub(super) fn whole<E: TryFrom<Evaluation>>(evaluation: &Evaluation, origin: Origin) -> Option<E> {
    evaluation.with_origin(origin).try_into().ok()
}
