//! Places for long bodies, of which each user has a share.

use std::{
    hash::BuildHasher,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use crate::{message::share::share, model::user::User};

/// Places for bodies that are longer, while they are read. A user holds no more than its [`share`] of
/// them: bodies that hang leave some for others.
#[derive(Debug)]
pub(crate) struct LongBodies {
    places: usize,
    /// The hashes of the users who hold one, as often as they do.
    held: Mutex<Vec<u64>>,
    given_back: Notify,
    hasher: RandomState,
}

/// Gives its place back when it is dropped.
pub(crate) struct Place<'a> {
    of: &'a LongBodies,
    user: u64,
}

impl LongBodies {
    pub(crate) fn new(places: usize) -> Self {
        let (held, given_back) = (Mutex::default(), Notify::new());
        Self { places, held, given_back, hasher: RandomState::default() }
    }

    pub(crate) async fn place(&self, user: &User) -> Place<'_> {
        let user = self.hasher.hash_one(user);
        loop {
            let mut given_back = pin!(self.given_back.notified());
            // Before the look: what is given back after it is heard of.
            given_back.as_mut().enable();
            if self.take(user) {
                return Place { of: self, user };
            }
            given_back.await;
        }
    }

    fn take(&self, user: u64) -> bool {
        let mut held = self.held();
        let own = held.iter().filter(|holder| **holder == user).count();
        let is_free = own < share(self.places, held.len() - own, 1);
        if is_free {
            held.push(user);
        }
        is_free
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, Vec<u64>> {
        // No code panics while it holds the lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut held = self.of.held();
        if let Some(at) = held.iter().position(|holder| *holder == self.user) {
            held.swap_remove(at);
        }
        drop(held);
        // Whoever waits looks whether its share has room now.
        self.of.given_back.notify_waiters();
    }
}
