//! The peers and names of one check, and short words for what checks do.

use core::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rondevu_core::{IceCandidate, ServiceName, SessionDescription, Username};

use super::Outcome;
use crate::{
    CreatedOffer, KeyPair, NewOffer, Publication, PublishedService, Signaling, SignalingError,
    SignedClaim, SignedPublish, UnixMillis,
};

pub(super) const NO_WAIT: Duration = Duration::ZERO;

/// Below the longest wait and the limit of a check: whoever is not woken fails the check.
pub(super) const LONG_WAIT: Duration = Duration::from_secs(20);

/// A service and some dialers that have not met yet, and a name that nobody has.
pub(super) struct Stage {
    pub(super) service: Arc<dyn Signaling>,
    pub(super) dialers: [Arc<dyn Signaling>; 4],
    pub(super) keys: KeyPair,
    pub(super) name: Username,
    random: String,
    signed_at: AtomicU64,
}

impl Stage {
    pub(super) fn new(make_peer: &impl Fn() -> Arc<dyn Signaling>) -> Result<Self, String> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
        let random = format!("{:016x}", u64::from_ne_bytes(bytes));
        Ok(Self {
            service: make_peer(),
            dialers: std::array::from_fn(|_| make_peer()),
            keys: KeyPair::generate().map_err(|error| error.to_string())?,
            name: Username::parse(&format!("test-{random}")).map_err(|e| e.to_string())?,
            random,
            signed_at: AtomicU64::new(0),
        })
    }

    pub(super) fn dialer(&self) -> &dyn Signaling {
        &*self.dialers[0]
    }

    pub(super) fn stranger(&self) -> &dyn Signaling {
        &*self.dialers[1]
    }

    /// The time for a signature, never the same twice: signatures may be good once only.
    fn signing_time(&self) -> UnixMillis {
        let now = UnixMillis::now().0;
        let before = self.signed_at.fetch_max(now, Ordering::Relaxed);
        match now > before {
            true => UnixMillis(now),
            false => UnixMillis(self.signed_at.fetch_add(1, Ordering::Relaxed) + 1),
        }
    }

    pub(super) fn claim(&self) -> SignedClaim {
        self.keys.sign_claim(&self.name, self.signing_time())
    }

    pub(super) async fn claim_name(&self) -> Outcome {
        let claimed = self.service.claim_username(&self.claim()).await;
        claimed.map(drop).or_problem("claiming a free name")
    }

    pub(super) fn service_name(&self, label: &str) -> Result<ServiceName, String> {
        let name = ServiceName::parse(&format!("org.example.{label}@1.0.0"));
        name.map_err(|error| error.to_string())
    }

    /// Descriptions are random, as some servers identify offers by them.
    pub(super) fn sdp(&self, text: &str) -> String {
        format!("v=0\r\ns={text} {}\r\n", self.random)
    }

    pub(super) fn offer(&self, text: &str) -> SessionDescription {
        SessionDescription::offer(self.sdp(text))
    }

    pub(super) fn answer(&self, text: &str) -> SessionDescription {
        SessionDescription::answer(self.sdp(text))
    }

    pub(super) fn new_offer(&self, text: &str) -> NewOffer {
        NewOffer::new(self.offer(text))
    }

    pub(super) fn sign_publish(&self, service: &ServiceName) -> SignedPublish {
        self.keys
            .sign_publish(&self.name, service, self.signing_time())
    }

    pub(super) fn publication(&self, label: &str, text: &str) -> Result<Publication, String> {
        let service = self.service_name(label)?;
        let signed = self.sign_publish(&service);
        Ok(Publication::new(
            self.name.clone(),
            service,
            self.offer(text),
            signed,
        ))
    }

    /// Publishes under a name that is claimed already.
    pub(super) async fn publish(
        &self,
        label: &str,
        text: &str,
    ) -> Result<PublishedService, String> {
        let publication = self.publication(label, text)?;
        let published = self.service.publish_service(&publication).await;
        published.or_problem("publishing a service")
    }

    pub(super) async fn create(&self, offer: NewOffer) -> Result<CreatedOffer, String> {
        let mut created = self
            .service
            .create_offers(&[offer])
            .await
            .or_problem("creating an offer")?;
        expect_eq("the number of created offers", created.len(), 1)?;
        Ok(created.remove(0))
    }
}

pub(super) fn candidate(number: usize) -> IceCandidate {
    IceCandidate {
        candidate: format!("candidate:{number} 1 udp 1 192.0.2.1 {number} typ host"),
        sdp_mid: Some("0".into()),
        sdp_m_line_index: Some(0),
        username_fragment: None,
    }
}

/// Turns errors into problems.
pub(super) trait OrProblem<T> {
    fn or_problem(self, doing: &str) -> Result<T, String>;
}

impl<T> OrProblem<T> for Result<T, SignalingError> {
    fn or_problem(self, doing: &str) -> Result<T, String> {
        self.map_err(|error| format!("{doing} failed: {error}"))
    }
}

pub(super) fn expect_eq<T: PartialEq + fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: expected {expected:?}, found {found:?}")),
    }
}

pub(super) fn expect(what: &str, holds: bool) -> Outcome {
    match holds {
        true => Ok(()),
        false => Err(format!("it does not hold that {what}")),
    }
}

/// Expects a failure of a certain kind.
pub(super) fn expect_error<T: fmt::Debug>(
    doing: &str,
    result: Result<T, SignalingError>,
    is_expected: impl Fn(&SignalingError) -> bool,
) -> Outcome {
    match result {
        Err(error) if is_expected(&error) => Ok(()),
        Err(error) => Err(format!("{doing} failed in another way: {error:?}")),
        Ok(value) => Err(format!("{doing} did not fail: {value:?}")),
    }
}
