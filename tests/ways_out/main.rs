//! How the component reaches Statsig: base URLs, proxies, and names with several addresses. Only
//! the proxy knows the made-up names, so only a call through the proxy reaches them.
#![cfg(feature = "test-util")]

#[cfg(target_os = "linux")]
mod dead_address;
#[cfg(feature = "relay")]
mod relay;
#[path = "../support/mod.rs"]
mod support;

use std::{error::Error as _, time::Duration};

use actix_statsig::{
    Config, ConfigBuilder, ConnectFault, Error, Statsig,
    test_util::{LocalStatsig, Rules},
};
use support::{
    http_proxy::{Conduct, Listening, header},
    start_here as start,
    tls_server::{Authority, GATE, Server},
    user,
};

const MINUTE: Duration = Duration::from_secs(60);

/// A configuration with long timeouts, so that a busy machine breaks no test.
fn config() -> ConfigBuilder {
    support::config().timeout(MINUTE).attempt_timeout(MINUTE).retry_attempts(1).proxy("none")
}

async fn ask(statsig: &Statsig, id: impl ToString) -> Result<bool, Error> {
    statsig.check_gate(&user(id), GATE).await
}

/// The kind of fault, and the message of the error's source.
fn failure(error: &Error) -> (Option<ConnectFault>, String) {
    let fault = match error {
        Error::Connect { fault, .. } => Some(*fault),
        _ => None,
    };
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    (fault, format!("{error}: {source}"))
}

mod base_url {
    use super::*;

    #[actix_rt::test]
    async fn base_url_may_have_a_path_and_slashes_at_its_end() {
        let server = Listening::server();
        let through = Listening::proxy(Conduct::LeadsTo(server.address()));
        for (base, path) in [
            ("", "/v1/check_gate"),
            ("/", "/v1/check_gate"),
            ("//", "/v1/check_gate"),
            ("/edge", "/edge/v1/check_gate"),
            ("/edge/", "/edge/v1/check_gate"),
            ("/edge/of/it", "/edge/of/it/v1/check_gate"),
        ] {
            let straight = start(config().base_url(format!("{}{base}", server.url())));
            assert!(ask(&straight, "u-1").await.unwrap());
            let line = format!("POST {path} HTTP/1.1");
            assert_eq!(server.lines().last(), Some(&line));

            let proxied = config().base_url(format!("http://statsig.test{base}"));
            let proxied = start(proxied.allow_plain_http(true).proxy(through.url()));
            assert!(ask(&proxied, "u-1").await.unwrap());
            assert_eq!(server.lines().last(), Some(&line));
            let line = format!("POST http://statsig.test{path} HTTP/1.1");
            assert_eq!(through.lines().last(), Some(&line));
        }
    }

    #[actix_rt::test]
    async fn host_has_the_port_unless_it_is_the_schemes_own() {
        let server = Listening::server();
        let proxy = Listening::proxy(Conduct::LeadsTo(server.address()));
        for (base_url, host) in [
            (server.url(), server.address().to_string()),
            ("http://statsig.test".to_owned(), "statsig.test".to_owned()),
            ("http://statsig.test:80".to_owned(), "statsig.test".to_owned()),
            ("http://statsig.test:443".to_owned(), "statsig.test:443".to_owned()),
            ("http://statsig.test:8080".to_owned(), "statsig.test:8080".to_owned()),
            ("http://[fd00::1]:8080".to_owned(), "[fd00::1]:8080".to_owned()),
        ] {
            let config = config().base_url(&base_url).allow_plain_http(true).proxy(proxy.url());
            assert!(ask(&start(config), "u-1").await.unwrap());
            let head = server.heads().pop().unwrap();
            assert_eq!(header(&head, "host"), Some(&*host), "{base_url}");
        }
    }

    #[actix_rt::test]
    async fn base_url_may_be_an_ipv6_address_over_tls() {
        if let Err(error) = std::net::TcpListener::bind("[::1]:0") {
            return println!("skipped: this machine has no IPv6 ({error})");
        }
        let authority = Authority::new("test");
        let server = Server::tls(authority.issue("::1").config());
        let port = server.url("-").rsplit(':').next().unwrap().parse().unwrap();
        let at = Listening::forwarder("[::1]:0", ([127, 0, 0, 1], port).into());

        let config = config().base_url(format!("https://{}", at.address()));
        let statsig = start(config.extra_root_certificates(authority.pem()));

        assert!(ask(&statsig, "u-1").await.unwrap());
    }
}

mod proxies {
    use super::*;

    /// A TLS server that only the proxy can find, the proxy's setting, and the matching
    /// configuration.
    struct Behind {
        authority: Authority,
        server: Server,
    }

    impl Behind {
        fn new() -> Self {
            let authority = Authority::new("test");
            let server = Server::tls(authority.issue("statsig.test").config());
            Self { authority, server }
        }

        fn port(&self) -> u16 {
            let port = self.server.url("-").rsplit(':').next().map(str::parse);
            port.expect("a port").expect("a number")
        }

        fn leads_here(&self) -> Conduct {
            Conduct::LeadsTo(([127, 0, 0, 1], self.port()).into())
        }

        fn config(&self) -> ConfigBuilder {
            let config = config().base_url(self.server.url("statsig.test"));
            config.extra_root_certificates(self.authority.pem())
        }
    }

    #[actix_rt::test]
    async fn https_goes_through_a_tunnel_that_is_used_again() {
        let behind = Behind::new();
        let proxy = Listening::proxy(behind.leads_here());
        let statsig = start(behind.config().proxy(proxy.url()));

        for id in 0..3 {
            assert!(ask(&statsig, id).await.unwrap());
        }

        let host = format!("statsig.test:{}", behind.port());
        assert_eq!(proxy.lines(), [format!("CONNECT {host} HTTP/1.1")]);
        assert_eq!(header(&proxy.heads()[0], "host"), Some(&*host));
        assert_eq!(header(&proxy.heads()[0], "proxy-authorization"), None);
        // The proxy's operator does not see the key.
        assert!(!proxy.heads()[0].contains("secret-key"));
    }

    #[actix_rt::test]
    async fn certificate_is_the_servers_and_not_the_proxys() {
        let authority = Authority::new("test");
        let server = Server::tls(authority.issue("another.test").config());
        let port = server.url("-").rsplit(':').next().unwrap().parse().unwrap();
        let proxy = Listening::proxy(Conduct::LeadsTo(([127, 0, 0, 1], port).into()));
        let config = config().base_url(server.url("statsig.test")).proxy(proxy.url());
        let statsig = start(config.extra_root_certificates(authority.pem()));

        let error = ask(&statsig, "u-1").await.unwrap_err();

        assert_eq!(failure(&error).0, Some(ConnectFault::CertificateWrongHost), "{error}");
    }

    #[actix_rt::test]
    async fn credentials_are_percent_decoded_and_sent_with_connect() {
        let behind = Behind::new();
        let here = ([127, 0, 0, 1], behind.port()).into();
        let friends = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        let proxy = Listening::proxy(Conduct::LeadsFriendsTo(here, friends));
        let url = |userinfo: &str| format!("http://{userinfo}{}", proxy.address());

        let statsig = start(behind.config().proxy(url("Aladdin:open%20sesame@")));
        assert!(ask(&statsig, "u-1").await.unwrap());

        for (userinfo, hint) in [
            ("", "it requires credentials, and its URL has none"),
            ("Aladdin:open%20says%20me@", "it refused the credentials of its URL"),
        ] {
            let statsig = start(behind.config().proxy(url(userinfo)));
            let (fault, text) = failure(&ask(&statsig, "u-1").await.unwrap_err());
            assert_eq!(fault, Some(ConnectFault::Proxy), "{text}");
            let wanted = format!(
                "the proxy {} answered 407 Proxy Authentication Required ({hint}) to CONNECT \
                 statsig.test:{}",
                proxy.address(),
                behind.port()
            );
            assert!(text.ends_with(&wanted), "{text}");
            assert!(!text.contains("Aladdin") && !text.contains("says"), "{text}");
        }
        assert_eq!(behind.server.connections(), 1);
    }

    #[actix_rt::test]
    async fn proxy_that_does_not_connect_is_named() {
        for (conduct, says) in [
            (Conduct::Says("HTTP/1.1 502 Bad Gateway\r\n\r\n"), "answered 502 Bad Gateway"),
            (Conduct::Says("HTTP/1.1 403 \r\n\r\n<html>"), "answered 403 Forbidden to CONNECT"),
            (Conduct::Says("HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n"), "answered 302 Found"),
            (Conduct::Closes("HTTP/1.1 503 Busy\r\n\r\n"), "answered 503 Service Unavailable"),
            (
                Conduct::Says("SSH-2.0-OpenSSH_9\r\n"),
                "answered CONNECT with something other than HTTP/1.1",
            ),
            (
                Conduct::Says("\u{15}\u{3}\u{1}\0\u{2}\u{2}P"),
                "answered CONNECT with something other than HTTP",
            ),
            (Conduct::Closes(""), "closed the connection before answering"),
            (Conduct::Closes("HTTP/1.1 100 \r\n\r\n"), "closed the connection before answering"),
            (Conduct::Closes("HTTP/1.1 200 OK\r\nx: "), "closed the connection before answering"),
            (
                Conduct::Says("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
                "sent 19 unexpected bytes after its answer",
            ),
        ] {
            let behind = Behind::new();
            let proxy = Listening::proxy(conduct);
            let statsig = start(behind.config().proxy(proxy.url()));

            let error = ask(&statsig, "u-1").await.unwrap_err();

            let (fault, text) = failure(&error);
            assert_eq!(fault, Some(ConnectFault::Proxy), "{conduct:?} {text}");
            let wanted = format!("the proxy {} {says}", proxy.address());
            assert!(text.contains(&wanted), "{conduct:?} {text}");
            assert!(error.is_retryable());
            assert_eq!(proxy.lines().len(), 1);
        }
    }

    #[actix_rt::test]
    async fn proxy_that_cannot_be_reached_is_named() {
        let behind = Behind::new();
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let statsig = start(behind.config().proxy(gone.to_string()));

        let (fault, text) = failure(&ask(&statsig, "u-1").await.unwrap_err());

        assert_eq!(fault, Some(ConnectFault::Proxy), "{text}");
        assert!(text.contains(&format!("could not reach the proxy {gone}")), "{text}");
    }

    #[actix_rt::test]
    async fn promise_1_hanging_proxy_ends_in_a_timeout() {
        let behind = Behind::new();
        let proxy = Listening::proxy(Conduct::Hangs);
        let config = behind.config().attempt_timeout(Duration::from_millis(100));
        let statsig = start(config.proxy(proxy.url()));

        let error = ask(&statsig, "u-1").await.unwrap_err();

        assert!(matches!(error, Error::AttemptTimeout { .. }), "{error}");
        assert_eq!(behind.server.connections(), 0);
    }

    #[actix_rt::test]
    async fn plain_http_goes_in_absolute_form_with_credentials() {
        let server = LocalStatsig::start(Rules::new().gate(GATE, true)).unwrap();
        let upstream = server.url().strip_prefix("http://").unwrap().parse().unwrap();
        let friends = "Basic bWU6aHVudGVyMg==";
        let proxy = Listening::proxy(Conduct::LeadsFriendsTo(upstream, friends));
        let config = config().base_url("http://statsig.test").allow_plain_http(true);
        let url = format!("http://me:hunter2@{}", proxy.address());
        let statsig = start(config.proxy(url));

        for id in 0..3 {
            assert!(ask(&statsig, id).await.unwrap());
        }
        let homepage = statsig.get_config(&user("u-1"), "homepage").await.unwrap();
        assert!(homepage.rule_id().is_none());

        let line = |path| format!("POST http://statsig.test{path} HTTP/1.1");
        let gate = line("/v1/check_gate");
        assert_eq!(proxy.lines(), [gate.clone(), gate.clone(), gate, line("/v1/get_config")]);
        assert!(proxy.heads().iter().all(|head| header(head, "host") == Some("statsig.test")));
        assert_eq!((server.connections(), server.calls(), server.refused()), (1, 4, 0));
        // The server does not get the proxy's header.
        assert!(
            server.requests().iter().all(|request| request.header("proxy-authorization").is_none())
        );
    }

    #[actix_rt::test]
    async fn proxy_that_refuses_plain_http_is_named() {
        let nowhere = ([127, 0, 0, 1], 1).into();
        let proxy = Listening::proxy(Conduct::LeadsFriendsTo(nowhere, "Basic bWU6aHVudGVyMg=="));
        let config = config().base_url("http://statsig.test").allow_plain_http(true);
        let statsig = start(config.proxy(proxy.url()));

        let (fault, text) = failure(&ask(&statsig, "u-1").await.unwrap_err());

        assert_eq!(fault, Some(ConnectFault::Proxy), "{text}");
        let wanted = format!("the proxy {} answered 407 (it requires credentials", proxy.address());
        assert!(text.contains(&wanted), "{text}");
    }

    #[actix_rt::test]
    async fn plain_http_through_a_proxy_has_to_be_allowed() {
        let builder = config().base_url("http://statsig.test").proxy("http://127.0.0.1:3128");
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains("allow_plain_http"), "{error}");
    }

    #[actix_rt::test]
    async fn proxy_of_the_environment_is_used_unless_told_not_to() {
        let behind = Behind::new();
        let proxy = Listening::proxy(behind.leads_here());
        let base_url = behind.server.url("statsig.test");
        let environment = |more: &[(&str, &str)]| {
            let variables: Vec<(String, String)> = [
                ("STATSIG_API_KEY", "secret-key"),
                ("STATSIG_BASE_URL", &base_url),
                ("STATSIG_EXTRA_ROOT_CERTIFICATES", &behind.authority.pem()),
                ("STATSIG_TIMEOUT", "60s"),
                ("STATSIG_ATTEMPT_TIMEOUT", "60s"),
                ("STATSIG_RETRY_ATTEMPTS", "1"),
                ("HTTPS_PROXY", &proxy.url()),
            ]
            .iter()
            .chain(more)
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
            let look_up = |name: &str| {
                let found = variables.iter().find(|(variable, _)| variable == name);
                found.map(|(_, text)| text.clone())
            };
            Statsig::start_in_current_arbiter(Config::from_lookup(look_up).unwrap()).unwrap()
        };

        assert!(ask(&environment(&[]), "u-1").await.unwrap());
        assert_eq!(proxy.lines().len(), 1);

        for straight in
            [("NO_PROXY", ".test"), ("STATSIG_PROXY", "none"), ("https_proxy", "socks5://p")]
        {
            let error = ask(&environment(&[straight]), "u-1").await.unwrap_err();
            // Only the proxy knows the name.
            assert_eq!(failure(&error).0, Some(ConnectFault::Resolve), "{straight:?} {error}");
        }
        assert_eq!(proxy.lines().len(), 1);
    }

    #[actix_rt::test]
    async fn loopback_is_reached_without_the_proxy() {
        let server = LocalStatsig::start(Rules::new().gate(GATE, true)).unwrap();
        let proxy = Listening::proxy(Conduct::Closes(""));

        let statsig = start(config().base_url(server.url()).proxy(proxy.url()));

        assert!(ask(&statsig, "u-1").await.unwrap());
        assert_eq!(proxy.lines().len(), 0);
    }
}

mod lifetime {
    use super::*;

    /// Advances the clock of this thread's runtime. Sockets do not notice.
    async fn pass(time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }

    #[actix_rt::test]
    async fn connection_in_steady_use_is_replaced_within_75_seconds() {
        let server = LocalStatsig::start(Rules::new().gate(GATE, true)).unwrap();
        let statsig = start(config().base_url(server.url()));
        assert!(ask(&statsig, "u-0").await.unwrap());
        for id in 1..=7 {
            pass(Duration::from_secs(10)).await;
            assert!(ask(&statsig, id).await.unwrap());
            assert_eq!(server.connections(), 1, "after {id}0 s");
        }

        pass(Duration::from_secs(10)).await;
        assert!(ask(&statsig, "u-8").await.unwrap());

        assert_eq!(server.connections(), 2);
    }
}
