//! The app has installed a provider of its own.

use std::sync::Arc;

use actix_statsig::{Error, Statsig};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use two_providers::Site;

#[actix_rt::test]
async fn provider_installed_by_the_app_stays() -> Result<(), Error> {
    let site = Site::new();
    aws_lc_rs::default_provider().install_default().expect("the first to install one");
    let of_the_app = Arc::clone(CryptoProvider::get_default().expect("the one just installed"));

    let statsig = Statsig::start(site.config()?)?;
    site.ask(&statsig).await?;

    let now = CryptoProvider::get_default().expect("as before");
    assert!(Arc::ptr_eq(&of_the_app, now));
    Ok(())
}
