//! One attempt of a dialer to reach its peer through signaling.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rondevu_core::{LinkId, ServiceName, ServiceUuid, Username};
use rondevu_durable::{DialFailure, DialRetry};
use rondevu_signaling::{Retry, Signaling, SignalingError};
use rondevu_transport::TransportFactory;

use crate::cable::Cable;
use crate::clock::Clock;
use crate::link::Link;
use crate::sockets::Sockets;

/// Whom to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A service by its owner and name; looked up again for every attempt.
    Service {
        /// The owner.
        username: Username,
        /// The name with its version.
        service: ServiceName,
    },
    /// A service by the uuid that the server gave it.
    Uuid(ServiceUuid),
}

/// What an attempt needs.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) target: Target,
    pub(crate) signaling: Arc<dyn Signaling>,
    pub(crate) factory: Arc<dyn TransportFactory>,
    pub(crate) bind: SocketAddr,
    pub(crate) cable: Cable,
    pub(crate) clock: Clock,
}

impl Dialer {
    /// Takes an offer, answers it, and returns the link that is looking for its path.
    ///
    /// Each attempt has fresh sockets: a new port passes where the state of a router about the old
    /// one is broken, and no two links of this dialer ever share a pair of addresses.
    pub(crate) async fn dial(self, link: LinkId) -> Result<Link, DialFailure> {
        let uuid = match &self.target {
            Target::Uuid(uuid) => uuid.clone(),
            Target::Service { username, service } => {
                let found = self.signaling.find_service(username, service).await;
                found.map_err(|error| self.refused(error))?
            }
        };
        let offer = self
            .signaling
            .take_offer(&uuid)
            .await
            .map_err(|e| self.refused(e))?;
        let any_port = SocketAddr::new(self.bind.ip(), 0);
        let sockets = Sockets::bind(any_port, self.cable.clone())
            .await
            .map_err(|error| DialFailure {
                reason: format!("cannot open a UDP socket on {}: {error}", self.bind.ip()),
                retry: DialRetry::Later,
            })?;
        let now = self.clock.now();
        let answered = self
            .factory
            .create_answer(&offer.sdp, &sockets.addresses(), now)
            .map_err(|error| DialFailure {
                reason: error.to_string(),
                retry: DialRetry::Later,
            })?;
        let answer = self
            .signaling
            .answer_offer(&offer.offer_id, &answered.description, None);
        answer.await.map_err(|error| self.refused(error))?;
        Ok(Link::with_own_sockets(link, answered.transport, sockets))
    }

    fn refused(&self, error: SignalingError) -> DialFailure {
        let retry = match (&error, error.retry()) {
            (SignalingError::ServiceNotFound, _) => DialRetry::Never,
            (SignalingError::NoOffers, _) => DialRetry::After(NO_OFFERS_DELAY),
            (_, Retry::NextOffer) => DialRetry::After(NEXT_OFFER_DELAY),
            (_, Retry::After(delay)) => DialRetry::After(delay),
            (_, Retry::Never) => DialRetry::Never,
            _ => DialRetry::Later,
        };
        let reason = match (&error, &self.target) {
            (SignalingError::ServiceNotFound, Target::Service { username, service }) => format!(
                "nobody exposes {service} as {username}: check both names and that it is running"
            ),
            (SignalingError::ServiceNotFound, Target::Uuid(uuid)) => {
                format!("there is no service {uuid}: it may have been published again")
            }
            _ => with_sources(&error),
        };
        DialFailure { reason, retry }
    }
}

/// The error and what caused it, in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The service is just creating its next offer.
const NO_OFFERS_DELAY: Duration = Duration::from_millis(100);
const NEXT_OFFER_DELAY: Duration = Duration::from_millis(25);
