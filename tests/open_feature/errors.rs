//! The specification's error codes. Each error is counted once as a fallback.

use std::{sync::mpsc, time::Duration};

use actix_statsig::{
    CallKind, ErrorKind,
    open_feature::StatsigProvider,
    test_util::{Fault, Rules},
};
use open_feature::{
    EvaluationContext, EvaluationContextFieldValue as Field, EvaluationError,
    EvaluationErrorCode as Code, StructValue,
};
use serde_json::json;

use crate::{App, MINUTE, code, somebody};

fn rules() -> Rules {
    let homepage = json!({"theme": "dark", "columns": 3, "ratio": 1.5});
    Rules::new().gate("beta", true).config("homepage", homepage)
}

/// Requests a flag of each type, and returns the errors.
async fn each_type(app: &App, context: &EvaluationContext) -> [EvaluationError; 5] {
    let (client, context) = (&app.client, Some(context));
    let whole = client.get_struct_value::<StructValue>("homepage", context, None).await;
    [
        client.get_bool_value("beta", context, None).await.unwrap_err(),
        client.get_string_value("homepage.theme", context, None).await.unwrap_err(),
        client.get_int_value("homepage.columns", context, None).await.unwrap_err(),
        client.get_float_value("homepage.ratio", context, None).await.unwrap_err(),
        whole.unwrap_err(),
    ]
}

#[tokio::test]
async fn empty_config_without_rule_or_group_is_not_found() {
    let app = App::start(Rules::new()).await;
    let (client, context) = (&app.client, somebody());

    for flag_key in ["homepage", "homepage.theme"] {
        let string = client.get_string_value(flag_key, Some(&context), None).await;
        let int = client.get_int_value(flag_key, Some(&context), None).await;
        let float = client.get_float_value(flag_key, Some(&context), None).await;
        let whole = client.get_struct_value::<StructValue>(flag_key, Some(&context), None).await;
        for code in [code(string), code(int), code(float), code(whole)] {
            assert_eq!(code, Code::FlagNotFound, "{flag_key}");
        }
    }
    assert_eq!(app.statsig.stats().fallbacks[&ErrorKind::MissingName], 8);
}

#[tokio::test]
async fn empty_config_with_empty_ids_is_not_found() {
    let app = App::start(Rules::new()).await;
    let answer = json!({
        "name": "homepage", "value": {}, "group": "", "rule_id": "", "group_name": "",
    });
    app.server.inject(Fault::body(answer.to_string()).always());

    let context = somebody();
    let whole = app.client.get_struct_value::<StructValue>("homepage", Some(&context), None).await;

    assert_eq!(code(whole), Code::FlagNotFound);
}

#[tokio::test]
async fn config_with_a_rule_group_or_value_is_found() {
    let app = App::start(Rules::new()).await;
    let (client, context) = (&app.client, somebody());
    for (name, value, rule, group) in [
        ("ruled", json!({}), Some("2RamGs"), None),
        ("grouped", json!({}), None, Some("Test Group")),
        ("valued", json!({"theme": "dark"}), None, None),
    ] {
        let answer = json!({
            "name": name, "value": value, "group": "", "rule_id": rule, "group_name": group,
        });
        app.server.inject(Fault::body(answer.to_string()).for_name(name));
        let whole = client.get_struct_value::<StructValue>(name, Some(&context), None).await;
        assert_eq!(whole.unwrap().fields.len(), value.as_object().unwrap().len(), "{name}");
    }
}

#[tokio::test]
async fn missing_config_key_is_not_found() {
    let app = App::start(rules()).await;
    let context = somebody();
    let missing = app.client.get_string_value("homepage.font", Some(&context), None).await;
    let missing = missing.unwrap_err();

    assert_eq!(missing.code, Code::FlagNotFound);
    let message = missing.message.unwrap();
    assert_eq!(message, r#"missing_key: config "homepage" has no key "font""#);
    assert_eq!(app.statsig.stats().fallbacks[&ErrorKind::MissingKey], 1);
}

#[tokio::test]
async fn invalid_flag_name_is_not_found_and_not_sent() {
    let app = App::start(rules()).await;
    let (client, context) = (&app.client, somebody());
    let names = ["", "x", "a/b", "caf\u{e9}", &"g".repeat(101)];
    for name in names {
        let gate = client.get_bool_value(name, Some(&context), None).await;
        assert_eq!(code(gate), Code::FlagNotFound, "{name:?}");
        let theme = client.get_string_value(&format!("{name}.theme"), Some(&context), None).await;
        assert_eq!(code(theme), Code::FlagNotFound, "{name:?}");
    }
    assert_eq!(app.server.calls(), 0);
    assert_eq!(app.statsig.stats().fallbacks[&ErrorKind::InvalidName], 2 * names.len() as u64);
}

#[tokio::test]
async fn context_without_a_user_misses_the_targeting_key() {
    let app = App::start(rules()).await;
    let custom_ids = |id: &str| {
        let ids = StructValue::default().with_field("companyID", id);
        EvaluationContext::default().with_custom_field("customIDs", Field::new_struct(ids))
    };
    for context in [
        EvaluationContext::default(),
        EvaluationContext::default().with_targeting_key(""),
        EvaluationContext::default().with_custom_field("country", "NL"),
        EvaluationContext::default().with_custom_field("userID", "u-1"),
        custom_ids(""),
    ] {
        for error in each_type(&app, &context).await {
            assert_eq!(error.code, Code::TargetingKeyMissing, "{context:?}");
        }
    }
    assert_eq!(app.server.calls(), 0);
    assert_eq!(app.statsig.stats().fallbacks[&ErrorKind::InvalidUser], 25);

    // A custom id identifies a user, too.
    let company = app.client.get_bool_value("beta", Some(&custom_ids("c-1")), None).await;
    assert_eq!(company, Ok(true));
}

#[tokio::test]
async fn invalid_user_is_an_invalid_context() {
    let app = App::start(rules()).await;
    for error in each_type(&app, &somebody().with_custom_field("custom", "pro")).await {
        assert_eq!(error.code, Code::InvalidContext);
        let message = error.message.unwrap();
        assert_eq!(message, "invalid_user: user field `custom` must be an object");
    }
    assert_eq!((app.server.calls(), app.fallbacks()), (0, 5));
}

#[tokio::test]
async fn after_the_shutdown_the_provider_is_not_ready() {
    let app = App::start(rules()).await;
    // After the shutdown, even this cached answer is not used.
    app.client.get_bool_value("beta", Some(&somebody()), None).await.unwrap();

    app.statsig.shutdown(Duration::from_secs(5)).await;

    for error in each_type(&app, &somebody()).await {
        assert_eq!(error.code, Code::ProviderNotReady);
    }
    assert_eq!(app.statsig.stats().fallbacks[&ErrorKind::ShuttingDown], 5);
}

#[tokio::test]
async fn unreadable_answer_is_a_parse_error() {
    let app = App::start_with(rules(), |config| config.retry_attempts(1)).await;
    app.server.inject(Fault::garbage().always());
    for error in each_type(&app, &somebody()).await {
        assert_eq!(error.code, Code::ParseError);
    }
    assert_eq!(app.statsig.stats().fallbacks[&ErrorKind::InvalidResponse], 5);
}

#[tokio::test]
async fn errors_without_a_code_are_general_and_have_a_kind() {
    for (fault, attempt_timeout, kind) in [
        (Fault::status(503), MINUTE, "unavailable"),
        (Fault::status(401), MINUTE, "unauthorized"),
        (Fault::status(400), MINUTE, "refused"),
        (Fault::close(), MINUTE, "connect"),
        (Fault::hang(), Duration::from_millis(50), "attempt_timeout"),
    ] {
        let app = App::start_with(rules(), |config| {
            config.retry_attempts(1).circuit_breaker(false).attempt_timeout(attempt_timeout)
        })
        .await;
        app.server.inject(fault.always());
        for error in each_type(&app, &somebody()).await {
            assert_eq!(error.code, Code::General(kind.to_owned()));
            assert!(error.message.unwrap().starts_with(&format!("{kind}: ")));
        }
        let fallbacks = app.statsig.stats().fallbacks.into_iter();
        let fallbacks: Vec<_> = fallbacks.map(|(kind, count)| (kind.as_str(), count)).collect();
        assert_eq!(fallbacks, [(kind, 5)]);
    }
}

#[tokio::test]
async fn open_circuit_is_a_general_error() {
    let app = App::start_with(rules(), |config| config.retry_attempts(1)).await;
    app.server.inject(Fault::status(503).always());
    let unavailable = Code::General("unavailable".to_owned());
    let mut asked = 0;
    let code = loop {
        let context = somebody().with_targeting_key(format!("u-{asked}"));
        let code = code(app.client.get_bool_value("beta", Some(&context), None).await);
        if code != unavailable {
            break code;
        }
        asked += 1;
    };
    assert_eq!(code, Code::General("circuit_open".to_owned()));
    assert!(asked >= 10, "{asked}");
}

#[tokio::test]
async fn fallback_hook_hears_each_error_once() {
    let (told, fallbacks) = mpsc::channel();
    let app = App::start_with(rules(), |config| {
        config.on_fallback(move |fallback| told.send(fallback.clone()).unwrap())
    })
    .await;
    let (client, context) = (&app.client, somebody());

    let nobody = EvaluationContext::default();
    client.get_bool_value("beta", Some(&nobody), None).await.unwrap_err();
    client.get_bool_value("beta", Some(&context), None).await.unwrap();
    client.get_int_value("homepage.theme", Some(&context), None).await.unwrap_err();
    client.get_int_value("homepage.columns", Some(&context), None).await.unwrap();
    let whole = client.get_struct_value::<StructValue>("footer", Some(&context), None).await;
    whole.unwrap_err();

    let expected = [
        (CallKind::CheckGate, "beta", None, "invalid_user"),
        (CallKind::GetConfig, "homepage", Some("theme"), "wrong_type"),
        (CallKind::GetConfig, "footer", None, "missing_name"),
    ];
    for (kind, name, key, error) in expected {
        let fallback = fallbacks.recv_timeout(MINUTE).unwrap();
        assert_eq!((fallback.kind, &*fallback.name), (kind, name));
        assert_eq!((fallback.key.as_deref(), fallback.error.kind().as_str()), (key, error));
    }
    assert_eq!(app.fallbacks(), expected.len() as u64);
    assert!(fallbacks.try_recv().is_err());
}

#[tokio::test]
async fn promise_7_no_error_tells_a_private_attribute_or_the_key() {
    let app = App::start_with(rules(), |config| config.retry_attempts(1)).await;
    let private = |value: Field| somebody().with_custom_field("privateAttributes", value);
    let secret = StructValue::default().with_field("diagnosis", "hunter2");
    let misfit = StructValue::default().with_field("diagnosis", secret.clone());
    app.server.inject(Fault::status(400).with_body("no hunter2 for secret-key").always());

    let mut told = vec![format!("{:?}", StatsigProvider::new(app.statsig.clone()))];
    for context in [
        private(Field::new_struct(secret)),
        private(Field::new_struct(misfit)),
        private("hunter2".into()),
    ] {
        told.extend(each_type(&app, &context).await.map(|error| format!("{error:?}")));
    }

    for told in told {
        assert!(!told.contains("hunter2") && !told.contains("secret-key"), "{told}");
    }
}
