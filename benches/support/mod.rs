//! Support code that several benchmarks share.

use actix::{Actor, Context, Handler, Recipient};
use actix_statsig::{Error, Evaluation, GateEvaluation, transport::Call};

/// A transport that answers every call at once: every gate is open.
pub(crate) struct AtOnce;

impl AtOnce {
    pub(crate) fn factory() -> Result<Recipient<Call>, Error> {
        Ok(Self.start().recipient())
    }
}

impl Actor for AtOnce {
    type Context = Context<Self>;
}

impl Handler<Call> for AtOnce {
    type Result = ();

    fn handle(&mut self, call: Call, _: &mut Context<Self>) {
        let names = call.request().names.iter();
        let open =
            names.map(|name| Some(Evaluation::from(GateEvaluation::new(name.clone(), true))));
        let open = open.collect();
        call.complete(Ok(open));
    }
}
