//! Bytes that arrive on an idle connection, and answers that no caller waits for any more.

use std::time::Duration;

use actix_statsig::Error;

use crate::{
    assert_right, over_both, start,
    support::hostile::{Connection, Hostile, in_chunks, stray, with_length},
    user,
};

const TIMEOUT_408: &str =
    "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

#[actix_rt::test]
async fn stray_answer_on_an_idle_connection_goes_to_nobody() {
    let serve = |mut connection: Connection| async move {
        while let Some(request) = connection.request().await? {
            connection.answer(&request).await?;
            tokio::time::sleep(Duration::from_millis(3)).await;
            let answer = [with_length, in_chunks][connection.number % 2](&stray());
            connection.write(answer).await?;
            connection.mark();
        }
        Ok(())
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        for n in 0..40 {
            assert_right(&statsig, "beta", n).await;
            server.marked(n + 1).await;
        }
        assert_eq!((server.connections(), server.requests()), (40, 40));
    });
}

/// With TLS, half a record reveals nothing of its content.
#[actix_rt::test]
async fn stray_answer_begun_before_the_request_goes_to_nobody() {
    let serve = |mut connection: Connection| async move {
        let Some(request) = connection.request().await? else { return Ok(()) };
        connection.answer(&request).await?;
        connection.write_half(with_length(&stray())).await?;
        connection.mark();
        if connection.request().await?.is_some() {
            connection.write_other_half().await?;
        }
        connection.answer_all().await
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        for n in 0..20 {
            assert_right(&statsig, "beta", n).await;
            server.marked(n + 1).await;
        }
        assert_eq!((server.connections(), server.requests()), (20, 20));
    });
}

#[actix_rt::test]
async fn idle_connection_that_says_408_died_on_reuse() {
    let serve = |mut connection: Connection| async move {
        let request = connection.request().await?.expect("a request");
        connection.answer(&request).await?;
        connection.write(TIMEOUT_408).await?;
        connection.mark();
        connection.close().await
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        for n in 0..40 {
            assert_right(&statsig, "beta", n).await;
            server.marked(n + 1).await;
        }
        assert_eq!((server.connections(), server.requests()), (40, 40));
    });
}

#[actix_rt::test]
async fn reused_connection_answering_408_died_on_reuse() {
    let serve = |mut connection: Connection| async move {
        let request = connection.request().await?.expect("a request");
        connection.answer(&request).await?;
        if connection.request().await?.is_some() {
            connection.write(TIMEOUT_408).await?;
        }
        connection.close().await
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        for n in 0..40 {
            assert_right(&statsig, "beta", n).await;
        }
        // No attempt is counted, so there is no error.
        assert!(statsig.stats().errors.is_empty());
    });
}

#[actix_rt::test]
async fn fresh_connection_that_says_408_has_answered() {
    let serve = |mut connection: Connection| async move {
        connection.request().await?;
        connection.write(TIMEOUT_408).await?;
        connection.close().await
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        let error = statsig.gate_evaluation(&user(1), "beta").await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { status: 408, .. }), "{error:?}");
        assert_eq!((server.connections(), server.requests()), (1, 1));
    });
}

#[actix_rt::test]
async fn attempt_that_is_given_up_takes_its_connection_with_it() {
    let serve = |mut connection: Connection| async move {
        if connection.number > 0 {
            return connection.answer_all().await;
        }
        let request = connection.request().await?.expect("a request");
        let answer = with_length(&request.answer());
        // The client sees half an answer, which may be only part of the head; either way the
        // attempt waits for more.
        connection.write(&answer[..answer.len() / 2]).await?;
        // Sends the rest of the answer only after the client has closed the connection.
        assert!(!matches!(connection.request().await, Ok(Some(_))));
        connection.mark();
        let _ = connection.write(&answer[answer.len() / 2..]).await;
        Ok(())
    };
    over_both!(serve, async |server: Hostile| {
        let config = server.config().attempt_timeout(Duration::from_millis(200));
        let statsig = start(config);
        let error = statsig.gate_evaluation(&user(1), "beta").await.unwrap_err();
        assert!(matches!(error, Error::AttemptTimeout { .. }), "{error:?}");
        server.marked(1).await;
        for n in 2..10 {
            assert_right(&statsig, "beta", n).await;
        }
        assert_eq!(server.connections(), 2);
    });
}
