//! The connections to the server.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use reqwest::Client;

use crate::SignalingError;

/// The connections that all peers of a client share.
pub(super) struct Connections {
    client: Mutex<Client>,
    make: Box<dyn Fn() -> Result<Client, SignalingError> + Send + Sync>,
}

impl Connections {
    /// Connections of clients as `make` makes them. None is opened before it is needed.
    pub(super) fn new(
        make: impl Fn() -> Result<Client, SignalingError> + Send + Sync + 'static,
    ) -> Result<Self, SignalingError> {
        Ok(Self {
            client: Mutex::new(make()?),
            make: Box::new(make),
        })
    }

    /// What sends the next request.
    pub(super) fn client(&self) -> Client {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.clone()
    }

    /// Leaves the open connections to the requests that use them; the next ones open new ones.
    pub(super) fn renew(&self) {
        match (self.make)() {
            Ok(client) => {
                *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
            }
            Err(error) => tracing::debug!(%error, "the old connections stay"),
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}
