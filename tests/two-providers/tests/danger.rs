//! The situation that the other tests guard against.

use std::panic::catch_unwind;

use rustls::crypto::CryptoProvider;

#[test]
fn awcs_own_connector_panics_with_two_providers() {
    // Given an app that has installed no provider
    assert!(CryptoProvider::get_default().is_none());

    // When awc builds its own TLS
    let panic = catch_unwind(|| drop(awc::Connector::new())).expect_err("awc found a provider");

    // Then rustls cannot choose between the two providers
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(message.contains("CryptoProvider"), "{message}");
}
