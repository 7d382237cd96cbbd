//! Connections that rest, beside awc's pool, which cannot keep a connection without giving it out.

use std::{cell::RefCell, collections::VecDeque, task::Context};

use super::stream::Stream;

#[derive(Debug, Default)]
pub(super) struct Resting(RefCell<VecDeque<Stream>>);

/// No more rest at once: those that have rested longest are closed.
const MAX: usize = 128;

impl Resting {
    pub(super) fn set_aside(&self, stream: Stream) {
        let mut resting = self.0.borrow_mut();
        resting.push_back(stream);
        if resting.len() > MAX {
            resting.pop_front();
        }
    }

    /// One that has rested and is alive.
    pub(super) fn take(&self, cx: &mut Context<'_>) -> Option<Stream> {
        let mut resting = self.0.borrow_mut();
        resting.retain_mut(|stream| stream.is_alive(cx));
        let rested = resting.iter().position(Stream::is_rested)?;
        resting.remove(rested)
    }
}
