//! What one request has asked, each name once. Neither a clock nor a component.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use futures_util::future::{LocalBoxFuture, Shared, join_all};

use crate::{error::Error, messages::check_name};

/// The answer to a message with several names, for all who wait for one of them: it goes on also
/// when the one who asked first has left.
pub(super) type Asked<E> = Shared<LocalBoxFuture<'static, Result<Rc<[E]>, Error>>>;

/// The answers of one kind, gates or configs, that are there or on the way.
pub(super) struct Answers<E>(RefCell<HashMap<Arc<str>, Answer<E>>>);

#[derive(Clone)]
struct Answer<E> {
    asked: Asked<E>,
    place: usize,
}

impl<E: Clone> Answers<E> {
    /// One for each name, in this order. Names that nobody has asked for yet are asked for together.
    pub(super) async fn of(
        &self,
        names: &[Arc<str>],
        ask: impl Fn(Vec<Arc<str>>) -> Asked<E>,
    ) -> Result<Vec<E>, Error> {
        match self.ask(names, &ask).await {
            // The trouble of a name that one of these was asked for together with by somebody else.
            Err(error) if !names.iter().any(|name| concerns(&error, name)) => {
                self.ask(names, &ask).await
            }
            outcome => outcome,
        }
    }

    async fn ask(
        &self,
        names: &[Arc<str>],
        ask: impl Fn(Vec<Arc<str>>) -> Asked<E>,
    ) -> Result<Vec<E>, Error> {
        let answers = self.known_or_asked(names, ask);
        join_all(answers.into_iter().map(Answer::value)).await.into_iter().collect()
    }

    fn known_or_asked(
        &self,
        names: &[Arc<str>],
        ask: impl Fn(Vec<Arc<str>>) -> Asked<E>,
    ) -> Vec<Answer<E>> {
        let mut known = self.0.borrow_mut();
        let mut unknown: Vec<Arc<str>> = Vec::new();
        for name in names {
            let is_known = known.get(name).is_some_and(|answer| answer.is_for(name));
            if !is_known && !unknown.contains(name) {
                unknown.push(Arc::clone(name));
            }
        }
        if !unknown.is_empty() {
            let asked = ask(unknown.clone());
            let answers = (0..).map(|place| Answer { asked: asked.clone(), place });
            known.extend(unknown.into_iter().zip(answers));
        }
        names.iter().filter_map(|name| known.get(name).cloned()).collect()
    }
}

impl<E: Clone> Answer<E> {
    async fn value(self) -> Result<E, Error> {
        let none = Error::Internal { detail: "fewer names were answered than were asked for" };
        self.asked.await?.get(self.place).cloned().ok_or(none)
    }

    /// Whether it is on the way, or is this name's and not an error of another name.
    fn is_for(&self, name: &str) -> bool {
        !matches!(self.asked.peek(), Some(Err(error)) if !concerns(error, name))
    }
}

/// Whether the error of a message is this name's too: all are, but those about one name.
fn concerns(error: &Error, name: &str) -> bool {
    match error {
        Error::MissingName { name: missing, .. } => **missing == *name,
        Error::InvalidName { .. } => check_name(name).is_err(),
        _ => true,
    }
}

impl<E> Default for Answers<E> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}
