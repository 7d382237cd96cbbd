//! Tells each connection what becomes of its requests.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, Method,
        header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING, UPGRADE},
    },
    middleware::Next,
};

use super::handle::Handle;

/// Tells the connection when a request begins and when it is answered, and the client when the
/// connection is then closed.
pub(crate) async fn attend<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let Some(connection) = request.conn_data::<Handle>().cloned() else {
        return next.call(request).await;
    };
    connection.began(has_body(request.method(), request.headers()));
    // The server library closes it then, and would not say so.
    let upgrades = request.head().upgrade();
    let mut answer = next.call(request).await;
    let mut closes = upgrades || connection.must_close();
    if let Ok(response) = &mut answer {
        let head = response.response_mut().head_mut();
        closes |= head.connection_type() == ConnectionType::Close;
        if closes {
            head.set_connection_type(ConnectionType::Close);
        }
    }
    connection.answered(closes);
    answer
}

/// Whether something follows a request's head that is still to be read.
fn has_body(method: &Method, headers: &HeaderMap) -> bool {
    let is_empty = |length: &[u8]| length.iter().all(|digit| *digit == b'0');
    method == Method::CONNECT
        || headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| !is_empty(length.as_bytes()))
        || headers.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
