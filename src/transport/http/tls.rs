//! The TLS configuration: trusted roots, crypto provider and ALPN.

use std::sync::Arc;

use awc::http::Uri;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::ServerName,
};

use crate::{config::Config, model::error::Error};

/// Returns the TLS configuration, with a crypto provider that does not depend on the app's.
///
/// ALPN offers HTTP/1.1 alone. Over HTTP/2 all calls would share one connection, and a reset or a
/// stall would fail all of them. Over HTTP/1.1, each call has a connection to itself.
pub(crate) fn client_config(config: &Config) -> Result<Arc<ClientConfig>, Error> {
    ensure_default_provider();
    let roots = roots(config)?;
    if config.uri().scheme_str() == Some("https") {
        if roots.is_empty() {
            return Err(invalid_base_url(
                config,
                "no TLS root certificates: enable the feature rustls-0_23-webpki-roots or \
                 rustls-0_23-native-roots, or set `extra_root_certificates`",
            ));
        }
        if server_name(config.uri()).is_none() {
            return Err(invalid_base_url(
                config,
                "an https URL must have a DNS name or an IP address as its host, for a certificate to \
                 name",
            ));
        }
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid_base_url(config, format!("TLS could not be set up ({error})")))?;
    let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

/// Returns the name that the server's certificate must have.
pub(super) fn server_name(uri: &Uri) -> Option<ServerName<'static>> {
    let host = uri.host()?;
    // A URL has brackets around an IPv6 address, a certificate does not.
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).ok()
}

/// Installs a default crypto provider if the process has none.
///
/// `awc::Connector::new` builds a TLS configuration that is never used. If any crate of the app
/// enables one of awc's `*-roots` features, building it panics without a default provider, unless
/// the dependency graph has exactly one provider.
fn ensure_default_provider() {
    if CryptoProvider::get_default().is_none() {
        // An error means that another thread has installed a provider, which will do.
        let _ = ring::default_provider().install_default();
    }
}

/// Returns the roots from the enabled features and the settings.
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
            rule: format!("must be valid root certificates ({error})"),
        })?;
    }
    Ok(roots)
}

#[cfg(feature = "rustls-0_23-native-roots")]
fn add_native_roots(roots: &mut RootCertStore) {
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "could not read some of the system's root certificates");
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

    // A machine may have no native roots: `tests/tls/` provides one, and makes a handshake.
    #[test]
    fn roots_of_features_and_settings_are_united() {
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
