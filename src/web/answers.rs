//! What one request has asked, each name once. Neither a clock nor a component.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use futures_util::future::{LocalBoxFuture, Shared, join_all};

use crate::model::{error::Error, name::check_name};

/// The outcome of a message, for all who wait for one of its names: it goes on also when the one who
/// asked first has left.
pub(super) type Outcome<E> = Shared<LocalBoxFuture<'static, Result<Rc<[E]>, Error>>>;

/// The answers of one kind, gates or configs, that are there or on the way.
pub(super) struct Answers<E> {
    known: RefCell<HashMap<Arc<str>, Answer<E>>>,
    names_per_message: usize,
}

/// A message, and what came of it.
struct Asked<E> {
    names: Vec<Arc<str>>,
    outcome: Outcome<E>,
}

#[derive(Clone)]
struct Answer<E> {
    asked: Rc<Asked<E>>,
    place: usize,
}

impl<E: Clone> Answers<E> {
    /// A message asks for so many names at most. What belongs to one call belongs into one message;
    /// names that are calls of their own should neither wait for one another nor fail together.
    pub(super) fn new(names_per_message: usize) -> Self {
        Self { known: RefCell::default(), names_per_message }
    }

    /// One for each name, in this order. Names that nobody has asked for yet are asked for at once.
    pub(super) async fn of(
        &self,
        names: &[Arc<str>],
        ask: impl Fn(Vec<Arc<str>>) -> Outcome<E>,
    ) -> Result<Vec<E>, Error> {
        // Whoever joined a message that failed for the sake of other names asks anew. This ends: what
        // is asked anew are these names and no others.
        loop {
            let answers = self.known_or_asked(names, &ask);
            let values = join_all(answers.iter().map(Answer::value)).await;
            for (answer, value) in answers.iter().zip(&values) {
                if let Err(error) = value
                    && answer.asked.failed_for(names, error)
                {
                    return Err(error.clone());
                }
            }
            if let Ok(values) = values.into_iter().collect() {
                return Ok(values);
            }
        }
    }

    fn known_or_asked(
        &self,
        names: &[Arc<str>],
        ask: impl Fn(Vec<Arc<str>>) -> Outcome<E>,
    ) -> Vec<Answer<E>> {
        let mut known = self.known.borrow_mut();
        let is_known = |name: &Arc<str>| known.get(name).is_some_and(|answer| answer.is_for(name));
        let mut seen = HashSet::new();
        let unknown = names.iter().filter(|name| !is_known(name) && seen.insert(Arc::clone(name)));
        let unknown: Vec<_> = unknown.cloned().collect();
        for names in unknown.chunks(self.names_per_message) {
            let asked = Rc::new(Asked { names: names.to_vec(), outcome: ask(names.to_vec()) });
            let answers = (0..).map(|place| Answer { asked: Rc::clone(&asked), place });
            known.extend(names.iter().cloned().zip(answers));
        }
        names.iter().filter_map(|name| known.get(name).cloned()).collect()
    }
}

impl<E: Clone> Answer<E> {
    async fn value(&self) -> Result<E, Error> {
        let none = Error::Internal { detail: "fewer names were answered than were asked for" };
        self.asked.outcome.clone().await?.get(self.place).cloned().ok_or(none)
    }

    /// Whether it is on the way, or is this name's and not an error of another name.
    fn is_for(&self, name: &Arc<str>) -> bool {
        let outcome = self.asked.outcome.peek();
        !matches!(outcome, Some(Err(error)) if !self.asked.failed_for(std::slice::from_ref(name), error))
    }
}

impl<E> Asked<E> {
    /// Whether the message's error is these names' too: all are, but those of another name.
    fn failed_for(&self, names: &[Arc<str>], error: &Error) -> bool {
        match error {
            Error::MissingName { name, .. } => names.contains(name),
            Error::InvalidName { .. } => names.iter().any(|name| check_name(name).is_err()),
            // Which name Statsig refused is not said.
            Error::Refused { .. } => self.names.iter().all(|name| names.contains(name)),
            _ => true,
        }
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

        fn ask(&self, names: Vec<Arc<str>>) -> Outcome<String> {
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
        let (answers, statsig) = (Answers::new(usize::MAX), Statsig::answering());

        assert_eq!(of(&answers, &statsig, "pear fig pear").unwrap(), ["pear 1", "fig 1", "pear 1"]);
        assert_eq!(of(&answers, &statsig, "plum fig").unwrap(), ["plum 2", "fig 1"]);
        assert_eq!(of(&answers, &statsig, "fig").unwrap(), ["fig 1"]);
        assert!(of(&answers, &statsig, "").unwrap().is_empty());

        assert_eq!(statsig.asked(), ["pear fig", "plum"]);
    }

    #[test]
    fn what_is_on_its_way_is_joined_also_when_the_one_who_asked_has_left() {
        let (answers, statsig) = (Answers::new(usize::MAX), Statsig::holding());
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
        let (answers, statsig) = (Answers::new(usize::MAX), Statsig::answering());
        statsig.fails_with.replace(Some(Error::Overloaded { limit: 1 }));

        for asked in ["pear fig", "pear", "fig plum"] {
            let answer = of(&answers, &statsig, asked);
            assert!(matches!(answer, Err(Error::Overloaded { .. })), "{answer:?}");
        }

        assert_eq!(statsig.asked(), ["pear fig", "plum"]);
    }

    #[test]
    fn one_names_trouble_is_not_that_of_the_names_it_was_asked_for_with() {
        let (answers, statsig) = (Answers::new(usize::MAX), Statsig::answering());
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
        let (answers, statsig) = (Answers::new(usize::MAX), Statsig::holding());
        statsig.fails_with.replace(Some(missing("fig")));
        let ask = |names| statsig.ask(names);
        let (both, pear) = (names("pear fig"), names("pear"));

        let (both, pear) = (answers.of(&both, ask), answers.of(&pear, ask));
        let (both, pear) = released(&statsig, join(both, pear));

        assert!(matches!(both, Err(Error::MissingName { .. })), "{both:?}");
        assert_eq!(pear.unwrap(), ["pear 2"]);
    }

    #[test]
    fn who_joined_two_messages_that_failed_one_after_the_other_has_an_answer_at_last() {
        let (answers, first, second) =
            (Answers::new(usize::MAX), Statsig::holding(), Statsig::holding());
        first.fails_with.replace(Some(missing("fig")));
        second.fails_with.replace(Some(missing("plum")));
        let with_fig = names("pear fig");
        assert!(answers.of(&with_fig, |names| first.ask(names)).now_or_never().is_none());
        let pear = names("pear");
        let mut joined = pin!(answers.of(&pear, |names| second.ask(names)));
        assert!(joined.as_mut().now_or_never().is_none(), "waits for the first");
        first.held.close();
        // Somebody else notices the first one's end before the one who waits for it does.
        let with_plum = names("pear plum");
        let ended = answers.of(&with_fig, |names| first.ask(names)).now_or_never();
        assert!(matches!(ended, Some(Err(Error::MissingName { .. }))), "{ended:?}");
        assert!(answers.of(&with_plum, |names| second.ask(names)).now_or_never().is_none());

        let joined = released(&second, joined);

        assert_eq!(joined.unwrap(), ["pear 2"]);
        assert_eq!(second.asked(), ["pear plum", "pear"]);
    }

    #[test]
    fn a_refusal_is_that_of_a_name_only_if_it_was_asked_for_alone() {
        let (answers, statsig) = (Answers::new(usize::MAX), Statsig::answering());
        let refused = Error::Refused { path: PATH, status: 400, excerpt: String::new() };
        for _ in 0..2 {
            statsig.fails_with.replace(Some(refused.clone()));
            assert!(of(&answers, &statsig, "pear fig").is_err());
        }
        statsig.fails_with.replace(Some(refused));
        assert!(of(&answers, &statsig, "fig").is_err());

        assert_eq!(of(&answers, &statsig, "pear").unwrap(), ["pear 4"]);
        assert!(of(&answers, &statsig, "fig").is_err());
        assert_eq!(statsig.asked(), ["pear fig", "pear fig", "fig", "pear"]);
    }

    #[test]
    fn names_that_are_calls_of_their_own_neither_fail_together_nor_wait_for_one_another() {
        let (answers, statsig) = (Answers::new(1), Statsig::answering());
        statsig.fails_with.replace(Some(Error::Overloaded { limit: 1 }));
        assert!(of(&answers, &statsig, "pear fig").is_err());
        assert_eq!(statsig.asked(), ["pear", "fig"]);
        assert_eq!(of(&answers, &statsig, "fig").unwrap(), ["fig 2"]);
        assert!(of(&answers, &statsig, "pear").is_err(), "an error is an answer too");

        let answers = Answers::new(1);
        let held = Statsig::holding();
        let plum = |names: Vec<Arc<str>>| {
            if *names[0] == *"plum" { held.ask(names) } else { statsig.ask(names) }
        };
        assert!(answers.of(&names("plum kiwi"), plum).now_or_never().is_none());
        let kiwi = answers.of(&names("kiwi"), plum).now_or_never().expect("an answer at once");
        assert_eq!(kiwi.unwrap(), ["kiwi 3"]);
    }

    #[test]
    fn a_new_name_does_not_wait_for_one_that_is_on_its_way() {
        let answers = Answers::<String>::new(usize::MAX);
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
