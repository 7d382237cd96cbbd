//! Starts the component.

use std::{sync::Arc, time::Duration};

use actix::Recipient;

use super::{
    Statsig,
    component::{self, Component},
};
use crate::{
    config::Config,
    message::call::{Call, TransportFactory},
    model::error::Error,
    shared::Shared,
    transport::{self, tls},
};

impl Statsig {
    /// Starts the component on its own thread, with its own `System`. It works with any runtime or none,
    /// and keeps running when a signal makes actix-web stop its server.
    ///
    /// If the process has no default crypto provider for rustls, this installs ring's: awc would
    /// panic without one in some apps. An app that needs another provider installs it first.
    ///
    /// # Errors
    /// As [`StatsigBuilder::start`].
    pub fn start(config: Config) -> Result<Self, Error> {
        Self::builder(config).start()
    }

    /// Starts the component on the current arbiter, so calls from that thread stay on it. The component
    /// ends with the arbiter.
    ///
    /// # Errors
    /// As [`StatsigBuilder::start_in_current_arbiter`].
    pub fn start_in_current_arbiter(config: Config) -> Result<Self, Error> {
        Self::builder(config).start_in_current_arbiter()
    }

    /// Returns a builder, which can replace the HTTP transport with [your own](crate::transport).
    ///
    /// ```
    /// # use actix_statsig::{Config, Error, Statsig};
    /// # use actix::prelude::*;
    /// # use actix_statsig::transport::Call;
    /// # struct Offline;
    /// # impl Actor for Offline { type Context = Context<Self>; }
    /// # impl Handler<Call> for Offline { type Result = (); fn handle(&mut self, _: Call, _: &mut Context<Self>) {} }
    /// # fn example(config: Config) -> Result<Statsig, Error> {
    /// Statsig::builder(config).transport(|| Ok(Offline.start().recipient())).start()
    /// # }
    /// ```
    pub fn builder(config: Config) -> StatsigBuilder {
        StatsigBuilder { config, transport: Http }
    }

    fn of(component: Component, timeout: Duration) -> Self {
        let Component { addr, shared, gone } = component;
        Self { addr, shared, timeout, gone }
    }
}

/// Starts a [`Statsig`]; made by [`Statsig::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `start` is called"]
pub struct StatsigBuilder<T = Http> {
    config: Config,
    transport: T,
}

/// The default transport of a [`StatsigBuilder`]: Statsig's HTTP API.
#[derive(Clone, Copy, Debug)]
pub struct Http;

impl StatsigBuilder {
    /// Sends calls to the app's own actors instead of over HTTP.
    ///
    /// The component calls the factory on its own thread: once for each of the configured
    /// [`transports`](Config::transports), and again when a transport has stopped.
    pub fn transport<F>(self, factory: F) -> StatsigBuilder<F>
    where
        F: FnMut() -> Result<Recipient<Call>, Error>,
    {
        StatsigBuilder { config: self.config, transport: factory }
    }

    /// Starts the component on its own thread, as [`Statsig::start`] does.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for an `https` URL without root certificates,
    /// [`Error::Start`] if the thread cannot be started.
    pub fn start(self) -> Result<Statsig, Error> {
        let timeout = self.config.timeout();
        let factory = http(&self.config)?;
        Ok(Statsig::of(component::on_own_thread(self.config, factory)?, timeout))
    }

    /// Starts the component on the current arbiter, as [`Statsig::start_in_current_arbiter`] does.
    ///
    /// # Errors
    /// [`Error::NoArbiter`] outside a running actix `System`; otherwise as [`start`](Self::start).
    pub fn start_in_current_arbiter(self) -> Result<Statsig, Error> {
        let factory = http(&self.config)?;
        let component = component::on_this_arbiter(&self.config, factory)?;
        Ok(Statsig::of(component, self.config.timeout()))
    }
}

impl<F> StatsigBuilder<F>
where
    F: FnMut() -> Result<Recipient<Call>, Error> + 'static,
{
    /// Starts the component on its own thread, as [`Statsig::start`] does.
    ///
    /// # Errors
    /// [`Error::Start`] if the thread cannot be started.
    pub fn start(self) -> Result<Statsig, Error>
    where
        F: Send,
    {
        let timeout = self.config.timeout();
        let factory = |_: &_, _: &_| custom(self.transport);
        Ok(Statsig::of(component::on_own_thread(self.config, factory)?, timeout))
    }

    /// Starts the component on the current arbiter, as [`Statsig::start_in_current_arbiter`] does.
    ///
    /// # Errors
    /// [`Error::NoArbiter`] outside a running actix `System`.
    pub fn start_in_current_arbiter(self) -> Result<Statsig, Error> {
        let factory = |_: &_, _: &_| custom(self.transport);
        let component = component::on_this_arbiter(&self.config, factory)?;
        Ok(Statsig::of(component, self.config.timeout()))
    }
}

/// Makes the factory of HTTP transports.
fn http(
    config: &Config,
) -> Result<impl FnOnce(&Config, &Arc<Shared>) -> TransportFactory + Send + use<>, Error> {
    let tls = tls::client_config(config)?;
    config.proxy_choice().log();
    Ok(move |config: &Config, shared: &Arc<Shared>| transport::factory(config, tls, shared))
}

fn custom<F>(mut factory: F) -> TransportFactory
where
    F: FnMut() -> Result<Recipient<Call>, Error> + 'static,
{
    Box::new(move |_| factory())
}
