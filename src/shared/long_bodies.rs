//! Limits how many long bodies are read at a time, with a fair share for each user.

use std::{
    hash::BuildHasher,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use crate::{message::share::fair_share, model::user::User};

/// Places for long bodies while they are read. A user holds at most its [fair share](fair_share) of
/// them, so one user's hanging bodies leave places for other users.
#[derive(Debug)]
pub(crate) struct LongBodies {
    places: usize,
    /// The hash of the user of each place that is in use.
    holders: Mutex<Vec<u64>>,
    released: Notify,
    hasher: RandomState,
}

/// A place in use. Released when dropped.
pub(crate) struct Place<'a> {
    of: &'a LongBodies,
    user: u64,
}

impl LongBodies {
    pub(crate) fn new(places: usize) -> Self {
        let (holders, released) = (Mutex::default(), Notify::new());
        Self { places, holders, released, hasher: RandomState::default() }
    }

    pub(crate) async fn place(&self, user: &User) -> Place<'_> {
        let user = self.hasher.hash_one(user);
        loop {
            let mut released = pin!(self.released.notified());
            // Enabled before the attempt, so that a release after the attempt is not missed.
            released.as_mut().enable();
            if self.try_acquire(user) {
                return Place { of: self, user };
            }
            released.await;
        }
    }

    fn try_acquire(&self, user: u64) -> bool {
        let mut holders = self.holders();
        let own = holders.iter().filter(|holder| **holder == user).count();
        let is_free = own < fair_share(self.places, holders.len() - own, 1);
        if is_free {
            holders.push(user);
        }
        is_free
    }

    pub(crate) fn holders(&self) -> MutexGuard<'_, Vec<u64>> {
        // No code panics while it holds the lock.
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut holders = self.of.holders();
        if let Some(at) = holders.iter().position(|holder| *holder == self.user) {
            holders.swap_remove(at);
        }
        drop(holders);
        // Each waiter checks its own share.
        self.of.released.notify_waiters();
    }
}
