//! Interim responses before the answer.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use actix_statsig::Error;

use crate::{
    assert_all_right, assert_right, over_both, pause, start,
    support::hostile::{Connection, Hostile, Request, with_length},
    user,
};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const PROCESSING: &str = "HTTP/1.1 102 Processing\r\nx-a: b\r\n\r\n";
const HINTS: &str =
    "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\ncontent-length: 3\r\n\r\n";

/// Sends something before the answer, in a different way each time.
async fn answer(connection: &mut Connection, request: &Request, way: usize) -> io::Result<()> {
    let answer = with_length(&request.answer());
    match way % 8 {
        0 => {
            connection.write(CONTINUE).await?;
            pause(10).await;
        }
        1 => {
            connection.write(PROCESSING).await?;
            pause(20).await;
        }
        2 => {
            connection.write(HINTS).await?;
            pause(12).await;
        }
        3 => {
            for _ in 0..5 {
                connection.write([CONTINUE, HINTS].concat()).await?;
                pause(2).await;
            }
        }
        4 => return connection.write([CONTINUE, PROCESSING, &*answer].concat()).await,
        5 => {
            for byte in CONTINUE.bytes() {
                connection.write([byte]).await?;
            }
            pause(10).await;
            for part in answer.as_bytes().chunks(3) {
                connection.write(part).await?;
            }
            return Ok(());
        }
        6 => {
            let (before, after) = answer.split_at(25);
            connection.write([HINTS, before].concat()).await?;
            pause(10).await;
            return connection.write(after).await;
        }
        _ => {}
    }
    connection.write(answer).await
}

#[actix_rt::test]
async fn interim_responses_are_read_over() {
    let count = Arc::new(AtomicUsize::new(0));
    let serve = move |mut connection: Connection| {
        let count = Arc::clone(&count);
        async move {
            while let Some(request) = connection.request().await? {
                answer(&mut connection, &request, count.fetch_add(1, Relaxed)).await?;
            }
            Ok(())
        }
    };
    over_both!(serve.clone(), async |server: Hostile| {
        let statsig = start(server.config());
        assert_all_right(&statsig).await;
        assert_eq!(server.requests(), 240, "each request was sent once");
    });
}

#[actix_rt::test]
async fn interim_responses_after_the_answer_go_to_nobody() {
    let serve = |mut connection: Connection| async move {
        while let Some(request) = connection.request().await? {
            connection.answer(&request).await?;
            connection.write(CONTINUE).await?;
            connection.mark();
        }
        Ok(())
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
async fn interim_response_ends_the_reuse_of_its_connection() {
    let serve = |mut connection: Connection| async move {
        while let Some(request) = connection.request().await? {
            connection.write([CONTINUE, &with_length(&request.answer())].concat()).await?;
        }
        Ok(())
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        for n in 0..5 {
            assert_right(&statsig, "beta", n).await;
        }
        server.ended(5).await;
        assert_eq!(server.connections(), 5);
    });
}

#[actix_rt::test]
async fn endless_interim_responses_and_switching_protocols_are_errors() {
    for head in [CONTINUE, "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n"] {
        let serve = move |mut connection: Connection| async move {
            connection.request().await?;
            loop {
                connection.write(head).await?;
            }
        };
        over_both!(serve, async |server: Hostile| {
            let statsig = start(server.config());
            let error = statsig.gate_evaluation(&user(1), "beta").await.unwrap_err();
            let Error::InvalidResponse { reason, .. } = error else { panic!("{error:?}") };
            assert!(reason.starts_with("not an HTTP response"), "{reason}");
        });
    }
}
