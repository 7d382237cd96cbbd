//! Tells each connection when its requests begin and when they are answered.

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

/// Reports the request to its connection, and tells the client if the connection closes after the
/// answer.
pub(crate) async fn track_request<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let Some(connection) = request.conn_data::<Handle>().cloned() else {
        return next.call(request).await;
    };
    connection.request_began(has_body(request.method(), request.headers()));
    // For an upgrade, the server library closes the connection without telling the client.
    let upgrades = request.head().upgrade();
    let mut result = next.call(request).await;
    let mut closes = upgrades || connection.must_close();
    if let Ok(response) = &mut result {
        let head = response.response_mut().head_mut();
        closes |= head.connection_type() == ConnectionType::Close;
        if closes {
            head.set_connection_type(ConnectionType::Close);
        }
    }
    connection.request_answered(closes);
    result
}

/// Whether a body, or bytes of another protocol, follow the head.
fn has_body(method: &Method, headers: &HeaderMap) -> bool {
    let is_empty = |length: &[u8]| length.iter().all(|digit| *digit == b'0');
    method == Method::CONNECT
        || headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| !is_empty(length.as_bytes()))
        || headers.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
