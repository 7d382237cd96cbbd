//! The transports, and the threads they run on.

use std::{collections::BTreeMap, io, sync::Arc};

use actix::Supervisor;
use actix_rt::Arbiter;
use rustls::ClientConfig;

use super::TransportActor;
use crate::{
    config::Config, message::call::TransportFactory, model::error::Error, shared::Shared,
    transport::retry::shared_health::SharedHealth,
};

/// Makes transports by index. A single transport runs on the current arbiter, and each of several
/// on an arbiter of its own. Each gets its share of the calls in flight. All share what they learn
/// about the server's health.
pub(crate) fn factory(
    config: &Config,
    tls: Arc<ClientConfig>,
    shared: &Arc<Shared>,
) -> TransportFactory {
    let (config, shared) = (config.clone(), Arc::clone(shared));
    let health = Arc::new(SharedHealth::new(&config));
    let mut arbiters = Arbiters::default();
    Box::new(move |index| {
        let (config, tls) = (config.clone(), Arc::clone(&tls));
        let (shared, health) = (Arc::clone(&shared), Arc::clone(&health));
        let transports = config.transports();
        let max_in_flight = share(config.max_in_flight(), transports, index);
        let make = move |_: &mut _| TransportActor::new(config, max_in_flight, tls, shared, health);
        let transport = match transports {
            1 => Supervisor::start(make),
            _ => Supervisor::start_in_arbiter(&arbiters.start(index)?.handle(), make),
        };
        Ok(transport.recipient())
    })
}

/// Returns the share of the transport with this index.
fn share(all: usize, among: usize, index: usize) -> usize {
    all / among + usize::from(index < all % among)
}

/// The transports' threads. Dropping this value stops and joins the threads.
#[derive(Default)]
struct Arbiters(BTreeMap<usize, Arbiter>);

impl Arbiters {
    fn start(&mut self, index: usize) -> Result<&Arbiter, Error> {
        // The previous transport with this index is gone.
        if let Some(arbiter) = self.0.remove(&index) {
            arbiter.stop();
        }
        let failed = |error: io::Error| Error::Start { source: Arc::new(error) };
        Ok(self.0.entry(index).or_insert(Arbiter::try_new().map_err(failed)?))
    }
}

impl Drop for Arbiters {
    fn drop(&mut self) {
        for arbiter in self.0.values() {
            arbiter.stop();
        }
        for arbiter in std::mem::take(&mut self.0).into_values() {
            // A thread that panicked has also ended.
            let _ = arbiter.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shares_add_up_and_none_is_zero(among in 1usize..=64, more in 0usize..961) {
            let all = among + more;
            let shares: Vec<_> = (0..among).map(|index| share(all, among, index)).collect();
            prop_assert_eq!(shares.iter().sum::<usize>(), all);
            prop_assert!(shares.iter().all(|share| (all / among..=all / among + 1).contains(share)));
        }
    }
}
