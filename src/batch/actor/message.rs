//! The message that the actor sends to itself.

use actix::Message;

/// Says that groups are due before the next interval.
pub(super) struct FlushDue;

impl Message for FlushDue {
    type Result = ();
}
