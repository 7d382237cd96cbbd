//! Access control. Callers on this machine need no key, unless `--trust-loopback` is off. Callers
//! from elsewhere need a listed key.

pub(crate) mod keys;
pub(crate) mod loopback;
pub(crate) mod reload;

use std::net::SocketAddr;

use actix_web::{
    Error, ResponseError,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, Uri,
        header::{AUTHORIZATION, HeaderMap},
    },
    middleware::Next,
    web::Data,
};

use self::{keys::Keys, loopback::is_loopback};
use crate::{
    args::{CallerOptions, OptionValue},
    connection::{Handle, Peer},
    http::problem::Problem,
};

/// The callers with access.
pub(crate) struct Callers {
    remote: RemoteAccess,
    /// Whether callers on this machine need no key.
    trusts_loopback: bool,
}

/// The access of callers that are not trusted as local.
enum RemoteAccess {
    Denied,
    /// A caller needs one of these keys.
    Keys(Keys),
    Anyone,
}

/// The header in which the API's clients send their key.
const KEY: &str = "statsig-api-key";

/// The paths that need no key: health checks for load balancers, and the page. A browser sends no
/// key for the page itself, and the page shows no figures until it has a key for `/watch`.
const OPEN_PATHS: [&str; 3] = ["/", "/healthz", "/readyz"];

impl Callers {
    /// Checks the options; an error names the flag or variable to fix.
    pub(crate) fn from_options(options: &CallerOptions) -> Result<Self, String> {
        let remote = RemoteAccess::from_options(options)?;
        let trusts_loopback = options.trust_loopback.get()?;
        if !trusts_loopback && !matches!(remote, RemoteAccess::Keys(_)) {
            return Err(options.trust_loopback.invalid(
                "there is no list of callers' keys: set STATSIG_RELAY_KEYS or --keys-file",
            ));
        }
        Ok(Self { remote, trusts_loopback })
    }

    /// Returns the list of keys, if there is one.
    pub(crate) fn keys(&self) -> Option<Keys> {
        if let RemoteAccess::Keys(keys) = &self.remote { Some(keys.clone()) } else { None }
    }

    /// Whether the relay may listen on these addresses: on a public one only if access is
    /// configured.
    pub(crate) fn allow_listening_on(&self, addresses: &[SocketAddr]) -> bool {
        let is_configured = !matches!(self.remote, RemoteAccess::Denied);
        is_configured || !loopback::is_any_public(addresses)
    }

    /// Checks the connection's peer and the key. Other headers can only lower trust, because a
    /// client may send any header.
    fn check(&self, peer: Peer, target: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let is_here = match peer {
            Peer::ThisMachine => true,
            Peer::At(address) => is_loopback(address.ip()),
            Peer::Unknown => false,
        };
        let is_local = self.trusts_loopback && is_here;
        let reason = loopback::distrust(target, headers).filter(|_| is_local);
        let may_ask = (is_local && reason.is_none())
            || match &self.remote {
                RemoteAccess::Denied => false,
                RemoteAccess::Keys(keys) => key(headers).is_some_and(|key| keys.contains(key)),
                RemoteAccess::Anyone => true,
            };
        if may_ask { Ok(()) } else { Err(Problem::unknown_caller(reason)) }
    }
}

impl RemoteAccess {
    fn from_options(options: &CallerOptions) -> Result<Self, String> {
        let mut keys = Keys::default();
        let (list, file) = (options.keys.as_ref(), options.keys_file.as_ref());
        if let Some(list) = list {
            let listed = Keys::from_list(&list.get()?);
            keys.extend(listed.map_err(|rule| format!("{}: {rule}", list.origin()))?);
        }
        if let Some(file) = file {
            let lines = file.read_file()?;
            keys.extend(Keys::from_lines(&lines).map_err(|rule| file.invalid(&rule))?);
        }
        let source = list.map(OptionValue::origin).or(file.map(OptionValue::origin));
        match (options.allow_anyone.get()?, source) {
            (false, None) => Ok(Self::Denied),
            (false, Some(_)) => Ok(Self::Keys(keys)),
            (true, None) => Ok(Self::Anyone),
            (true, Some(source)) => {
                let anyone = options.allow_anyone.origin();
                Err(format!("{anyone} and {source} cannot be combined: remove one"))
            }
        }
    }
}

/// Answers callers without access with 401, except on open paths. Such a caller's connection is
/// closed after any answer.
pub(crate) async fn guard<B: MessageBody + 'static>(
    callers: Data<Callers>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<impl MessageBody + use<B>>, Error> {
    let access = callers.check(peer(&request), request.uri(), request.headers());
    let is_denied = access.is_err();
    let mut response = match access {
        Err(problem) if !OPEN_PATHS.contains(&request.path()) => {
            request.into_response(problem.error_response()).map_into_right_body()
        }
        _ => next.call(request).await?.map_into_left_body(),
    };
    if is_denied {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// Returns the connection's peer, whatever the headers say.
fn peer(request: &ServiceRequest) -> Peer {
    let connection = request.conn_data::<Handle>().map(Handle::peer);
    let address = || request.peer_addr().map_or(Peer::Unknown, Peer::At);
    connection.unwrap_or_else(address)
}

/// Returns the request's key, from the API's own header or from `Authorization`, which scrapers can
/// send.
fn key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    text(KEY).or_else(|| {
        let (scheme, key) = text(AUTHORIZATION.as_str())?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    })
}

#[cfg(test)]
mod tests {
    use actix_web::{
        App,
        http::{
            StatusCode,
            header::{HeaderName, HeaderValue},
        },
        middleware::from_fn,
        test::{TestRequest, call_service, init_service, read_body},
    };

    use super::*;

    const ELSEWHERE: &str = "192.0.2.7";

    fn callers(remote: RemoteAccess) -> Callers {
        Callers { remote, trusts_loopback: true }
    }

    fn listed() -> Callers {
        callers(RemoteAccess::Keys(Keys::from_list("caller-one,caller-two").unwrap()))
    }

    fn nobody_else() -> Callers {
        callers(RemoteAccess::Denied)
    }

    fn anyone() -> Callers {
        callers(RemoteAccess::Anyone)
    }

    fn admit(callers: &Callers, caller: &str, key: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            headers.insert(HeaderName::from_static(KEY), HeaderValue::from_str(key).unwrap());
        }
        let peer = Peer::At(SocketAddr::new(caller.parse().unwrap(), 1));
        callers.check(peer, &Uri::default(), &headers).is_ok()
    }

    #[test]
    fn loopback_caller_needs_no_key() {
        for caller in ["127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"] {
            for callers in [nobody_else(), listed(), anyone()] {
                assert!(admit(&callers, caller, None), "{caller}");
                assert!(admit(&callers, caller, Some("wrong")), "{caller}");
            }
        }
    }

    #[test]
    fn caller_over_a_unix_socket_is_local_like_one_on_loopback() {
        let admit = |callers: &Callers, header: Option<(&'static str, &'static str)>| {
            let mut headers = HeaderMap::new();
            if let Some((name, value)) = header {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            callers.check(Peer::ThisMachine, &Uri::default(), &headers).is_ok()
        };
        assert!(admit(&nobody_else(), None) && admit(&listed(), Some(("host", "localhost"))));
        assert!(!admit(&listed(), Some(("x-forwarded-for", "192.0.2.7"))));
        let distrusted = Callers { trusts_loopback: false, ..listed() };
        assert!(!admit(&distrusted, None) && admit(&distrusted, Some((KEY, "caller-one"))));
    }

    #[test]
    fn from_elsewhere_a_listed_key_is_needed_unless_anyone_may_ask() {
        for caller in [ELSEWHERE, "10.0.0.1", "0.0.0.0", "2001:db8::1", "::", "::ffff:10.0.0.1"] {
            assert!(!admit(&nobody_else(), caller, Some("caller-one")), "{caller}");
            assert!(admit(&listed(), caller, Some("caller-two")), "{caller}");
            assert!(!admit(&listed(), caller, Some("caller")), "{caller}");
            assert!(!admit(&listed(), caller, None), "{caller}");
            assert!(admit(&anyone(), caller, None), "{caller}");
        }
        assert!(listed().check(Peer::Unknown, &Uri::default(), &HeaderMap::new()).is_err());
    }

    #[test]
    fn untrusted_loopback_caller_needs_a_listed_key() {
        let callers = Callers { trusts_loopback: false, ..listed() };
        for caller in ["127.0.0.1", "::1", ELSEWHERE] {
            assert!(!admit(&callers, caller, None), "{caller}");
            assert!(!admit(&callers, caller, Some("caller")), "{caller}");
            assert!(admit(&callers, caller, Some("caller-one")), "{caller}");
        }
    }

    #[test]
    fn public_address_requires_configured_access() {
        let at = |address: &str| vec![address.parse().unwrap()];
        for address in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(nobody_else().allow_listening_on(&at(address)), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "192.0.2.7:1", "[2001:db8::1]:1"] {
            assert!(!nobody_else().allow_listening_on(&at(address)), "{address}");
            assert!(listed().allow_listening_on(&at(address)), "{address}");
            assert!(anyone().allow_listening_on(&at(address)), "{address}");
            let both = [at("127.0.0.1:1"), at(address)].concat();
            assert!(!nobody_else().allow_listening_on(&both), "{address}");
        }
    }

    #[actix_web::test]
    async fn doubtful_local_request_is_a_strangers_and_says_why() {
        let app = App::new().app_data(Data::new(listed())).wrap(from_fn(guard));
        let app =
            init_service(app.default_service(actix_web::web::to(|| async { "served" }))).await;
        for (header, why) in [
            (("origin", "http://elsewhere.example"), "localhost"),
            (("host", "rebound.example"), "localhost"),
            (("x-forwarded-for", "192.0.2.7"), "forwarded"),
        ] {
            let peer = "127.0.0.1:1".parse().unwrap();
            let ask = async |key: Option<(&str, &str)>| {
                let request = TestRequest::with_uri("/stats").peer_addr(peer);
                let request = request.insert_header(("host", "localhost")).insert_header(header);
                let request =
                    key.into_iter().fold(request, |request, key| request.insert_header(key));
                let response = call_service(&app, request.to_request()).await;
                (response.status().as_u16(), read_body(response).await)
            };
            assert_eq!(ask(Some((KEY, "caller-one"))).await.0, 200, "{header:?}");
            let (status, body) = ask(None).await;
            assert_eq!(status, 401, "{header:?}");
            assert!(str::from_utf8(&body).unwrap().contains(why), "{header:?}: {body:?}");
        }
    }

    #[actix_web::test]
    async fn stranger_gets_401_except_on_open_paths() {
        let app = App::new().app_data(Data::new(listed())).wrap(from_fn(guard));
        let app =
            init_service(app.default_service(actix_web::web::to(|| async { "served" }))).await;
        let status = async |path: &str, headers: &[(&'static str, &'static str)]| {
            let peer = format!("{ELSEWHERE}:1").parse().unwrap();
            let request = TestRequest::with_uri(path).peer_addr(peer);
            let request =
                headers.iter().fold(request, |request, header| request.append_header(*header));
            call_service(&app, request.to_request()).await.status()
        };

        for path in ["/", "/healthz", "/readyz"] {
            assert_eq!(status(path, &[]).await, StatusCode::OK, "{path}");
        }
        for path in [
            "/watch",
            "/v1/check_gate",
            "/stats",
            "/metrics",
            "/healthz/",
            "//healthz",
            "/%68ealthz",
        ] {
            assert_eq!(status(path, &[]).await, StatusCode::UNAUTHORIZED, "{path}");
        }
        for (header, admitted) in [
            ((KEY, "caller-one"), true),
            (("authorization", "Bearer caller-two"), true),
            (("authorization", "bearer caller-two"), true),
            ((KEY, "caller-on"), false),
            (("authorization", "Basic caller-one"), false),
            (("authorization", "caller-one"), false),
            (("x-forwarded-for", "127.0.0.1"), false),
            (("forwarded", "for=127.0.0.1"), false),
            (("x-real-ip", "127.0.0.1"), false),
            (("host", "localhost"), false),
        ] {
            let wanted = if admitted { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            assert_eq!(status("/stats", &[header]).await, wanted, "{header:?}");
        }
    }
}
