//! Memory that all connections share, of which each takes a part.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Memory that all connections share: bytes of requests that were read and not answered yet, or of
/// answers that were not taken yet.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    taken: AtomicUsize,
    limit: usize,
}

/// What one connection takes of it, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Room,
    taken: usize,
}

impl Room {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Inner { taken: AtomicUsize::new(0), limit }))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.taken.load(Relaxed) >= self.0.limit
    }

    pub(crate) fn place(&self) -> Place {
        Place { room: self.clone(), taken: 0 }
    }
}

impl Place {
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// Takes this many bytes in all. They are there already, even if they are too many: nobody takes
    /// more then.
    pub(crate) fn take(&mut self, bytes: usize) {
        let all = &self.room.0.taken;
        if bytes > self.taken {
            all.fetch_add(bytes - self.taken, Relaxed);
        } else if bytes < self.taken {
            all.fetch_sub(self.taken - bytes, Relaxed);
        }
        self.taken = bytes;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.take(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_shared_and_given_back() {
        let room = Room::new(10);
        let (mut one, mut other) = (room.place(), room.place());
        one.take(4);
        other.take(5);
        assert!(!room.is_full());
        one.take(5);
        assert!(room.is_full());
        one.take(2);
        assert!(!room.is_full());
        other.take(20);
        assert!(room.is_full());
        drop(other);
        assert!(!room.is_full());
        drop(one);
        assert_eq!(room.0.taken.load(Relaxed), 0);
    }
}
