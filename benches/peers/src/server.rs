//! A server that answers `POST /v1/check_gate` as Statsig's HTTP API does: every gate is open. It
//! does as little work as possible.

use std::{cell::Cell, io, io::Write, rc::Rc, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::LocalSet,
    time::sleep,
};

/// Prints its URL, then the number of calls for each line of input. Exits at the end of the input.
pub fn run(delay: Duration) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("http://{}", listener.local_addr()?);
        let calls = Rc::new(Cell::new(0));
        tokio::task::spawn_local(accept(listener, delay, Rc::clone(&calls)));
        let mut orders = BufReader::new(tokio::io::stdin()).lines();
        while orders.next_line().await?.is_some() {
            println!("{}", calls.get());
        }
        // Exit without waiting for the thread that is blocked on reading the standard input.
        std::process::exit(0)
    })
}

async fn accept(listener: TcpListener, delay: Duration, calls: Rc<Cell<u64>>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(connection(stream, delay, Rc::clone(&calls)));
    }
}

async fn connection(
    mut stream: TcpStream,
    delay: Duration,
    calls: Rc<Cell<u64>>,
) -> io::Result<()> {
    let (mut received, mut answer) = (Vec::with_capacity(16 * 1024), Vec::with_capacity(16 * 1024));
    loop {
        let Some(request) = request(&received)? else {
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
            continue;
        };
        calls.set(calls.get() + 1);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        answer.clear();
        write_answer(&mut answer, &received[request.clone()])?;
        stream.write_all(&answer).await?;
        received.drain(..request.end);
    }
}

/// Returns the position of the request's body, if the body has arrived in full.
fn request(received: &[u8]) -> io::Result<Option<std::ops::Range<usize>>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) =
        request.parse(received).map_err(|_| invalid("a head that is no head"))?
    else {
        return Ok(None);
    };
    if (request.method, request.path) != (Some("POST"), Some("/v1/check_gate")) {
        return Err(invalid("a call that is not known"));
    }
    let length = request.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|length| str::from_utf8(length.value).ok()?.parse::<usize>().ok());
    let body = head..head + length.ok_or_else(|| invalid("a request without a length"))?;
    Ok((body.end <= received.len()).then_some(body))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CheckGate<'a> {
    #[serde(borrow)]
    gate_name: Option<&'a str>,
    #[serde(borrow, default)]
    gate_names: Vec<&'a str>,
}

fn write_answer(answer: &mut Vec<u8>, request: &[u8]) -> io::Result<()> {
    let CheckGate { gate_name, gate_names } = serde_json::from_slice(request)?;
    // Names need no escaping in JSON: the API allows no name that would.
    let length: usize = match gate_name {
        Some(name) => evaluation_length(name),
        None => {
            let entries = gate_names.iter().map(|name| name.len() + 4 + evaluation_length(name));
            (entries.sum::<usize>() + 1).max(2)
        }
    };
    write!(answer, "{HEAD}{length}\r\n\r\n")?;
    if let Some(name) = gate_name {
        return write!(answer, "{BEFORE_NAME}{name}{AFTER_NAME}");
    }
    answer.push(b'{');
    for (n, name) in gate_names.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        write!(answer, "{comma}\"{name}\":{BEFORE_NAME}{name}{AFTER_NAME}")?;
    }
    answer.push(b'}');
    Ok(())
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\n\
                    date: Mon, 02 Nov 2026 10:00:00 GMT\r\ncontent-length: ";
const BEFORE_NAME: &str = r#"{"name":""#;
const AFTER_NAME: &str =
    r#"","value":true,"rule_id":"4eqJnXcqLTnMIlXtmlTqzF","group_name":"Everyone"}"#;

fn evaluation_length(name: &str) -> usize {
    BEFORE_NAME.len() + name.len() + AFTER_NAME.len()
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
