//! Connections that rest, beside awc's pool, which cannot keep a connection without giving it out.

use std::{cell::RefCell, collections::VecDeque, task::Context};

use super::stream::Stream;

#[derive(Debug)]
pub(super) struct Resting {
    streams: RefCell<VecDeque<Stream>>,
    most: usize,
}

impl Resting {
    /// No more than `most` rest at once: those that have rested longest are closed.
    pub(super) fn new(most: usize) -> Self {
        Self { streams: RefCell::default(), most }
    }

    pub(super) fn set_aside(&self, stream: Stream) {
        let mut resting = self.streams.borrow_mut();
        resting.push_back(stream);
        if resting.len() > self.most {
            resting.pop_front();
        }
    }

    /// One that has rested and is alive.
    pub(super) fn take(&self, cx: &mut Context<'_>) -> Option<Stream> {
        let mut resting = self.streams.borrow_mut();
        resting.retain_mut(|stream| stream.is_alive(cx));
        let rested = resting.iter().position(Stream::is_rested)?;
        resting.remove(rested)
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
        let resting = Resting::new(3);
        for generation in 0..10 {
            let stream = Stream::new(None, generation, Arc::clone(&shared), Options::default());
            resting.set_aside(stream);
            assert!(resting.streams.borrow().len() <= 3);
        }
    }
}
