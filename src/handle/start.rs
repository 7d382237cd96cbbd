//! Starting the component.

use std::time::Duration;

use actix::Recipient;

use super::{
    Statsig,
    component::{self, Component},
};
use crate::{
    config::Config,
    message::call::Call,
    model::error::Error,
    transport::{self, tls},
};

impl Statsig {
    /// Starts the component on a thread with a `System` of its own, which works from any runtime or
    /// none and outlives actix-web's handling of signals.
    ///
    /// If the process has no default crypto provider for rustls, this installs one (ring's): awc
    /// would panic without one in some apps. An app that installs its own does so before.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if `https` is asked for and nobody is trusted, [`Error::Start`] if
    /// the thread cannot be started.
    pub fn start(config: Config) -> Result<Self, Error> {
        let tls = tls::client_config(&config)?;
        config.way_out().announce();
        let timeout = config.timeout();
        let transports = move |config: &_, shared: &_| transport::factory(config, tls, shared);
        Ok(Self::of(component::on_own_thread(config, transports)?, timeout))
    }

    /// Starts the component on the current arbiter: for callers on that same thread, who then pay
    /// no hop between threads. It ends with the arbiter.
    ///
    /// # Errors
    /// [`Error::NoArbiter`] outside of a running actix `System`; otherwise as
    /// [`start`](Self::start).
    pub fn start_here(config: Config) -> Result<Self, Error> {
        let tls = tls::client_config(&config)?;
        config.way_out().announce();
        let transports = move |config: &_, shared: &_| transport::factory(config, tls, shared);
        Ok(Self::of(component::on_this_arbiter(&config, transports)?, config.timeout()))
    }

    /// The same as [`start`](Self::start), with other transports in place of HTTP. The factory runs
    /// on the component's thread, once for each of the configured
    /// [`transports`](Config::transports), and again when one of them has gone.
    ///
    /// # Errors
    /// [`Error::Start`] if the thread cannot be started.
    pub fn start_with<F>(config: Config, mut factory: F) -> Result<Self, Error>
    where
        F: FnMut() -> Result<Recipient<Call>, Error> + Send + 'static,
    {
        let timeout = config.timeout();
        let transports = |_: &_, _: &_| Box::new(move |_| factory()) as _;
        Ok(Self::of(component::on_own_thread(config, transports)?, timeout))
    }

    /// The same as [`start_here`](Self::start_here), with other transports in place of HTTP.
    ///
    /// # Errors
    /// [`Error::NoArbiter`] outside of a running actix `System`.
    pub fn start_here_with<F>(config: Config, mut factory: F) -> Result<Self, Error>
    where
        F: FnMut() -> Result<Recipient<Call>, Error> + 'static,
    {
        let transports = |_: &_, _: &_| Box::new(move |_| factory()) as _;
        Ok(Self::of(component::on_this_arbiter(&config, transports)?, config.timeout()))
    }

    fn of(component: Component, timeout: Duration) -> Self {
        let Component { addr, shared, gone } = component;
        Self { addr, shared, timeout, gone }
    }
}
