//! TLS: which certificates the transport trusts and how the handshake ends, with certificates made
//! here.
//!
//! A binary of its own, because it also runs with no roots and with only the system's roots, and
//! because one test looks for the system's TLS libraries in its process.

#[path = "../support/mod.rs"]
mod support;

use std::{sync::Arc, time::Duration};

use actix_statsig::{Config, ConfigBuilder, ConnectFault, Error, Statsig, User};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use support::tls_server::{Authority, GATE, Identity, Server};

/// Settings that trust this authority in addition to the features' roots. Their timeouts are long,
/// so that a busy machine breaks no test.
fn settings(base_url: String, trusted: &str) -> ConfigBuilder {
    Config::builder("secret-key")
        .base_url(base_url)
        .extra_root_certificates(trusted)
        .timeout(Duration::from_secs(60))
        .attempt_timeout(Duration::from_secs(60))
}

async fn ask(settings: ConfigBuilder) -> Result<bool, Error> {
    let statsig = Statsig::start(settings.build()?)?;
    let open = statsig.check_gate(&User::new("u-1")?, GATE).await;
    statsig.shutdown(Duration::from_secs(60)).await;
    open
}

fn fault(error: &Error) -> ConnectFault {
    match error {
        Error::Connect { fault, .. } => *fault,
        other => panic!("not a failure to connect: {other:?}"),
    }
}

mod a_server_that_is_trusted {
    use super::*;

    #[actix_rt::test]
    async fn is_asked_over_http_1_1_even_if_it_prefers_http_2() -> Result<(), Error> {
        // Given a server whose certificate comes from an authority that the settings name
        let authority = Authority::new("test");
        let server = Server::tls(authority.issue("localhost").config());

        // When it gets a request
        let open = ask(settings(server.url("localhost"), &authority.pem())).await?;

        // Then it answers, over the only protocol that the client offers
        assert!(open);
        assert_eq!(server.protocols(), [Some("http/1.1".to_owned())]);
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn can_be_asked_from_a_runtime_of_many_threads() -> Result<(), Error> {
        let authority = Authority::new("test");
        let server = Server::tls(authority.issue("localhost").config());

        assert!(ask(settings(server.url("localhost"), &authority.pem())).await?);
        Ok(())
    }

    #[actix_rt::test]
    async fn can_be_asked_from_the_same_arbiter() -> Result<(), Error> {
        let authority = Authority::new("test");
        let server = Server::tls(authority.issue("localhost").config());
        let settings = settings(server.url("localhost"), &authority.pem());

        let statsig = Statsig::start_in_current_arbiter(settings.build()?)?;

        assert!(statsig.check_gate(&User::new("u-1")?, GATE).await?);
        statsig.shutdown(Duration::from_secs(60)).await;
        Ok(())
    }

    #[actix_rt::test]
    async fn is_connected_to_once_for_questions_one_after_the_other() -> Result<(), Error> {
        let authority = Authority::new("test");
        let server = Server::tls(authority.issue("localhost").config());
        let settings = settings(server.url("localhost"), &authority.pem());
        let statsig = Statsig::start(settings.build()?)?;

        for user in ["u-1", "u-2", "u-3"] {
            assert!(statsig.check_gate(&User::new(user)?, GATE).await?);
        }

        assert_eq!(server.connections(), 1);
        Ok(())
    }

    #[actix_rt::test]
    async fn may_have_an_address_in_place_of_a_name() -> Result<(), Error> {
        let authority = Authority::new("test");
        let server = Server::tls(authority.issue("127.0.0.1").config());

        assert!(ask(settings(server.url("127.0.0.1"), &authority.pem())).await?);
        Ok(())
    }

    #[actix_rt::test]
    async fn may_speak_tls_1_2_or_1_3_alone() -> Result<(), Error> {
        let authority = Authority::new("test");
        for version in [&TLS12, &TLS13] {
            let provider = Arc::new(ring::default_provider());
            let builder = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth();
            let server = Server::tls(authority.issue("localhost").with(builder));

            let open = ask(settings(server.url("localhost"), &authority.pem())).await?;
            assert!(open, "{version:?}");
        }
        Ok(())
    }

    #[actix_rt::test]
    async fn may_know_no_alpn() -> Result<(), Error> {
        let authority = Authority::new("test");
        let mut config = authority.issue("localhost").config();
        config.alpn_protocols.clear();
        let server = Server::tls(config);

        assert!(ask(settings(server.url("localhost"), &authority.pem())).await?);
        assert_eq!(server.protocols(), [None]);
        Ok(())
    }

    #[actix_rt::test]
    async fn may_be_its_own_authority() -> Result<(), Error> {
        // Given a certificate that is signed only with its own key
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let server = Server::tls(Identity::new(certificate.der().clone(), &key).config());

        // When the settings name this certificate, after another one
        let pem = Authority::new("another").pem() + &certificate.pem();

        // Then it is trusted
        assert!(ask(settings(server.url("localhost"), &pem)).await?);
        Ok(())
    }
}

mod a_certificate {
    use super::*;

    /// Sends a request to a server with this certificate, and asserts that there was one attempt.
    async fn refusal(identity: Identity, trusted: &Authority) -> Error {
        let server = Server::tls(identity.config());
        let settings = settings(server.url("localhost"), &trusted.pem()).retry_attempts(3);

        let error = ask(settings).await.expect_err("a certificate that is not accepted");

        assert_eq!(server.connections(), 1, "a retry would not help: {error}");
        assert!(!error.is_retryable(), "{error}");
        error
    }

    #[actix_rt::test]
    async fn that_has_expired_is_refused() {
        // Given a certificate from the last century
        let authority = Authority::new("test");
        let identity = authority.issue_with("localhost", |params| {
            params.not_before = date_time_ymd(1998, 1, 1);
            params.not_after = date_time_ymd(1999, 12, 31);
        });

        // When a request is sent to its server
        let error = refusal(identity, &authority).await;

        // Then the error says so
        assert_eq!(fault(&error), ConnectFault::CertificateExpired);
        assert_eq!(
            error.to_string(),
            "connection failed: the server's certificate has expired or is not valid yet"
        );
        let source = std::error::Error::source(&error).expect("an error from rustls").to_string();
        assert!(source.contains("expired"), "{source}");
    }

    #[actix_rt::test]
    async fn that_is_not_valid_yet_is_refused() {
        let authority = Authority::new("test");
        let identity = authority.issue_with("localhost", |params| {
            params.not_before = date_time_ymd(4000, 1, 1);
        });

        let error = refusal(identity, &authority).await;

        assert_eq!(fault(&error), ConnectFault::CertificateExpired);
        let source = std::error::Error::source(&error).expect("an error from rustls").to_string();
        assert!(source.contains("not valid yet"), "{source}");
    }

    #[actix_rt::test]
    async fn for_another_host_is_refused() {
        let authority = Authority::new("test");
        for host in ["elsewhere.test", "127.0.0.1"] {
            let error = refusal(authority.issue(host), &authority).await;

            assert_eq!(fault(&error), ConnectFault::CertificateWrongHost);
            assert_eq!(
                error.to_string(),
                "connection failed: the server's certificate is for another host"
            );
            let source =
                std::error::Error::source(&error).expect("an error from rustls").to_string();
            assert!(source.contains(host), "{source}");
        }
    }

    #[actix_rt::test]
    async fn from_an_authority_that_is_not_trusted_is_refused() {
        // Given a trusted authority, and a certificate from another authority, by another name or
        // by the same
        let trusted = Authority::new("test");
        for issuer in [Authority::new("stranger"), Authority::new("test")] {
            let error = refusal(issuer.issue("localhost"), &trusted).await;

            assert_eq!(fault(&error), ConnectFault::CertificateUntrusted);
            assert_eq!(
                error.to_string(),
                "connection failed: \
                 the server's certificate is signed by an untrusted authority"
            );
        }
    }

    #[actix_rt::test]
    async fn that_nobody_else_signed_is_refused() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();

        let identity = Identity::new(certificate.der().clone(), &key);
        let error = refusal(identity, &Authority::new("test")).await;

        assert_eq!(fault(&error), ConnectFault::CertificateUntrusted);
    }

    #[actix_rt::test]
    async fn for_another_purpose_is_refused() {
        let authority = Authority::new("test");
        let identity = authority.issue_with("localhost", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });

        let error = refusal(identity, &authority).await;

        assert_eq!(fault(&error), ConnectFault::Tls);
    }
}

mod a_handshake {
    use super::*;

    #[actix_rt::test]
    async fn that_stalls_ends_with_the_attempt() {
        // Given a server that accepts connections and sends nothing
        let authority = Authority::new("test");
        let server = Server::mute();
        let limit = Duration::from_millis(50);
        let settings = settings(server.url("127.0.0.1"), &authority.pem()).attempt_timeout(limit);

        // When a request is sent to it, with one attempt
        let error = ask(settings.retry_attempts(1)).await.unwrap_err();

        // Then the attempt times out, and the error is retryable
        assert!(
            matches!(error, Error::AttemptTimeout { limit: of, .. } if of == limit),
            "{error:?}"
        );
        assert!(error.is_retryable());
    }

    #[actix_rt::test]
    async fn that_stalls_ends_with_the_request() {
        let authority = Authority::new("test");
        let server = Server::mute();
        let limit = Duration::from_millis(50);
        let settings = settings(server.url("127.0.0.1"), &authority.pem()).timeout(limit);

        let error = ask(settings).await.unwrap_err();

        assert!(matches!(error, Error::Timeout { limit: of, .. } if of == limit), "{error:?}");
    }

    #[actix_rt::test]
    async fn with_a_server_that_knows_no_tls_fails() {
        let authority = Authority::new("test");
        let server = Server::plain();

        let settings = settings(server.url("localhost"), &authority.pem());
        let error = ask(settings).await.unwrap_err();

        assert_eq!(fault(&error), ConnectFault::Tls);
        assert!(!error.is_retryable());
        assert_eq!(server.connections(), 1);
    }

    #[actix_rt::test]
    async fn with_a_server_that_knows_only_http_2_fails() {
        let authority = Authority::new("test");
        let mut config = authority.issue("localhost").config();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let server = Server::tls(config);

        let settings = settings(server.url("localhost"), &authority.pem());
        let error = ask(settings).await.unwrap_err();

        assert_eq!(fault(&error), ConnectFault::Tls);
        assert_eq!(server.connections(), 1);
    }

    #[actix_rt::test]
    async fn with_a_server_that_wants_to_know_its_clients_fails() {
        let authority = Authority::new("test");
        for version in [&TLS12, &TLS13] {
            // Given a server that requires client certificates; in TLS 1.3 it refuses the client
            // only after the client has completed its handshake
            let mut clients = RootCertStore::empty();
            clients.add_parsable_certificates([authority.certificate()]);
            let provider = Arc::new(ring::default_provider());
            let verifier =
                WebPkiClientVerifier::builder_with_provider(clients.into(), Arc::clone(&provider));
            let builder = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_client_cert_verifier(verifier.build().unwrap());
            let server = Server::tls(authority.issue("localhost").with(builder));

            // When a request is sent to it
            let settings = settings(server.url("localhost"), &authority.pem());
            let error = ask(settings).await.unwrap_err();

            // Then TLS fails, without a retry
            assert_eq!(fault(&error), ConnectFault::Tls, "{version:?}");
            assert_eq!(server.connections(), 1, "{version:?}");
        }
    }

    #[actix_rt::test]
    async fn that_the_server_breaks_off_is_tried_again() {
        let authority = Authority::new("test");
        let server = Server::hanging_up();

        let settings = settings(server.url("localhost"), &authority.pem());
        let error = ask(settings.retry_attempts(2)).await.unwrap_err();

        assert_eq!(fault(&error), ConnectFault::Closed);
        assert!(error.is_retryable());
        assert_eq!(server.connections(), 2);
    }
}

mod settings_that_cannot_work {
    use super::*;

    #[test]
    fn certificates_setting_without_certificates_is_refused() {
        let key = KeyPair::generate().unwrap().serialize_pem();
        let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cut_off = &Authority::new("test").pem()[..200];
        for pem in ["rubbish", &key, no_certificate, cut_off] {
            // `build` may accept it, because the DER is only parsed when the component starts.
            let settings = settings("https://localhost:1".to_owned(), pem);
            let error = settings.build().and_then(Statsig::start).expect_err(pem);

            assert!(
                matches!(error, Error::InvalidConfig { setting: "extra_root_certificates", .. }),
                "{pem}: {error:?}"
            );
            assert!(!error.to_string().contains("PRIVATE"), "{error}");
        }
    }

    #[test]
    fn have_a_host_that_no_certificate_can_be_for() {
        let authority = Authority::new("test");
        for host in ["-", "-.b"] {
            let settings = settings(format!("https://{host}:1"), &authority.pem());
            let error = settings.build().and_then(Statsig::start).expect_err(host);

            assert!(
                matches!(error, Error::InvalidConfig { setting: "base_url", .. }),
                "{host}: {error:?}"
            );
        }
    }

    #[test]
    #[cfg(not(any(feature = "rustls-0_23-webpki-roots", feature = "rustls-0_23-native-roots")))]
    fn trust_nobody_and_are_told_which_features_do() {
        let settings = Config::builder("secret-key").base_url("https://localhost:1");
        let error = settings.build().and_then(Statsig::start).expect_err("no TLS roots");

        assert!(matches!(error, Error::InvalidConfig { setting: "base_url", .. }), "{error:?}");
        for way_out in
            ["rustls-0_23-webpki-roots", "rustls-0_23-native-roots", "extra_root_certificates"]
        {
            assert!(error.to_string().contains(way_out), "{error}");
        }
    }

    #[actix_rt::test]
    async fn are_no_concern_of_those_without_tls() -> Result<(), Error> {
        // Plain HTTP needs no TLS roots, whatever the features are.
        let settings = Config::builder("secret-key").base_url("http://127.0.0.1:1");
        let statsig = Statsig::start(settings.retry_attempts(1).build()?)?;

        let error = statsig.check_gate(&User::new("u-1")?, GATE).await.unwrap_err();

        assert_eq!(fault(&error), ConnectFault::Refused);
        Ok(())
    }
}

/// The crate's features share names with awc's, but must not enable those: awc's features build TLS
/// with the process's crypto provider, and panic if it has none or two.
#[actix_rt::test]
async fn no_feature_of_ours_gives_awc_a_tls_of_its_own() {
    let error = awc::Client::default().get("https://localhost:1").send().await.unwrap_err();

    assert!(
        matches!(
            error,
            awc::error::SendRequestError::Connect(awc::error::ConnectError::SslIsNotSupported)
        ),
        "{error:?}"
    );
}

/// TLS is compiled in: this process has loaded no TLS library of the system.
#[test]
#[cfg(target_os = "linux")]
fn no_tls_library_of_the_system_is_needed() {
    let loaded = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(loaded.contains("libc"), "the list names libraries: {loaded}");
    for library in ["libssl", "libcrypto", "libgnutls"] {
        assert!(!loaded.contains(library), "{library}");
    }
}

/// The system's roots come from the file in `SSL_CERT_FILE`. A process with threads must not change
/// its environment, so each test runs itself again in a process of its own.
#[cfg(feature = "rustls-0_23-native-roots")]
mod roots_of_the_system {
    use std::{
        env, fs,
        path::Path,
        process::{self, Command},
    };

    use super::*;
    use crate::support::own_process::{again, passes};

    const SERVER: &str = "STATSIG_TEST_TLS_SERVER";

    /// Runs a test again on a system with these roots, and gives it the server's URL.
    fn run_again(mut test: Command, name: &str, roots: &str, server: &str) {
        let name = format!("{name}-{}.pem", process::id());
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&file, roots).expect("a file of roots");
        passes(test.env("SSL_CERT_FILE", &file).env_remove("SSL_CERT_DIR").env(SERVER, server));
        fs::remove_file(file).expect("the file of roots is still there");
    }

    #[actix_rt::test]
    async fn are_trusted_with_or_without_the_compiled_in_ones() -> Result<(), Error> {
        if let Ok(server) = env::var(SERVER) {
            // Then a server of that authority is trusted, although the settings do not name the
            // authority
            assert!(ask(settings(server, "")).await?);
            return Ok(());
        }
        // Given a system that trusts an authority of its own
        let authority = Authority::new("the system's");
        let server = Server::tls(authority.issue("localhost").config());

        // When an app runs on it
        run_again(again(&|| ()), "trusted", &authority.pem(), &server.url("localhost"));

        assert_eq!(server.connections(), 1, "the process connects to the server");
        Ok(())
    }

    #[test]
    fn may_be_none_at_all() {
        if let Ok(server) = env::var(SERVER) {
            // Then nothing panics: whether other roots exist decides the result
            let settings = Config::builder("secret-key").base_url(server);
            let started = settings.build().and_then(Statsig::start);
            if cfg!(feature = "rustls-0_23-webpki-roots") {
                assert!(started.is_ok(), "{started:?}");
            } else {
                assert!(
                    matches!(started, Err(Error::InvalidConfig { setting: "base_url", .. })),
                    "{started:?}"
                );
            }
            return;
        }
        // Given a system without roots, when an app runs on it
        run_again(again(&|| ()), "none", "", "https://localhost:1");
    }
}
