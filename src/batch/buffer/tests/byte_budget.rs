//! The byte budget of partial results.

use super::*;

/// Adds a request for two configs, and answers one of them with this many bytes.
fn add_and_answer(driven: &mut Driven, user: u8, bytes: usize) -> (RequestId, Effects) {
    let key = key(user, true);
    let names = vec!["hangs".into(), "large".into()];
    let (request, _) = driven.buffer.add(Request {
        key,
        kind: CallKind::GetConfig,
        names: names.into(),
        cached: PartialResults::new(),
        bypass_cache: false,
        deadline: driven.now + TIMEOUT,
    });
    let calls = driven.buffer.flush_all(&[]).calls;
    let (call, _) = calls.iter().find(|(_, call)| &*call.names[0] == "large").unwrap();
    let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes - 11));
    let evaluation = ConfigEvaluation::from_json("large", &text).unwrap().into();
    let outcome = Ok(vec![Some(evaluation)]);
    (request, driven.buffer.complete(*call, outcome, no_results(), driven.now))
}

#[test]
fn promise_4_partial_results_are_bounded_and_the_largest_fails() {
    let mut driven = Driven::new(100, Adaptive);
    driven.buffer.byte_budget = ByteBudget::new(10_000);
    let mut add = |user, bytes| {
        let (request, effects) = add_and_answer(&mut driven, user, bytes);
        (request, effects.answers, driven.buffer.byte_budget.total())
    };

    assert_eq!(add(0, 256).2, 0, "a small evaluation is not charged");
    let (_, answers, bytes) = add(1, 4_000);
    assert_eq!((answers.len(), bytes), (0, 4_000));
    let (largest, answers, bytes) = add(2, 6_000);
    assert_eq!((answers.len(), bytes), (0, 10_000));
    let (_, answers, bytes) = add(3, 1_000);

    assert_eq!((answers.len(), bytes), (1, 5_000));
    assert_eq!(answers[0].request, largest);
    assert!(matches!(answers[0].result, Err(Error::OverloadedBytes { limit: 10_000 })));
    driven.buffer.refuse_all(&Error::ShuttingDown);
    assert_eq!(driven.buffer.byte_budget.total(), 0);
}

#[test]
fn answer_that_many_requests_hold_counts_once() {
    let mut driven = Driven::new(100, Adaptive);
    driven.buffer.byte_budget = ByteBudget::new(10_000);
    let names: Vec<Arc<str>> = vec!["hangs".into(), "large".into()];
    for _ in 0..100 {
        driven.add(key(1, true), CallKind::GetConfig, names.clone());
    }
    let (_, effects) = add_and_answer(&mut driven, 1, 9_000);
    assert!(effects.answers.is_empty());
    assert_eq!((driven.buffer.byte_budget.total(), driven.buffer.pending()), (9_000, 101));
}

#[test]
fn promise_4_cached_partial_results_count_once() {
    let mut driven = Driven::new(100, Adaptive);
    driven.buffer.byte_budget = ByteBudget::new(10_000);
    let cached = |bytes: usize| {
        let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes - 11));
        ConfigEvaluation::from_json("cached", &text).unwrap().into()
    };
    let add_cached = |driven: &mut Driven, user, evaluation: &Evaluation| {
        let names: Vec<Arc<str>> = vec!["cached".into(), "hangs".into()];
        let (request, _) = driven.buffer.add(Request {
            key: key(user, true),
            kind: CallKind::GetConfig,
            names: names.into(),
            cached: [Some(evaluation.with_origin(Origin::Cache { age_ms: 1 }))]
                .into_iter()
                .collect(),
            bypass_cache: false,
            deadline: driven.now + TIMEOUT,
        });
        request
    };
    let evaluation: Evaluation = cached(6_000);
    for user in 0..10 {
        add_cached(&mut driven, user, &evaluation);
    }
    assert_eq!(driven.buffer.byte_budget.total(), 6_000);

    let newer = add_cached(&mut driven, 1, &cached(7_000));
    assert_eq!(
        driven.buffer.byte_budget.total(),
        13_000,
        "the next delivery sheds what exceeds the budget"
    );
    let (_, effects) = add_and_answer(&mut driven, 2, 300);
    assert_eq!(effects.answers.iter().map(|answer| answer.request).collect::<Vec<_>>(), [newer]);
    assert!(matches!(effects.answers[0].result, Err(Error::OverloadedBytes { .. })));
    assert_eq!(driven.buffer.byte_budget.total(), 6_300);
    driven.buffer.refuse_all(&Error::ShuttingDown);
    assert_eq!(driven.buffer.byte_budget.total(), 0);
}
