//! Connections that rest, beside awc's pool, which cannot keep a connection without giving it out.

use std::{cell::RefCell, collections::VecDeque, task::Context};

use super::stream::Stream;

#[derive(Debug)]
pub(super) struct CooldownPool {
    streams: RefCell<VecDeque<Stream>>,
    most: usize,
}

impl CooldownPool {
    /// No more than `most` rest at once: those that have rested longest are closed.
    pub(super) fn new(most: usize) -> Self {
        Self { streams: RefCell::default(), most }
    }

    pub(super) fn put(&self, stream: Stream) {
        let mut cooling = self.streams.borrow_mut();
        cooling.push_back(stream);
        if cooling.len() > self.most {
            cooling.pop_front();
        }
    }

    /// One that has rested and is alive.
    pub(super) fn take(&self, cx: &mut Context<'_>) -> Option<Stream> {
        let mut cooling = self.streams.borrow_mut();
        cooling.retain_mut(|stream| stream.is_alive(cx));
        let rested = cooling.iter().position(Stream::is_cooled_down)?;
        cooling.remove(rested)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{config::Config, shared::Shared, transport::http::connect::stream::Options};

    #[test]
    fn promise_4_no_more_connections_rest_than_may_be_in_use() {
        let shared = Arc::new(Shared::new(&Config::builder("key").build().unwrap()));
        let cooling = CooldownPool::new(3);
        for generation in 0..10 {
            let stream = Stream::new(None, generation, Arc::clone(&shared), Options::default());
            cooling.put(stream);
            assert!(cooling.streams.borrow().len() <= 3);
        }
    }
}
