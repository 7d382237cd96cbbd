//! Yields to the other tasks of the arbiter. Without this, actix drains a whole mailbox, however
//! long it is.

use actix::{Actor, AsyncContext, Context, fut::wrap_future};
use tokio::task::yield_now;

/// Counts the messages that an actor has handled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct YieldCounter(usize);

const MESSAGES_PER_TURN: usize = 64;

impl YieldCounter {
    /// Counts a message. Every 64th message makes the actor yield before it handles the next one.
    pub(crate) fn take<A: Actor<Context = Context<A>>>(&mut self, ctx: &mut Context<A>) {
        self.0 = self.0.wrapping_add(1);
        if self.0.is_multiple_of(MESSAGES_PER_TURN) {
            ctx.wait(wrap_future(yield_now()));
        }
    }
}
