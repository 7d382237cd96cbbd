//! How the actor accepts a request: from the cache, into the buffer, or not at all.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use actix::Context;

use super::{BatchActor, reply::DeferredReply};
use crate::{
    batch::buffer::{PartialResults, Request, group::BatchKey},
    message::{BatchRequest, parts::RequestParts},
    model::{
        call_kind::CallKind,
        error::{Error, outcome},
        name::check_name,
    },
    rt::{clock, failpoint::failpoint},
    shared::cache::KeyRef,
    telemetry::spans::{self, MaybeSpan},
};

impl BatchActor {
    pub(super) fn accept<M: BatchRequest>(
        &mut self,
        message: M,
        ctx: &mut Context<Self>,
    ) -> DeferredReply<M> {
        self.turns.take(ctx);
        let parts = message.into_parts();
        self.shared.counters.received(parts.names.len());
        if parts.names.is_empty() && !self.is_draining() {
            self.shared.counters.answered(&Ok(()));
            return DeferredReply::ready(Ok(Vec::new()));
        }
        let mut span = None;
        let reply = self.guarded(ctx, |actor, ctx| {
            span = spans::request(&parts.within, M::KIND.operation(), parts.names.len());
            actor.admit(parts, &mut span, ctx)
        });
        let panicked = Err(Error::Internal { detail: "a handler panicked" });
        reply.unwrap_or(panicked).unwrap_or_else(|error| {
            spans::request_ended(&span, outcome::<()>(Err(&error)));
            self.shared.refused(&error);
            DeferredReply::ready(Err(error))
        })
    }

    fn admit<M: BatchRequest>(
        &mut self,
        parts: RequestParts,
        span: &mut MaybeSpan,
        ctx: &mut Context<Self>,
    ) -> Result<DeferredReply<M>, Error> {
        failpoint("batch.request");
        if self.is_draining() {
            return Err(Error::ShuttingDown);
        }
        let RequestParts { user, names, exposure, bypass_cache, admitted, within: _ } = parts;
        names.iter().try_for_each(|name| check_name(name))?;
        let user = user.into_environment(self.shared.environment.as_ref());
        let key = BatchKey { user, exposure: exposure.unwrap_or(self.shared.exposure_logging) };
        let cached = self.read_cache(&key, M::KIND, &names, bypass_cache);
        if cached.len() == names.len() && cached.iter().all(Option::is_some) {
            let evaluations: Vec<_> = cached.into_iter().flatten().collect();
            spans::request_ended(span, outcome(Ok(())));
            self.shared.counters.answered_with(&evaluations);
            self.shared.counters.answered(&Ok(()));
            let evaluations = evaluations.into_iter().map(M::Evaluation::try_from);
            return Ok(DeferredReply::ready(evaluations.collect()));
        }
        let now = clock::now();
        let (permit, deadline) = match admitted {
            Some(admitted) => (admitted.permit, admitted.deadline),
            None => (self.shared.admission.admit(&key.user, &names)?, now + self.timeout),
        };
        if deadline <= now {
            return Err(Error::Timeout { limit: self.timeout, last: None });
        }
        let request = Request { key, kind: M::KIND, names, cached, bypass_cache, deadline };
        let (request, joined) = self.buffer.add(request);
        if joined > 0 {
            self.shared.counters.joined.fetch_add(joined as u64, Relaxed);
        }
        self.schedule(ctx);
        self.callers.insert(request, permit, span.take());
        Ok(DeferredReply::pending(request, self.callers.clone()))
    }

    /// Reads the cached evaluations of these names.
    fn read_cache(
        &self,
        key: &BatchKey,
        kind: CallKind,
        names: &[Arc<str>],
        bypass_cache: bool,
    ) -> PartialResults {
        let mut cached = PartialResults::new();
        if bypass_cache || !self.shared.cache.is_on() {
            return cached;
        }
        let reader = self.shared.cache.reader();
        for (position, name) in names.iter().enumerate() {
            let key = KeyRef { user: &key.user, exposure: key.exposure, kind, name };
            if let Some((evaluation, origin)) = self.shared.lookup(&reader, key) {
                cached.resize(position, None);
                cached.push(Some(evaluation.with_origin(origin)));
            }
        }
        cached
    }
}
