use std::io::ErrorKind;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{config::Config, transport::http::connect::socket::Tcp};

/// A stream and the server's end of its connection.
async fn pair(options: Options) -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let shared = Arc::new(Shared::new(&Config::builder("key").build().unwrap()));
    (Stream::new(Some(Socket::Plain(Tcp::new(client))), 0, shared, options), server)
}

const REQUEST: &str = "POST /v1/check_gate HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

async fn received(server: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    server.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn exchange(stream: &mut Stream, server: &mut TcpStream) {
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    assert_eq!(received(server, REQUEST.len()).await, REQUEST);
    server.write_all(ANSWER.as_bytes()).await.unwrap();
    let mut answer = vec![0; ANSWER.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, ANSWER.as_bytes());
}

/// The runtime has not polled its sockets by the time the request is written.
#[actix_rt::test]
async fn request_is_not_written_where_bytes_wait_in_the_kernel() {
    for exchanges in [0, 1, 2] {
        let (mut stream, server) = pair(Options::default()).await;
        let mut server = server;
        for _ in 0..exchanges {
            exchange(&mut stream, &mut server).await;
        }
        let server = server.into_std().unwrap();
        server.set_nonblocking(false).unwrap();
        std::io::Write::write_all(&mut &server, ANSWER.as_bytes()).unwrap();
        stream.socket.as_ref().unwrap().wait_for_bytes(1);

        let written = stream.write_all(REQUEST.as_bytes()).await;

        assert_eq!(written.unwrap_err().kind(), ErrorKind::ConnectionAborted);
        assert!(stream.tracker.is_discarded());
        drop(stream);
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut &server, &mut rest);
        assert!(rest.is_empty(), "no part of the request was sent");
    }
}

/// The server cannot have read a request whose end is not written yet.
#[actix_rt::test]
async fn request_is_not_written_to_its_end_where_bytes_came_meanwhile() {
    let (mut stream, mut server) = pair(Options::default()).await;
    exchange(&mut stream, &mut server).await;
    let (head, body) = REQUEST.as_bytes().split_at(REQUEST.len() - 2);
    stream.write_all(head).await.unwrap();
    server.write_all(ANSWER.as_bytes()).await.unwrap();
    stream.socket.as_ref().unwrap().wait_for_bytes(1);

    let written = stream.write_all(body).await;

    assert_eq!(written.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert!(stream.tracker.is_discarded());
}

#[actix_rt::test]
async fn first_request_of_a_connection_may_be_answered_before_its_end() {
    let (mut stream, mut server) = pair(Options::default()).await;
    let (head, body) = REQUEST.as_bytes().split_at(REQUEST.len() - 2);
    stream.write_all(head).await.unwrap();
    server.write_all(ANSWER.as_bytes()).await.unwrap();
    stream.socket.as_ref().unwrap().wait_for_bytes(ANSWER.len());
    stream.write_all(body).await.unwrap();
    let mut answer = vec![0; ANSWER.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, ANSWER.as_bytes());
}

#[actix_rt::test]
async fn request_is_not_written_after_an_unread_answer() {
    let (mut stream, mut server) = pair(Options::default()).await;
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    server.write_all(&ANSWER.as_bytes()[..ANSWER.len() - 1]).await.unwrap();
    stream.read_exact(&mut [0; 10]).await.unwrap();

    let written = stream.write_all(REQUEST.as_bytes()).await;

    assert_eq!(written.unwrap_err().kind(), ErrorKind::ConnectionAborted);
}

#[actix_rt::test]
async fn pooled_connection_closes_once_another_is_off_by_one() {
    let (mut stream, mut server) = pair(Options::default()).await;
    exchange(&mut stream, &mut server).await;
    stream.shared.end_connections_of(0);

    assert_eq!(stream.read(&mut [0; 2]).await.unwrap(), 0);
    assert!(stream.write_all(REQUEST.as_bytes()).await.is_err());
}

#[actix_rt::test]
async fn single_use_connection_is_at_its_end_after_an_answer() {
    let options = Options { is_single_use: true, ..Options::default() };
    let (mut stream, mut server) = pair(options).await;
    exchange(&mut stream, &mut server).await;

    assert_eq!(stream.read(&mut [0; 2]).await.unwrap(), 0);
}

#[actix_rt::test]
async fn every_request_line_is_put_into_absolute_form() {
    let form = "http://api.example:8080";
    let options = Options { absolute_form: Some(form.into()), ..Options::default() };
    let (mut stream, mut server) = pair(options).await;
    let expected = REQUEST.replacen('/', &format!("{form}/"), 1);
    for _ in 0..3 {
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        assert_eq!(received(&mut server, expected.len()).await, expected);
        server.write_all(ANSWER.as_bytes()).await.unwrap();
        stream.read_exact(&mut vec![0; ANSWER.len()]).await.unwrap();
    }
}
