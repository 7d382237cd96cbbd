//! Who may ask: anyone on this machine, and from elsewhere whoever has a key that is listed.

use std::net::{IpAddr, SocketAddr};

use actix_web::{
    Error, ResponseError,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        header::{AUTHORIZATION, HeaderMap},
        uri::Authority,
    },
    middleware::Next,
    web::Data,
};

use crate::{args::Args, keys::Keys, respond::Problem};

/// Who may ask besides whoever is on this machine.
pub(crate) enum Callers {
    /// Nobody.
    None,
    /// Who has one of these keys.
    Listed(Keys),
    Anyone,
}

/// What is answered to everybody: for those who look after the process, and the page, which shows
/// nothing before it has been given a key for `/watch`, for a browser sends none by itself.
const OPEN: [&str; 3] = ["/", "/healthz", "/readyz"];

impl Callers {
    pub(crate) fn choose(args: &Args) -> Result<Self, String> {
        let mut keys = Keys::default();
        if let Some(list) = args.given("keys") {
            keys.extend(
                Keys::from_list(list.text()?).map_err(|rule| format!("{}: {rule}", list.by))?,
            );
        }
        if let Some(file) = args.given("keys_file") {
            let lines = file.read_file()?;
            keys.extend(Keys::from_lines(&lines).map_err(|rule| file.cannot_be(&rule))?);
        }
        match (args.is_on("allow_anyone")?, keys.is_empty()) {
            (false, true) => Ok(Self::None),
            (false, false) => Ok(Self::Listed(keys)),
            (true, true) => Ok(Self::Anyone),
            (true, false) => Err(
                "--allow-anyone and a list of callers' keys contradict each other: leave one out"
                    .to_owned(),
            ),
        }
    }

    /// Whether it is decided who may ask at these addresses: to be open to the network without a
    /// word about it would be an accident.
    pub(crate) fn are_decided_for(&self, addresses: &[SocketAddr]) -> bool {
        let is_reachable = addresses.iter().any(|address| !is_this_machine(address.ip()));
        !(is_reachable && matches!(self, Self::None))
    }

    /// Whether this caller may ask. A caller without an address is nobody known.
    fn admit(&self, caller: Option<IpAddr>, key: Option<&str>) -> bool {
        if caller.is_some_and(is_this_machine) {
            return true;
        }
        match self {
            Self::None => false,
            Self::Listed(keys) => key.is_some_and(|key| keys.contain(key)),
            Self::Anyone => true,
        }
    }
}

/// Answers 401 to whoever may not ask. Judges by the address of the connection: a header says
/// whatever its sender wants it to.
pub(crate) async fn guard<B: MessageBody + 'static>(
    callers: Data<Callers>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<impl MessageBody + use<B>>, Error> {
    let caller = request.peer_addr().map(|address| address.ip());
    let caller = caller.filter(|caller| !is_this_machine(*caller) || !is_lured(request.headers()));
    if OPEN.contains(&request.path()) || callers.admit(caller, key(request.headers())) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let refusal = Problem::unknown_caller().error_response();
    Ok(request.into_response(refusal).map_into_right_body())
}

/// The key a request has: in the API's own header, or in the one that scrapers can send.
fn key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    text("statsig-api-key").or_else(|| {
        let (scheme, key) = text(AUTHORIZATION.as_str())?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    })
}

/// Whether this may be a browser on this machine that was lured here by a page from elsewhere: it says
/// so itself, or has another name for this machine than this machine has.
fn is_lured(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_sent_from_elsewhere =
        text("sec-fetch-site").is_some_and(|site| !matches!(site, "none" | "same-origin"));
    is_sent_from_elsewhere || text("host").is_some_and(|host| !is_a_name_of_this_machine(host))
}

/// `localhost` or an address, for no server of names has a say in these.
fn is_a_name_of_this_machine(host: &str) -> bool {
    let Ok(host) = host.parse::<Authority>() else { return false };
    let name = host.host();
    name.eq_ignore_ascii_case("localhost")
        || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

/// An IPv4 address may come as an IPv6 one.
fn is_this_machine(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use actix_web::{
        App,
        http::StatusCode,
        middleware::from_fn,
        test::{TestRequest, call_service, init_service},
    };

    use super::*;

    const ELSEWHERE: &str = "192.0.2.7";

    fn listed() -> Callers {
        Callers::Listed(Keys::from_list("caller-one,caller-two").unwrap())
    }

    fn admit(callers: &Callers, caller: &str, key: Option<&str>) -> bool {
        callers.admit(Some(caller.parse().unwrap()), key)
    }

    #[test]
    fn whoever_is_on_this_machine_may_ask_with_any_key_or_none() {
        for caller in ["127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"] {
            for callers in [Callers::None, listed(), Callers::Anyone] {
                assert!(admit(&callers, caller, None), "{caller}");
                assert!(admit(&callers, caller, Some("wrong")), "{caller}");
            }
        }
    }

    #[test]
    fn from_elsewhere_a_listed_key_is_needed_unless_anyone_may_ask() {
        for caller in [ELSEWHERE, "10.0.0.1", "0.0.0.0", "2001:db8::1", "::", "::ffff:10.0.0.1"] {
            assert!(!admit(&Callers::None, caller, Some("caller-one")), "{caller}");
            assert!(admit(&listed(), caller, Some("caller-two")), "{caller}");
            assert!(!admit(&listed(), caller, Some("caller")), "{caller}");
            assert!(!admit(&listed(), caller, None), "{caller}");
            assert!(admit(&Callers::Anyone, caller, None), "{caller}");
        }
        assert!(!listed().admit(None, None));
    }

    #[test]
    fn where_the_network_can_reach_it_must_be_decided_who_may_ask() {
        let at = |address: &str| vec![address.parse().unwrap()];
        for address in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(Callers::None.are_decided_for(&at(address)), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "192.0.2.7:1", "[2001:db8::1]:1"] {
            assert!(!Callers::None.are_decided_for(&at(address)), "{address}");
            assert!(listed().are_decided_for(&at(address)), "{address}");
            assert!(Callers::Anyone.are_decided_for(&at(address)), "{address}");
            let both = [at("127.0.0.1:1"), at(address)].concat();
            assert!(!Callers::None.are_decided_for(&both), "{address}");
        }
    }

    #[actix_web::test]
    async fn a_browser_on_this_machine_that_was_lured_by_a_page_from_elsewhere_is_a_stranger() {
        let app = App::new().app_data(Data::new(listed())).wrap(from_fn(guard));
        let app =
            init_service(app.default_service(actix_web::web::to(|| async { "served" }))).await;
        for (headers, admitted) in [
            (vec![("host", "127.0.0.1:8080")], true),
            (vec![("host", "[::1]:8080"), ("sec-fetch-site", "same-origin")], true),
            (vec![("host", "LOCALHOST:8080"), ("sec-fetch-site", "none")], true),
            (vec![("host", "127.0.0.1"), ("sec-fetch-site", "cross-site")], false),
            (vec![("host", "localhost"), ("sec-fetch-site", "same-site")], false),
            (vec![("host", "rebound.example:8080")], false),
            (vec![("host", "localhost.example")], false),
            (vec![("host", "rebound.example"), ("statsig-api-key", "caller-one")], true),
        ] {
            let peer = "127.0.0.1:1".parse().unwrap();
            let request = TestRequest::with_uri("/stats").peer_addr(peer);
            let request =
                headers.iter().fold(request, |request, header| request.insert_header(*header));
            let status = call_service(&app, request.to_request()).await.status();
            assert_eq!(status == StatusCode::OK, admitted, "{headers:?}");
        }
    }

    #[actix_web::test]
    async fn a_stranger_gets_401_for_all_but_the_open_paths_whatever_the_headers_say() {
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
            (("statsig-api-key", "caller-one"), true),
            (("authorization", "Bearer caller-two"), true),
            (("authorization", "bearer caller-two"), true),
            (("statsig-api-key", "caller-on"), false),
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
