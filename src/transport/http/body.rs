//! Reads the body of an answer, within bounds that all calls share.

use awc::error::PayloadError;
use futures_util::{Stream, StreamExt};

use crate::{model::user::User, shared::long_bodies::LongBodies};

/// The longest body that needs no permit, in bytes. Most bodies are shorter, and never wait for
/// long bodies.
const SHORT_BODY: usize = 64 * 1024;

/// Reads the body of an answer about this user to its end, up to `limit` bytes.
///
/// A body that grows beyond 64 KiB waits for one of the permits for long bodies, which all
/// transports share. One permit covers the whole body, so no body holds a permit while it waits for
/// another, and the permits cannot deadlock. The unread rest stays with the sender.
pub(super) async fn read<B: AsRef<[u8]>>(
    mut body: impl Stream<Item = Result<B, PayloadError>> + Unpin,
    length: Option<usize>,
    limit: usize,
    long: &LongBodies,
    user: &User,
) -> Result<Vec<u8>, PayloadError> {
    if length.is_some_and(|length| length > limit) {
        return Err(PayloadError::Overflow);
    }
    let expected = length.unwrap_or(limit);
    let mut read = Vec::new();
    let mut permit = None;
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        let chunk = chunk.as_ref();
        if read.len() + chunk.len() > limit {
            return Err(PayloadError::Overflow);
        }
        if permit.is_none() && read.len() + chunk.len() > SHORT_BODY {
            permit = Some(long.place(user).await);
            // Reserve once, because growing would hold two copies. Unwritten pages take no memory.
            read.reserve_exact(expected.saturating_sub(read.len()));
        }
        read.extend_from_slice(chunk);
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc, sync::Arc};

    use actix_rt::{spawn, task::yield_now};
    use futures_util::{FutureExt, stream};

    use super::*;

    const LIMIT: usize = 2 << 20;
    const CHUNK: usize = 16 << 10;

    fn user(n: usize) -> User {
        User::new(format!("u-{n}")).unwrap()
    }

    /// A body of this many chunks.
    fn body(chunks: usize) -> impl Stream<Item = Result<Vec<u8>, PayloadError>> + Unpin {
        stream::iter((0..chunks).map(|_| Ok(vec![b'x'; CHUNK])))
    }

    #[actix_rt::test]
    async fn body_beyond_the_limit_is_refused_announced_or_not() {
        let long = LongBodies::new(1);
        let whole = LIMIT / CHUNK;
        assert_eq!(read(body(whole), None, LIMIT, &long, &user(0)).await.unwrap().len(), LIMIT);
        let over = read(body(whole + 1), None, LIMIT, &long, &user(0)).await;
        assert!(matches!(over, Err(PayloadError::Overflow)));
        let over = read(body(0), Some(LIMIT + 1), LIMIT, &long, &user(0)).await;
        assert!(matches!(over, Err(PayloadError::Overflow)));
        let broken =
            stream::iter([Ok(vec![b'x'; 3 * SHORT_BODY]), Err(PayloadError::Incomplete(None))]);
        assert!(matches!(
            read(broken, None, LIMIT, &long, &user(0)).await,
            Err(PayloadError::Incomplete(_))
        ));
        assert!(long.holders().is_empty(), "each returned its permit");
    }

    #[test]
    fn short_body_never_waits_for_long_ones() {
        let long = LongBodies::new(0);
        let at_once = |chunks| read(body(chunks), None, LIMIT, &long, &user(0)).now_or_never();
        assert_eq!(at_once(SHORT_BODY / CHUNK).unwrap().unwrap().len(), SHORT_BODY);
        assert!(at_once(SHORT_BODY / CHUNK + 1).is_none(), "it waits for a permit");
    }

    #[test]
    fn promise_3_hanging_long_bodies_leave_places_for_others() {
        let long = LongBodies::new(8);
        let hangs = || body(2 * SHORT_BODY / CHUNK).chain(stream::pending());
        let hog = user(0);
        let mut of_hog: Vec<_> =
            (0..20).map(|_| Box::pin(read(hangs(), None, LIMIT, &long, &hog))).collect();
        assert!(of_hog.iter_mut().all(|read| read.now_or_never().is_none()));
        assert_eq!(long.holders().len(), 6, "three quarters");

        for n in 1..100 {
            let who = user(n);
            let other = read(body(2 * SHORT_BODY / CHUNK), None, LIMIT, &long, &who);
            assert!(other.now_or_never().is_some(), "it waits for those that hang");
        }

        // The hog's other bodies continue when one of its bodies ends.
        of_hog.drain(..3);
        of_hog.iter_mut().for_each(|read| assert!(read.now_or_never().is_none()));
        assert_eq!(long.holders().len(), 6);
        drop(of_hog);
        assert!(long.holders().is_empty());
    }

    /// Many long bodies arrive together, chunk by chunk. All are read, and they never hold more
    /// bytes than the permits allow.
    #[actix_rt::test]
    async fn promise_4_bodies_in_flight_are_bounded_and_none_is_stuck() {
        const PLACES: usize = 3;
        const BODIES: usize = 40;
        let (long, held) = (Arc::new(LongBodies::new(PLACES)), Rc::new(Cell::new(0)));
        let bodies: Vec<_> = (0..BODIES)
            .map(|n| {
                let (long, held) = (Arc::clone(&long), Rc::clone(&held));
                spawn(async move {
                    let taken = Rc::new(Cell::new(0));
                    let counted = body(LIMIT / CHUNK).then(|chunk| async {
                        yield_now().await;
                        taken.set(taken.get() + CHUNK);
                        held.set(held.get() + CHUNK);
                        assert!(held.get() <= BODIES * (SHORT_BODY + CHUNK) + PLACES * LIMIT);
                        chunk
                    });
                    let read = read(Box::pin(counted), None, LIMIT, &long, &user(n)).await.unwrap();
                    held.set(held.get() - taken.get());
                    assert_eq!((read.len(), read.capacity()), (LIMIT, LIMIT));
                })
            })
            .collect();
        for body in bodies {
            body.await.unwrap();
        }
        assert_eq!(held.get(), 0);
    }
}
