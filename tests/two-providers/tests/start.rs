//! The component starts on a thread of its own.

use actix_statsig::{Error, Statsig};
use rustls::crypto::CryptoProvider;
use two_providers::Site;

#[actix_rt::test]
async fn start_gets_an_answer_over_https() -> Result<(), Error> {
    let site = Site::new();
    assert!(CryptoProvider::get_default().is_none(), "the app must not install a provider");

    let statsig = Statsig::start(site.config()?)?;

    site.ask(&statsig).await
}
