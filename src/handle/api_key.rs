//! Another API key, while the component runs.

use super::Statsig;
use crate::{config::check_api_key, message::KeyChanged, model::error::Error};

impl Statsig {
    /// Asks Statsig with another key from now on, without losing a request.
    ///
    /// Once this is done, the cache has no answer that was given to the key before. A call on its way
    /// goes on with the key that it was sent with; if that is refused, it is sent again with the new
    /// one. [Transports of your own](Self::builder) have no key, and only lose what is kept.
    ///
    /// The same key again changes nothing.
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
    /// [`Error::InvalidConfig`] if it cannot be a key, and then the one before stays;
    /// [`Error::ShuttingDown`] or [`Error::Closed`] if the component has ended.
    pub async fn set_api_key(&self, api_key: impl AsRef<str>) -> Result<(), Error> {
        let api_key = api_key.as_ref();
        check_api_key(api_key)?;
        if !self.shared.api_key.change(api_key) {
            return Ok(());
        }
        // What leaves from here on has the new key; the actor tells what left before.
        self.addr.send(KeyChanged).await.map_err(|_| self.shared.why_closed())
    }
}
