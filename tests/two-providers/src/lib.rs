//! Proves that actix-statsig never panics for lack of a crypto provider, whatever else its app
//! uses.
//!
//! awc's features `rustls-0_23-webpki-roots` and `rustls-0_23-native-roots` make every
//! `awc::Connector` and `awc::Client` build TLS with the process's crypto provider. If the app has
//! installed none, rustls takes the one that is compiled in, and panics if there are two.
//! actix-statsig controls neither condition, because Cargo unifies features over all crates of an
//! app. So this package is such an app: it turns on both features and compiles in both `ring` and
//! `aws-lc-rs`.
//!
//! Each file in `tests` has one test, and so a process of its own, because a process can install
//! its provider only once:
//!
//! - `danger`: the situation is as bad as described; awc's own connector panics here.
//! - `start`, `start_here`: actix-statsig starts, and gets an answer over HTTPS.
//! - `provider_of_the_app`: the same in an app with a provider of its own, which stays installed.
//!
//! ```sh
//! cargo test --manifest-path tests/two-providers/Cargo.toml
//! ```
//!
//! It is a package and a workspace of its own, so that its features do not affect the crate's other
//! tests. Like ring, aws-lc-rs needs a C compiler, and no system library.

#[allow(dead_code, reason = "the crate's own tests use the rest")]
#[path = "../../support/tls_server.rs"]
mod tls_server;

use actix_statsig::{Config, Error, Statsig, User};
use tls_server::{Authority, GATE, Server};

/// A server on loopback with a certificate, and settings that trust it.
pub struct Site {
    server: Server,
    authority: Authority,
}

impl Site {
    #[expect(clippy::new_without_default, reason = "it starts a server")]
    pub fn new() -> Self {
        let authority = Authority::new("test");
        let server = Server::tls(authority.issue("localhost").config());
        Self { server, authority }
    }

    pub fn config(&self) -> Result<Config, Error> {
        Config::builder("secret-key")
            .base_url(self.server.url("localhost"))
            .extra_root_certificates(self.authority.pem())
            .timeout(std::time::Duration::from_secs(60))
            .attempt_timeout(std::time::Duration::from_secs(60))
            .build()
    }

    /// Checks a gate, and asserts that the answer came over TLS.
    pub async fn ask(&self, statsig: &Statsig) -> Result<(), Error> {
        assert!(statsig.check_gate(&User::new("u-1")?, GATE).await?);
        assert_eq!(self.server.protocols(), [Some("http/1.1".to_owned())]);
        Ok(())
    }
}
