//! Whom the transport trusts, and how it speaks TLS.

use std::sync::Arc;

use awc::http::Uri;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::ServerName,
};

use crate::{config::Config, model::error::Error};

/// TLS with a crypto provider of our own choice, so that nothing depends on which the app has.
///
/// ALPN offers HTTP/1.1 alone. Over HTTP/2 all calls would share one connection, and one that is
/// reset or stalls would take every caller's call with it; over HTTP/1.1 each call has a connection
/// for as long as it lasts, and trouble stays with the call that has it.
pub(crate) fn client_config(config: &Config) -> Result<Arc<ClientConfig>, Error> {
    ensure_default_provider();
    let roots = roots(config)?;
    if config.uri().scheme_str() == Some("https") {
        if roots.is_empty() {
            return Err(invalid_base_url(
                config,
                "needs somebody to trust: turn on one of the features rustls-0_23-webpki-roots \
                 and rustls-0_23-native-roots, or set `extra_root_certificates`",
            ));
        }
        if server_name(config.uri()).is_none() {
            return Err(invalid_base_url(
                config,
                "must, for https, have a host that a certificate can be for: a DNS name or an \
                 address",
            ));
        }
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            invalid_base_url(config, format!("needs TLS, which could not be set up ({error})"))
        })?;
    let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

/// Whom the server's certificate has to be for.
pub(super) fn server_name(uri: &Uri) -> Option<ServerName<'static>> {
    let host = uri.host()?;
    // A URL has brackets around an IPv6 address, and a certificate has not.
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).ok()
}

/// Gives the process a default crypto provider if it has none.
///
/// `awc::Connector::new` builds TLS of awc's own, which is never used. If any crate of the app
/// turns one of awc's `*-roots` features on, that panics unless there is a default, or exactly one
/// provider in the dependency graph.
fn ensure_default_provider() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, which serves as well.
        let _ = ring::default_provider().install_default();
    }
}

/// The roots of the features, united, and those of the settings.
fn roots(config: &Config) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    #[cfg(feature = "rustls-0_23-webpki-roots")]
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    #[cfg(feature = "rustls-0_23-native-roots")]
    add_native_roots(&mut roots);
    for certificate in config.extra_roots() {
        roots.add(certificate.clone()).map_err(|error| Error::InvalidConfig {
            setting: "extra_root_certificates",
            value: format!("{} bytes", certificate.len()),
            rule: format!("must be certificates that can be trusted ({error})"),
        })?;
    }
    Ok(roots)
}

#[cfg(feature = "rustls-0_23-native-roots")]
fn add_native_roots(roots: &mut RootCertStore) {
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "some of the system's root certificates could not be read");
    }
    roots.add_parsable_certificates(native.certs);
}

fn invalid_base_url(config: &Config, rule: impl Into<String>) -> Error {
    let value = config.base_url().to_owned();
    Error::InvalidConfig { setting: "base_url", value, rule: rule.into() }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    // A machine may have no roots of its own: `tests/tls/` gives it one, and shakes hands.
    #[test]
    fn the_roots_of_the_features_and_of_the_settings_are_united() {
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let own = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let config = Config::builder("secret-key").extra_root_certificates(own.pem());

        let roots = roots(&config.build().unwrap()).unwrap();

        let mut expected = RootCertStore::empty();
        expected.add(own.der().clone()).unwrap();
        #[cfg(feature = "rustls-0_23-webpki-roots")]
        expected.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        #[cfg(feature = "rustls-0_23-native-roots")]
        expected.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for root in &expected.roots {
            assert!(roots.roots.contains(root), "{root:?}");
        }
    }
}
