//! Connections that cool down. awc's pool cannot keep a connection without handing it out.

use std::{cell::RefCell, collections::VecDeque, task::Context};

use super::stream::Stream;

#[derive(Debug)]
pub(super) struct CooldownPool {
    streams: RefCell<VecDeque<Stream>>,
    max_size: usize,
}

impl CooldownPool {
    pub(super) fn new(max_size: usize) -> Self {
        Self { streams: RefCell::default(), max_size }
    }

    /// Adds a connection. A full pool closes its oldest connection.
    pub(super) fn put(&self, stream: Stream) {
        let mut streams = self.streams.borrow_mut();
        streams.push_back(stream);
        if streams.len() > self.max_size {
            streams.pop_front();
        }
    }

    /// Removes a live connection whose cooldown is over.
    pub(super) fn take(&self, cx: &mut Context<'_>) -> Option<Stream> {
        let mut streams = self.streams.borrow_mut();
        streams.retain_mut(|stream| stream.is_alive(cx));
        let ready = streams.iter().position(Stream::is_cooled_down)?;
        streams.remove(ready)
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
        let pool = CooldownPool::new(3);
        for generation in 0..10 {
            let stream = Stream::new(None, generation, Arc::clone(&shared), Options::default());
            pool.put(stream);
            assert!(pool.streams.borrow().len() <= 3);
        }
    }
}
