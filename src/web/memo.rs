//! One request's evaluations, memoized by name. The memo knows neither a clock nor the component.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use futures_util::future::{LocalBoxFuture, Shared, join_all};

use crate::model::{error::Error, name::check_name};

/// A message's outcome, shared by every caller that waits for one of its names. A dropped caller
/// does not stop the message: the other callers keep polling it.
pub(super) type SharedOutcome<E> = Shared<LocalBoxFuture<'static, Result<Rc<[E]>, Error>>>;

/// The evaluations of one kind, gates or configs, that the request has or waits for.
pub(super) struct Memo<E> {
    entries: RefCell<HashMap<Arc<str>, Entry<E>>>,
    names_per_message: usize,
}

/// The place of a name's evaluation: the message that asks for the name, and the name's index in
/// it.
#[derive(Clone)]
struct Entry<E> {
    message: Rc<SentMessage<E>>,
    index: usize,
}

struct SentMessage<E> {
    names: Vec<Arc<str>>,
    outcome: SharedOutcome<E>,
}

impl<E: Clone> Memo<E> {
    /// Limits the names of a message. Names that share a call belong in one message. Names with a
    /// call each need a message each, so that one name does not wait for another or fail with it.
    pub(super) fn new(names_per_message: usize) -> Self {
        Self { entries: RefCell::default(), names_per_message }
    }

    /// Returns one evaluation for each name, in this order. Sends messages for new names at once.
    pub(super) async fn evaluations(
        &self,
        names: &[Arc<str>],
        send: impl Fn(Vec<Arc<str>>) -> SharedOutcome<E>,
    ) -> Result<Vec<E>, Error> {
        // A message that this caller joined may fail because of another caller's name. Then the
        // caller's names are sent again. The loop ends, because the new messages have no other
        // names.
        loop {
            let entries = self.entries(names, &send);
            let results = join_all(entries.iter().map(Entry::evaluation)).await;
            for (entry, result) in entries.iter().zip(&results) {
                if let Err(error) = result
                    && entry.message.failed_because_of(names, error)
                {
                    return Err(error.clone());
                }
            }
            if let Ok(evaluations) = results.into_iter().collect() {
                return Ok(evaluations);
            }
        }
    }

    fn entries(
        &self,
        names: &[Arc<str>],
        send: impl Fn(Vec<Arc<str>>) -> SharedOutcome<E>,
    ) -> Vec<Entry<E>> {
        let mut entries = self.entries.borrow_mut();
        let is_known = |name: &Arc<str>| entries.get(name).is_some_and(|entry| entry.is_for(name));
        let mut seen = HashSet::new();
        let new = names.iter().filter(|name| !is_known(name) && seen.insert(Arc::clone(name)));
        let new: Vec<_> = new.cloned().collect();
        for names in new.chunks(self.names_per_message) {
            let outcome = send(names.to_vec());
            let message = Rc::new(SentMessage { names: names.to_vec(), outcome });
            let new = (0..).map(|index| Entry { message: Rc::clone(&message), index });
            entries.extend(names.iter().cloned().zip(new));
        }
        names.iter().filter_map(|name| entries.get(name).cloned()).collect()
    }
}

impl<E: Clone> Entry<E> {
    async fn evaluation(&self) -> Result<E, Error> {
        let missing = Error::Internal { detail: "fewer evaluations than names" };
        self.message.outcome.clone().await?.get(self.index).cloned().ok_or(missing)
    }

    /// Returns whether the message is in flight, or its outcome applies to this name: an
    /// evaluation, or an error that another name did not cause.
    fn is_for(&self, name: &Arc<str>) -> bool {
        match self.message.outcome.peek() {
            Some(Err(error)) => self.message.failed_because_of(std::slice::from_ref(name), error),
            _ => true,
        }
    }
}

impl<E> SentMessage<E> {
    /// Returns whether the message's error applies to these names, that is, no other name caused
    /// it.
    fn failed_because_of(&self, names: &[Arc<str>], error: &Error) -> bool {
        match error {
            Error::MissingName { name, .. } => names.contains(name),
            Error::InvalidName { .. } => names.iter().any(|name| check_name(name).is_err()),
            // Statsig does not say which name it refused.
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

    /// Records the messages. Each name's evaluation is the name and the message's number.
    struct Statsig {
        messages: RefCell<Vec<Vec<Arc<str>>>>,
        fails_with: RefCell<Option<Error>>,
        /// Holds back the answers until it is closed.
        hold: Rc<Semaphore>,
    }

    impl Statsig {
        fn holding() -> Self {
            let hold = Rc::new(Semaphore::new(0));
            Self { messages: RefCell::default(), fails_with: RefCell::default(), hold }
        }

        fn answering() -> Self {
            let statsig = Self::holding();
            statsig.hold.close();
            statsig
        }

        fn send(&self, names: Vec<Arc<str>>) -> SharedOutcome<String> {
            self.messages.borrow_mut().push(names.clone());
            let number = self.messages.borrow().len();
            let answers = names.iter().map(|name| format!("{name} {number}")).collect();
            let outcome = self.fails_with.take().map_or(Ok(answers), Err);
            let hold = Rc::clone(&self.hold);
            let answer = released(hold).map(|()| outcome);
            answer.boxed_local().shared()
        }

        fn messages(&self) -> Vec<String> {
            self.messages.borrow().iter().map(|names| names.join(" ")).collect()
        }
    }

    async fn released(hold: Rc<Semaphore>) {
        let _ = hold.acquire().await;
    }

    fn names(names: &str) -> Vec<Arc<str>> {
        names.split_whitespace().map(Into::into).collect()
    }

    fn evaluate(memo: &Memo<String>, statsig: &Statsig, list: &str) -> Result<Vec<String>, Error> {
        let send = |names| statsig.send(names);
        memo.evaluations(&names(list), send).now_or_never().expect("an answer at once")
    }

    /// Polls the callers once, then releases the answers.
    fn release_after_poll<T>(statsig: &Statsig, callers: impl Future<Output = T>) -> T {
        let mut callers = pin!(callers);
        assert!(callers.as_mut().now_or_never().is_none());
        statsig.hold.close();
        callers.now_or_never().expect("an answer at once")
    }

    fn missing(name: &str) -> Error {
        Error::MissingName { path: PATH, name: name.into() }
    }

    #[test]
    fn names_that_are_new_are_asked_for_together_and_each_once() {
        let (memo, statsig) = (Memo::new(usize::MAX), Statsig::answering());

        assert_eq!(
            evaluate(&memo, &statsig, "pear fig pear").unwrap(),
            ["pear 1", "fig 1", "pear 1"]
        );
        assert_eq!(evaluate(&memo, &statsig, "plum fig").unwrap(), ["plum 2", "fig 1"]);
        assert_eq!(evaluate(&memo, &statsig, "fig").unwrap(), ["fig 1"]);
        assert!(evaluate(&memo, &statsig, "").unwrap().is_empty());

        assert_eq!(statsig.messages(), ["pear fig", "plum"]);
    }

    #[test]
    fn pending_answer_is_joined_after_its_first_caller_left() {
        let (memo, statsig) = (Memo::new(usize::MAX), Statsig::holding());
        let send = |names| statsig.send(names);
        let fig = names("fig");
        assert!(memo.evaluations(&fig, send).now_or_never().is_none(), "dropped before the answer");

        let (one, other) = (memo.evaluations(&fig, send), memo.evaluations(&fig, send));
        let (one, other) = release_after_poll(&statsig, join(one, other));

        let fig = vec!["fig 1".to_owned()];
        assert_eq!((one.unwrap(), other.unwrap()), (fig.clone(), fig));
        assert_eq!(statsig.messages(), ["fig"]);
    }

    #[test]
    fn error_is_an_answer_too() {
        let (memo, statsig) = (Memo::new(usize::MAX), Statsig::answering());
        statsig.fails_with.replace(Some(Error::Overloaded { limit: 1 }));

        for list in ["pear fig", "pear", "fig plum"] {
            let answer = evaluate(&memo, &statsig, list);
            assert!(matches!(answer, Err(Error::Overloaded { .. })), "{answer:?}");
        }

        assert_eq!(statsig.messages(), ["pear fig", "plum"]);
    }

    #[test]
    fn failing_name_does_not_fail_the_names_beside_it() {
        let (memo, statsig) = (Memo::new(usize::MAX), Statsig::answering());
        statsig.fails_with.replace(Some(missing("fig")));
        assert!(evaluate(&memo, &statsig, "pear fig").is_err());
        let rule = "may not have it";
        statsig.fails_with.replace(Some(Error::InvalidName { name: "p/um".into(), rule }));
        assert!(evaluate(&memo, &statsig, "plum p/um").is_err());

        assert_eq!(evaluate(&memo, &statsig, "pear plum").unwrap(), ["pear 3", "plum 3"]);
        assert!(
            evaluate(&memo, &statsig, "fig").is_err() && evaluate(&memo, &statsig, "p/um").is_err()
        );
        assert_eq!(statsig.messages(), ["pear fig", "plum p/um", "pear plum"]);
    }

    #[test]
    fn joiner_of_a_name_that_failed_with_another_asks_again() {
        let (memo, statsig) = (Memo::new(usize::MAX), Statsig::holding());
        statsig.fails_with.replace(Some(missing("fig")));
        let send = |names| statsig.send(names);
        let (both, pear) = (names("pear fig"), names("pear"));

        let (both, pear) = (memo.evaluations(&both, send), memo.evaluations(&pear, send));
        let (both, pear) = release_after_poll(&statsig, join(both, pear));

        assert!(matches!(both, Err(Error::MissingName { .. })), "{both:?}");
        assert_eq!(pear.unwrap(), ["pear 2"]);
    }

    #[test]
    fn joiner_of_two_failed_messages_gets_an_answer() {
        let (memo, first, second) = (Memo::new(usize::MAX), Statsig::holding(), Statsig::holding());
        first.fails_with.replace(Some(missing("fig")));
        second.fails_with.replace(Some(missing("plum")));
        let with_fig = names("pear fig");
        assert!(memo.evaluations(&with_fig, |names| first.send(names)).now_or_never().is_none());
        let pear = names("pear");
        let mut joined = pin!(memo.evaluations(&pear, |names| second.send(names)));
        assert!(joined.as_mut().now_or_never().is_none(), "waits for the first message");
        first.hold.close();
        // Another caller sees the first message's outcome before the joined caller does.
        let with_plum = names("pear plum");
        let ended = memo.evaluations(&with_fig, |names| first.send(names)).now_or_never();
        assert!(matches!(ended, Some(Err(Error::MissingName { .. }))), "{ended:?}");
        assert!(memo.evaluations(&with_plum, |names| second.send(names)).now_or_never().is_none());

        let joined = release_after_poll(&second, joined);

        assert_eq!(joined.unwrap(), ["pear 2"]);
        assert_eq!(second.messages(), ["pear plum", "pear"]);
    }

    #[test]
    fn refusal_belongs_to_a_name_only_if_asked_alone() {
        let (memo, statsig) = (Memo::new(usize::MAX), Statsig::answering());
        let refused = Error::Refused { path: PATH, status: 400, excerpt: String::new() };
        for _ in 0..2 {
            statsig.fails_with.replace(Some(refused.clone()));
            assert!(evaluate(&memo, &statsig, "pear fig").is_err());
        }
        statsig.fails_with.replace(Some(refused));
        assert!(evaluate(&memo, &statsig, "fig").is_err());

        assert_eq!(evaluate(&memo, &statsig, "pear").unwrap(), ["pear 4"]);
        assert!(evaluate(&memo, &statsig, "fig").is_err());
        assert_eq!(statsig.messages(), ["pear fig", "pear fig", "fig", "pear"]);
    }

    #[test]
    fn names_with_calls_of_their_own_are_independent() {
        let (memo, statsig) = (Memo::new(1), Statsig::answering());
        statsig.fails_with.replace(Some(Error::Overloaded { limit: 1 }));
        assert!(evaluate(&memo, &statsig, "pear fig").is_err());
        assert_eq!(statsig.messages(), ["pear", "fig"]);
        assert_eq!(evaluate(&memo, &statsig, "fig").unwrap(), ["fig 2"]);
        assert!(evaluate(&memo, &statsig, "pear").is_err(), "an error is an answer too");

        let memo = Memo::new(1);
        let held = Statsig::holding();
        let plum = |names: Vec<Arc<str>>| {
            if *names[0] == *"plum" { held.send(names) } else { statsig.send(names) }
        };
        assert!(memo.evaluations(&names("plum kiwi"), plum).now_or_never().is_none());
        let kiwi =
            memo.evaluations(&names("kiwi"), plum).now_or_never().expect("an answer at once");
        assert_eq!(kiwi.unwrap(), ["kiwi 3"]);
    }

    #[test]
    fn new_name_does_not_wait_for_a_pending_one() {
        let memo = Memo::<String>::new(usize::MAX);
        let never = |_| pending().boxed_local().shared();
        assert!(memo.evaluations(&names("pear"), never).now_or_never().is_none());

        let is_sent = Rc::new(Cell::new(false));
        let send = |_| {
            let is_sent = Rc::clone(&is_sent);
            lazy(move |_| is_sent.set(true)).then(|()| pending()).boxed_local().shared()
        };
        assert!(memo.evaluations(&names("pear fig"), send).now_or_never().is_none());
        assert!(is_sent.get());
    }
}
