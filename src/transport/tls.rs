//! Whom the transport trusts, and how it speaks TLS.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
};

use crate::{config::Config, error::Error};

/// TLS with a crypto provider of our own choice, so that nothing depends on which the app has.
///
/// ALPN offers HTTP/1.1 alone. Over HTTP/2 all calls would share one connection, and one that is
/// reset or stalls would take every caller's call with it; over HTTP/1.1 each call has a connection
/// for as long as it lasts, and trouble stays with the call that has it.
pub(crate) fn client_config(config: &Config) -> Result<Arc<ClientConfig>, Error> {
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
    if roots.is_empty() && config.uri().scheme_str() == Some("https") {
        return Err(Error::InvalidConfig {
            setting: "base_url",
            value: config.base_url().to_owned(),
            rule: "needs somebody to trust: turn on one of the features rustls-0_23-webpki-roots \
                   and rustls-0_23-native-roots, or set `extra_root_certificates`"
                .to_owned(),
        });
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::InvalidConfig {
            setting: "base_url",
            value: config.base_url().to_owned(),
            rule: format!("needs TLS, which could not be set up ({error})"),
        })?;
    let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

/// Gives the process a default crypto provider if it has none.
///
/// `awc::Connector::new` builds TLS of awc's own before ours replaces it. If any crate of the app
/// turns one of awc's `*-roots` features on, that panics unless there is a default, or exactly one
/// provider in the dependency graph.
pub(super) fn ensure_default_provider() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, which serves as well.
        let _ = ring::default_provider().install_default();
    }
}

#[cfg(feature = "rustls-0_23-native-roots")]
fn add_native_roots(roots: &mut RootCertStore) {
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "some of the system's root certificates could not be read");
    }
    roots.add_parsable_certificates(native.certs);
}
