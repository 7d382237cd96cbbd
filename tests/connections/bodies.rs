//! Where bodies end, and where they should have.

use std::sync::Arc;

use actix_statsig::{ConnectFault, Error};
use serde_json::Value;

use crate::{
    assert_all_right, assert_right, over_both, pause, start,
    support::hostile::{Connection, Hostile, in_chunks, stray, with_length},
    user,
};

fn until_close(version: &str, body: &Value) -> String {
    format!("HTTP/{version} 200 OK\r\ncontent-type: application/json\r\n\r\n{body}")
}

#[actix_rt::test]
async fn chunked_bodies_are_read_whole_and_connections_reused() {
    let serve = |mut connection: Connection| async move {
        while let Some(request) = connection.request().await? {
            for part in in_chunks(&request.answer()).as_bytes().chunks(61) {
                connection.write(part).await?;
            }
        }
        Ok(())
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        assert_all_right(&statsig).await;
        assert!(server.connections() <= 20, "{} connections", server.connections());
    });
}

#[actix_rt::test]
async fn body_that_the_connections_end_ends_is_read_to_that_end() {
    for version in ["1.0", "1.1"] {
        let serve = move |mut connection: Connection| async move {
            if let Some(request) = connection.request().await? {
                for part in until_close(version, &request.answer()).as_bytes().chunks(61) {
                    connection.write(part).await?;
                }
            }
            connection.close().await
        };
        over_both!(serve, async |server: Hostile| {
            let statsig = start(server.config());
            for n in 0..5 {
                assert_right(&statsig, "beta", n).await;
            }
            assert_eq!(server.connections(), 5);
        });
    }
}

#[actix_rt::test]
async fn connection_with_a_doubtful_head_is_not_reused() {
    let answers: [fn(&Value) -> String; 4] = [
        // Two ends.
        |body| in_chunks(body).replacen("\r\n", "\r\ncontent-length: 5\r\n", 1),
        // HTTP/1.0 closes, whatever it says.
        |body| with_length(body).replacen("HTTP/1.1", "HTTP/1.0", 1),
        |body| with_length(body).replacen("\r\n", "\r\nconnection: keep-alive, close\r\n", 1),
        |body| with_length(body).replacen("\r\n", "\r\nconnection: upgrade\r\n", 1),
    ];
    for answer in answers {
        let serve = move |mut connection: Connection| async move {
            while let Some(request) = connection.request().await? {
                connection.write(answer(&request.answer())).await?;
            }
            Ok(())
        };
        over_both!(serve, async |server: Hostile| {
            let statsig = start(server.config());
            for n in 0..5 {
                assert_right(&statsig, "beta", n).await;
            }
            server.ended(5).await;
            assert_eq!(server.requests(), 5);
        });
    }
}

/// As a proxy leaves it that packs a body anew: RFC 9112, section 6.3, has the chunks count.
#[actix_rt::test]
async fn length_beside_chunks_says_nothing_of_the_body() {
    for length in ["5", "4000", "9000000"] {
        let serve = move |mut connection: Connection| async move {
            while let Some(request) = connection.request().await? {
                let line = format!("\r\ncontent-length: {length}\r\n");
                connection.write(in_chunks(&request.answer()).replacen("\r\n", &line, 1)).await?;
            }
            Ok(())
        };
        over_both!(serve, async |server: Hostile| {
            let statsig = start(server.config());
            for n in 0..3 {
                assert_right(&statsig, "beta", n).await;
            }
            assert_eq!((server.connections(), server.requests()), (3, 3), "{length}");
        });
    }
}

#[actix_rt::test]
async fn head_that_contradicts_itself_is_an_error() {
    for line in [
        "content-length: 5",
        "content-length: 5, 6",
        "content-length: +5",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: identity",
    ] {
        let serve = move |mut connection: Connection| async move {
            while let Some(request) = connection.request().await? {
                let answer = with_length(&request.answer());
                connection.write(answer.replacen("\r\n", &format!("\r\n{line}\r\n"), 1)).await?;
            }
            Ok(())
        };
        over_both!(serve, async |server: Hostile| {
            let statsig = start(server.config());
            let error = statsig.gate_evaluation(&user(1), "beta").await.unwrap_err();
            assert_eq!(error.kind().as_str(), "invalid_response", "{line}: {error}");
        });
    }
}

#[actix_rt::test]
async fn answer_that_ends_early_is_asked_for_again() {
    let cuts: [fn(&Value) -> String; 5] = [
        |body| with_length(body)[..40].to_owned(),
        |body| with_length(body).strip_suffix('}').unwrap().to_owned(),
        |body| in_chunks(body).strip_suffix("0\r\nx-checked: yes\r\n\r\n").unwrap().to_owned(),
        |body| in_chunks(body).strip_suffix("\r\n").unwrap().to_owned(),
        |_| "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
    ];
    for cut in cuts {
        let serve = move |mut connection: Connection| async move {
            if connection.number > 0 {
                return connection.answer_all().await;
            }
            let request = connection.request().await?.expect("a request");
            connection.write(cut(&request.answer())).await?;
            connection.close().await
        };
        over_both!(serve, async |server: Hostile| {
            let statsig = start(server.config().retry_attempts(2));
            for n in 0..5 {
                assert_right(&statsig, "beta", n).await;
            }
            assert_eq!((server.connections(), server.requests()), (2, 6));
        });
        over_both!(serve, async |server: Hostile| {
            let statsig = start(server.config());
            let error = statsig.gate_evaluation(&user(1), "beta").await.unwrap_err();
            let closed = matches!(&error, Error::Connect { fault: ConnectFault::Closed, .. });
            assert!(closed, "{error:?}");
        });
    }
}

#[actix_rt::test]
async fn surplus_bytes_go_to_nobody_and_end_reuse() {
    let surpluses = ["\r\n", "}", "HTTP/1.1 100 Continue\r\n\r\n", &with_length(&stray())];
    for surplus in surpluses.map(Arc::<str>::from) {
        let serve = move |mut connection: Connection| {
            let surplus = Arc::clone(&surplus);
            async move {
                while let Some(request) = connection.request().await? {
                    let answers: [fn(&Value) -> String; 2] = [with_length, in_chunks];
                    let answer = answers[connection.number % 2](&request.answer());
                    connection.write([&*answer, &*surplus].concat()).await?;
                }
                Ok(())
            }
        };
        over_both!(serve.clone(), async |server: Hostile| {
            let statsig = start(server.config());
            for n in 0..6 {
                assert_right(&statsig, "beta", n).await;
            }
            assert_eq!((server.connections(), server.requests()), (6, 6));
        });
    }
}

/// What comes as the request does can be seen too late to keep it back, and is no answer, with or
/// without an end of a line in it.
#[actix_rt::test]
async fn late_surplus_bytes_are_no_answer() {
    for surplus in ["}\r\n".to_owned(), "x".repeat(100_000)].map(Arc::<str>::from) {
        let serve = move |mut connection: Connection| {
            let surplus = Arc::clone(&surplus);
            async move {
                let request = connection.request().await?.expect("a request");
                connection.answer(&request).await?;
                if let Some(request) = connection.request().await? {
                    connection.write(&*surplus).await?;
                    connection.answer(&request).await?;
                }
                connection.answer_all().await
            }
        };
        over_both!(serve.clone(), async |server: Hostile| {
            let statsig = start(server.config());
            for n in 0..5 {
                assert_right(&statsig, "beta", n).await;
            }
            assert_eq!(statsig.stats().errors.len(), 0);
        });
    }
}

/// Of two answers that come together the first may be another's.
#[actix_rt::test]
async fn answer_followed_by_another_on_reuse_is_retried() {
    let serve = |mut connection: Connection| async move {
        let request = connection.request().await?.expect("a request");
        connection.answer(&request).await?;
        if let Some(request) = connection.request().await? {
            let both = [with_length(&stray()), with_length(&request.answer())].concat();
            connection.write(both).await?;
        }
        connection.answer_all().await
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        for n in 0..4 {
            assert_right(&statsig, "beta", n).await;
        }
        assert_eq!(statsig.stats().errors.len(), 0);
    });
}

/// However it arrives: with the head or after it.
#[actix_rt::test]
async fn body_that_cannot_be_read_is_said_to_be_one() {
    for in_parts in [false, true] {
        let serve = move |mut connection: Connection| async move {
            let request = connection.request().await?.expect("a request");
            let answer = in_chunks(&request.answer()).replace("\r\n7;a=", "\r\nseven;a=");
            let head = if in_parts { answer.find("\r\n\r\n").expect("a head") + 4 } else { 0 };
            connection.write(&answer[..head]).await?;
            if in_parts {
                pause(20).await;
            }
            connection.write(&answer[head..]).await?;
            connection.answer_all().await
        };
        over_both!(serve, async |server: Hostile| {
            let statsig = start(server.config());
            let error = statsig.gate_evaluation(&user(1), "beta").await.unwrap_err();
            let Error::InvalidResponse { reason, .. } = error else { panic!("{error:?}") };
            assert!(reason.contains("malformed chunk"), "{reason}");
        });
    }
}

/// awc takes a websocket to begin where the body is.
#[actix_rt::test]
async fn answer_that_offers_a_websocket_is_an_error_that_says_so() {
    let serve = |mut connection: Connection| async move {
        let request = connection.request().await?.expect("a request");
        let answer = with_length(&request.answer());
        connection.write(answer.replacen("\r\n", "\r\nupgrade: WebSocket\r\n", 1)).await?;
        connection.answer_all().await
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        let error = statsig.gate_evaluation(&user(1), "beta").await.unwrap_err();
        let Error::InvalidResponse { reason, .. } = error else { panic!("{error:?}") };
        assert!(reason.contains("switches protocols"), "{reason}");
    });
}
