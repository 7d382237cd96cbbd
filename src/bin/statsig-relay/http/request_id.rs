//! Request ids: the caller's own, or new ones.

use std::rc::Rc;

use actix_web::{
    dev::ServiceRequest,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that a caller may choose.
const MAX_LENGTH: usize = 128;

tokio::task_local! {
    static REQUEST_ID: RequestId;
}

/// A request's id, which appears in the relay's log and in the answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RequestId(Rc<str>);

impl RequestId {
    /// Returns the id of the current request.
    pub(crate) fn current() -> Option<Self> {
        REQUEST_ID.try_with(Self::clone).ok()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes this the current request's id while the future runs.
    pub(crate) fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        REQUEST_ID.scope(self, future)
    }

    /// Adds the id to the answer's headers.
    pub(crate) fn insert_into(&self, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::from_str(self.as_str()) {
            headers.insert(HEADER, id);
        }
    }

    /// Returns the caller's id if it is safe to log, otherwise a new one.
    pub(crate) fn of(request: &ServiceRequest) -> Self {
        let id = request.headers().get(HEADER).and_then(|id| id.to_str().ok());
        match id.filter(|id| is_safe(id)) {
            Some(id) => Self(id.into()),
            None => Self(format!("{:032x}", fastrand::u128(..)).into()),
        }
    }
}

fn is_safe(id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
    (1..=MAX_LENGTH).contains(&id.len()) && id.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn id(header: &str) -> String {
        let request = TestRequest::default().insert_header((HEADER, header));
        RequestId::of(&request.to_srv_request()).as_str().to_owned()
    }

    #[test]
    fn valid_request_id_is_kept_and_others_are_replaced() {
        let longest = "x".repeat(MAX_LENGTH);
        for sane in ["1", "Root=1-67891233-abcdef012345678912345678", "a/b+c==", &longest] {
            assert_eq!(id(sane), *sane);
        }
        for odd in ["", " ", "two words", "a\tb", "<b>", "\"", "{}", &"x".repeat(MAX_LENGTH + 1)] {
            let made = id(odd);
            assert!(
                made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{made}"
            );
        }
        assert_ne!(id(""), id(""));
    }
}
