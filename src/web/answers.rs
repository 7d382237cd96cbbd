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

#[cfg(test)]
mod tests {
    use std::{cell::Cell, pin::pin};

    use futures_util::{
        FutureExt,
        future::{join, lazy, pending},
    };
    use tokio::sync::Semaphore;

    use super::*;

    const PATH: &str = "/v1/check_gate";

    /// Notes what is asked, and answers each name with itself and the number of the message.
    struct Statsig {
        asked: RefCell<Vec<Vec<Arc<str>>>>,
        fails_with: RefCell<Option<Error>>,
        /// Closed when answers go out.
        held: Rc<Semaphore>,
    }

    impl Statsig {
        fn holding() -> Self {
            let held = Rc::new(Semaphore::new(0));
            Self { asked: RefCell::default(), fails_with: RefCell::default(), held }
        }

        fn answering() -> Self {
            let statsig = Self::holding();
            statsig.held.close();
            statsig
        }

        fn ask(&self, names: Vec<Arc<str>>) -> Asked<String> {
            self.asked.borrow_mut().push(names.clone());
            let number = self.asked.borrow().len();
            let answers = names.iter().map(|name| format!("{name} {number}")).collect();
            let outcome = self.fails_with.take().map_or(Ok(answers), Err);
            let held = Rc::clone(&self.held);
            let answer = held_back(held).map(|()| outcome);
            answer.boxed_local().shared()
        }

        fn asked(&self) -> Vec<String> {
            self.asked.borrow().iter().map(|names| names.join(" ")).collect()
        }
    }

    async fn held_back(held: Rc<Semaphore>) {
        let _ = held.acquire().await;
    }

    fn names(names: &str) -> Vec<Arc<str>> {
        names.split_whitespace().map(Into::into).collect()
    }

    fn of(answers: &Answers<String>, statsig: &Statsig, asked: &str) -> Result<Vec<String>, Error> {
        let ask = |names| statsig.ask(names);
        answers.of(&names(asked), ask).now_or_never().expect("an answer at once")
    }

    /// Lets everybody ask, and then the answers go out.
    fn released<T>(statsig: &Statsig, asking: impl Future<Output = T>) -> T {
        let mut asking = pin!(asking);
        assert!(asking.as_mut().now_or_never().is_none());
        statsig.held.close();
        asking.now_or_never().expect("an answer at once")
    }

    fn missing(name: &str) -> Error {
        Error::MissingName { path: PATH, name: name.into() }
    }

    #[test]
    fn names_that_are_new_are_asked_for_together_and_each_once() {
        let (answers, statsig) = (Answers::default(), Statsig::answering());

        assert_eq!(of(&answers, &statsig, "pear fig pear").unwrap(), ["pear 1", "fig 1", "pear 1"]);
        assert_eq!(of(&answers, &statsig, "plum fig").unwrap(), ["plum 2", "fig 1"]);
        assert_eq!(of(&answers, &statsig, "fig").unwrap(), ["fig 1"]);
        assert!(of(&answers, &statsig, "").unwrap().is_empty());

        assert_eq!(statsig.asked(), ["pear fig", "plum"]);
    }

    #[test]
    fn what_is_on_its_way_is_joined_also_when_the_one_who_asked_has_left() {
        let (answers, statsig) = (Answers::default(), Statsig::holding());
        let ask = |names| statsig.ask(names);
        let fig = names("fig");
        assert!(answers.of(&fig, ask).now_or_never().is_none(), "left before the answer");

        let (one, other) = (answers.of(&fig, ask), answers.of(&fig, ask));
        let (one, other) = released(&statsig, join(one, other));

        let fig = vec!["fig 1".to_owned()];
        assert_eq!((one.unwrap(), other.unwrap()), (fig.clone(), fig));
        assert_eq!(statsig.asked(), ["fig"]);
    }

    #[test]
    fn an_error_is_an_answer_too() {
        let (answers, statsig) = (Answers::default(), Statsig::answering());
        statsig.fails_with.replace(Some(Error::Overloaded { limit: 1 }));

        for asked in ["pear fig", "pear", "fig plum"] {
            let answer = of(&answers, &statsig, asked);
            assert!(matches!(answer, Err(Error::Overloaded { .. })), "{answer:?}");
        }

        assert_eq!(statsig.asked(), ["pear fig", "plum"]);
    }

    #[test]
    fn one_names_trouble_is_not_that_of_the_names_it_was_asked_for_with() {
        let (answers, statsig) = (Answers::default(), Statsig::answering());
        statsig.fails_with.replace(Some(missing("fig")));
        assert!(of(&answers, &statsig, "pear fig").is_err());
        let rule = "may not have it";
        statsig.fails_with.replace(Some(Error::InvalidName { name: "p/um".into(), rule }));
        assert!(of(&answers, &statsig, "plum p/um").is_err());

        assert_eq!(of(&answers, &statsig, "pear plum").unwrap(), ["pear 3", "plum 3"]);
        assert!(of(&answers, &statsig, "fig").is_err() && of(&answers, &statsig, "p/um").is_err());
        assert_eq!(statsig.asked(), ["pear fig", "plum p/um", "pear plum"]);
    }

    #[test]
    fn who_joined_a_name_that_another_ones_trouble_takes_along_asks_for_it_again() {
        let (answers, statsig) = (Answers::default(), Statsig::holding());
        statsig.fails_with.replace(Some(missing("fig")));
        let ask = |names| statsig.ask(names);
        let (both, pear) = (names("pear fig"), names("pear"));

        let (both, pear) = (answers.of(&both, ask), answers.of(&pear, ask));
        let (both, pear) = released(&statsig, join(both, pear));

        assert!(matches!(both, Err(Error::MissingName { .. })), "{both:?}");
        assert_eq!(pear.unwrap(), ["pear 2"]);
    }

    #[test]
    fn a_new_name_does_not_wait_for_one_that_is_on_its_way() {
        let answers = Answers::<String>::default();
        let never = |_| pending().boxed_local().shared();
        assert!(answers.of(&names("pear"), never).now_or_never().is_none());

        let is_asked = Rc::new(Cell::new(false));
        let ask = |_| {
            let is_asked = Rc::clone(&is_asked);
            lazy(move |_| is_asked.set(true)).then(|()| pending()).boxed_local().shared()
        };
        assert!(answers.of(&names("pear fig"), ask).now_or_never().is_none());
        assert!(is_asked.get());
    }
}
