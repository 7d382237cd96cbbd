//! Changes the API key while the component runs.

use super::Statsig;
use crate::{config::check_api_key, message::KeyChanged, model::error::Error};

impl Statsig {
    /// Changes the API key without losing a request.
    ///
    /// Once this completes, the cache has no answers of the old key. Calls in flight keep the old
    /// key; if Statsig refuses it, they are sent again with the new key. With [a transport of your
    /// own](crate::transport), which has no key, this only clears the cache.
    ///
    /// Setting the same key again changes nothing.
    ///
    /// ```
    /// # use actix_statsig::{Error, Statsig};
    /// # async fn rotate(statsig: Statsig) -> Result<(), Box<dyn std::error::Error>> {
    /// let key = std::fs::read_to_string("/run/secrets/statsig")?;
    /// statsig.set_api_key(key.trim_end()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if the key is invalid (the old key stays in use);
    /// [`Error::ShuttingDown`] or [`Error::Closed`] if the component has ended.
    pub async fn set_api_key(&self, api_key: impl AsRef<str>) -> Result<(), Error> {
        let api_key = api_key.as_ref();
        check_api_key(api_key)?;
        if !self.shared.api_key.change(api_key) {
            return Ok(());
        }
        // New attempts use the new key from here on; the actor keeps earlier answers out of the cache.
        self.addr.send(KeyChanged).await.map_err(|_| self.shared.why_closed())
    }
}
