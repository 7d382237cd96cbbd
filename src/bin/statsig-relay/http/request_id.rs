//! What a request is called: by its caller, or here.

use std::rc::Rc;

use actix_web::{
    dev::ServiceRequest,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a caller.
const LONGEST: usize = 128;

tokio::task_local! {
    static REQUEST_ID: RequestId;
}

/// What a request is called, here and in its caller's own logs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RequestId(Rc<str>);

impl RequestId {
    /// The id of the request that is being answered.
    pub(crate) fn current() -> Option<Self> {
        REQUEST_ID.try_with(Self::clone).ok()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Has this be the current one while the request is answered.
    pub(crate) fn within<F: Future>(self, answering: F) -> impl Future<Output = F::Output> {
        REQUEST_ID.scope(self, answering)
    }

    /// Shows it to the caller.
    pub(crate) fn show(&self, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::from_str(self.as_str()) {
            headers.insert(HEADER, id);
        }
    }

    /// The caller's, if it is one that can stand in a log; otherwise a new one.
    pub(crate) fn of(request: &ServiceRequest) -> Self {
        let given = request.headers().get(HEADER).and_then(|id| id.to_str().ok());
        match given.filter(|id| is_sane(id)) {
            Some(id) => Self(id.into()),
            None => Self(format!("{:032x}", fastrand::u128(..)).into()),
        }
    }
}

fn is_sane(id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
    (1..=LONGEST).contains(&id.len()) && id.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn id(given: &str) -> String {
        let request = TestRequest::default().insert_header((HEADER, given));
        RequestId::of(&request.to_srv_request()).as_str().to_owned()
    }

    #[test]
    fn a_sane_id_is_the_callers_own_and_any_other_is_made() {
        let longest = "x".repeat(LONGEST);
        for sane in ["1", "Root=1-67891233-abcdef012345678912345678", "a/b+c==", &longest] {
            assert_eq!(id(sane), *sane);
        }
        for odd in ["", " ", "two words", "a\tb", "<b>", "\"", "{}", &"x".repeat(LONGEST + 1)] {
            let made = id(odd);
            assert!(
                made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{made}"
            );
        }
        assert_ne!(id(""), id(""));
    }
}
