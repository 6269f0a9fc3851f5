//! One attempt of a dialer to reach its peer through signaling.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rondevu_core::{LinkId, OfferId, ServiceName, ServiceUuid, Username};
use rondevu_durable::{DialFailure, DialRetry};
use rondevu_signaling::{Retry, ServiceOffer, Signaling, SignalingError};
use rondevu_transport::{Transport, TransportFactory};

use crate::announcement::take_announcement;
use crate::burst::{Burst, queue};
use crate::cable::Cable;
use crate::clock::Clock;
use crate::error::Error;
use crate::ice::IceConfig;
use crate::line::Lines;
use crate::link::Link;
use crate::paths::Paths;
use crate::trickle::Trickling;

/// Whom to connect to; the `ConnectionInfo` of the TypeScript client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

impl Target {
    /// A service by the texts of its owner and name.
    ///
    /// # Errors
    ///
    /// [`Error::Username`], [`Error::ServiceName`].
    pub fn parse(username: &str, service: &str) -> Result<Self, Error> {
        Ok(Self::Service {
            username: Username::parse(username)?,
            service: ServiceName::parse(service)?,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { username, service } => write!(f, "{username}/{service}"),
            Self::Uuid(uuid) => write!(f, "{uuid}"),
        }
    }
}

/// What an attempt needs.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) target: Target,
    pub(crate) signaling: Arc<dyn Signaling>,
    pub(crate) factory: Arc<dyn TransportFactory>,
    pub(crate) bind: SocketAddr,
    pub(crate) cable: Cable,
    pub(crate) ice: Arc<IceConfig>,
    pub(crate) clock: Clock,
    pub(crate) lines: Lines,
    /// How long an attempt may take to get an offer of its own and to answer it.
    pub(crate) patience: Duration,
}

/// What an attempt has come to.
pub(crate) struct Dialed {
    /// It is looking for its path.
    pub(crate) link: Link,
    /// Whether the service has announced that it speaks the session protocol.
    pub(crate) announced: bool,
}

/// An offer that was answered.
struct Called {
    offer: OfferId,
    transport: Box<dyn Transport>,
    announced: bool,
}

/// What one attempt has found out so far.
#[derive(Debug, Default)]
struct Search {
    uuid: Option<ServiceUuid>,
    /// Offers that others were given too, and answered first.
    spent: Vec<OfferId>,
    /// Whether the server has said that there is no offer at the moment.
    was_late: bool,
}

impl Dialer {
    /// Takes an offer and answers it.
    ///
    /// While signaling is under way, addresses are being found.
    ///
    /// Each attempt has fresh sockets: a new port passes where the state of a router about the old
    /// one is broken, and no two links of this dialer ever share a pair of addresses.
    pub(crate) async fn dial(self, link: LinkId) -> Result<Dialed, DialFailure> {
        let any_port = SocketAddr::new(self.bind.ip(), 0);
        let (inlet, datagrams) = queue();
        let deliver = move |burst: Burst| inlet.push(burst);
        let paths = Paths::open(any_port, self.cable.clone(), &self.ice, self.clock, deliver);
        let paths = paths.await.map_err(|error| DialFailure {
            reason: format!("cannot open a UDP socket on {}: {error}", self.bind.ip()),
            retry: DialRetry::Later,
        })?;
        let called = self.call(&paths).await?;
        let signaling = Arc::clone(&self.signaling);
        let transport = Trickling::start(
            called.transport,
            signaling,
            called.offer,
            self.ice.mdns(),
            self.clock,
        );
        Ok(Dialed {
            link: Link::with_own_paths(link, Box::new(transport), paths, datagrams),
            announced: called.announced,
        })
    }

    /// Gets an offer of its own. While there are too few, the dialers of this client get them in
    /// the order of their coming, and only the first of them asks.
    async fn call(&self, paths: &Paths) -> Result<Called, DialFailure> {
        let mut search = Search::default();
        let in_time = tokio::time::timeout(self.patience, async {
            if !self.lines.is_forming(&self.target) {
                match self.answer_one(&mut search, paths).await {
                    Err(Miss::Taken | Miss::NoOffer) => {}
                    other => return other,
                }
            }
            let _place = self.lines.reach_head(&self.target).await;
            let mut rounds = 0;
            loop {
                match self.answer_one(&mut search, paths).await {
                    // There may be more.
                    Err(Miss::Taken) => tokio::time::sleep(jitter(TAKEN_PAUSE, 1.0)).await,
                    Err(Miss::NoOffer) => {
                        tokio::time::sleep(no_offer_pause(rounds)).await;
                        rounds += 1;
                    }
                    other => return other,
                }
            }
        });
        match in_time.await {
            Ok(Ok(called)) => Ok(called),
            Ok(Err(Miss::Failed(failure))) => Err(failure),
            Ok(Err(Miss::Taken | Miss::NoOffer)) | Err(_) => Err(DialFailure {
                reason: match search.was_late {
                    true => "the service has no free offer: others are faster".into(),
                    false => format!("signaling took longer than {:?}", self.patience),
                },
                retry: DialRetry::After(NO_OFFER_PAUSE),
            }),
        }
    }

    /// Takes the next offer and answers it.
    async fn answer_one(&self, search: &mut Search, paths: &Paths) -> Result<Called, Miss> {
        let taken = self.take(search).await;
        search.was_late |= matches!(taken, Err(Miss::NoOffer));
        let mut offer = taken?;
        if search.spent.contains(&offer.offer_id) {
            search.was_late = true;
            return Err(Miss::NoOffer);
        }
        let announced = take_announcement(&mut offer.sdp);
        let candidates = paths.candidates().await.map_err(|error| later(&error))?;
        let now = self.clock.now();
        let answered = self
            .factory
            .create_answer(&offer.sdp, &candidates, now)
            .map_err(|error| later(&error))?;
        let answer = self
            .signaling
            .answer_offer(&offer.offer_id, &answered.description, None);
        match answer.await {
            Ok(()) => Ok(Called {
                offer: offer.offer_id,
                transport: answered.transport,
                announced,
            }),
            Err(SignalingError::OfferAlreadyAnswered | SignalingError::OfferGone) => {
                search.spent.push(offer.offer_id);
                search.was_late = true;
                Err(Miss::Taken)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn take(&self, search: &mut Search) -> Result<ServiceOffer, Miss> {
        let mut renewals = 0;
        loop {
            let uuid = match search.uuid.take() {
                Some(uuid) => uuid,
                None => self.find().await?,
            };
            match self.signaling.take_offer(&uuid).await {
                Ok(offer) => {
                    search.uuid = Some(uuid);
                    return Ok(offer);
                }
                Err(SignalingError::NoOffers) => {
                    search.uuid = Some(uuid);
                    return Err(Miss::NoOffer);
                }
                // Published again between the two requests, with some servers under another uuid.
                Err(error)
                    if error.retry() == Retry::LookUp
                        && matches!(self.target, Target::Service { .. })
                        && renewals < RENEWALS_MAX =>
                {
                    renewals += 1;
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    async fn find(&self) -> Result<ServiceUuid, Miss> {
        match &self.target {
            Target::Uuid(uuid) => Ok(uuid.clone()),
            Target::Service { username, service } => {
                let found = self.signaling.find_service(username, service).await;
                found.map_err(|error| self.failed(&error))
            }
        }
    }

    fn failed(&self, error: &SignalingError) -> Miss {
        let retry = match (error, error.retry()) {
            (SignalingError::ServiceNotFound, _) => DialRetry::Never,
            (SignalingError::ServiceMoved, _) => match self.target {
                Target::Uuid(_) => DialRetry::Never,
                Target::Service { .. } => DialRetry::Later,
            },
            (_, Retry::After(delay)) => DialRetry::After(delay.max(TAKEN_PAUSE)),
            (_, Retry::Never) => DialRetry::Never,
            _ => DialRetry::Later,
        };
        let reason = match (error, &self.target) {
            (SignalingError::ServiceNotFound, Target::Service { username, service }) => format!(
                "nobody exposes {service} as {username}: check both names and that it is running"
            ),
            (SignalingError::ServiceMoved, Target::Uuid(uuid)) => {
                format!("there is no service {uuid}: it may have been published again")
            }
            _ => with_sources(error),
        };
        Miss::Failed(DialFailure { reason, retry })
    }
}

/// A failure that another attempt may not meet.
fn later(error: &dyn std::error::Error) -> Miss {
    Miss::Failed(DialFailure {
        reason: with_sources(error),
        retry: DialRetry::Later,
    })
}

/// Why a dialer did not get an offer.
enum Miss {
    /// Another dialer answered first.
    Taken,
    /// All offers are taken.
    NoOffer,
    /// Something else.
    Failed(DialFailure),
}

/// Short at first, since a refill takes no longer. Then who has waited longer asks more often, so
/// that dialers of different clients too are served roughly in the order of their coming.
fn no_offer_pause(rounds: u32) -> Duration {
    let pause = match rounds.checked_sub(REFILL_ROUNDS) {
        None => REFILL_PAUSE,
        Some(later) => NO_OFFER_PAUSE
            .saturating_sub(PAUSE_STEP * later)
            .max(NO_OFFER_PAUSE_MIN),
    };
    jitter(pause, 0.25)
}

/// `pause`, varied by `share` of it, so that those who came together do not come together again.
fn jitter(pause: Duration, share: f64) -> Duration {
    let mut byte = [128];
    // Without randomness nothing else works either; the pause as it is does no harm.
    let _ = getrandom::fill(&mut byte);
    pause.mul_f64(1.0 + share * (f64::from(byte[0]) / 128.0 - 1.0))
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

/// The service is just creating its next offers.
const REFILL_PAUSE: Duration = Duration::from_millis(25);
const REFILL_ROUNDS: u32 = 3;
/// The service is slow, or there are many dialers.
const NO_OFFER_PAUSE: Duration = Duration::from_millis(100);
const NO_OFFER_PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_STEP: Duration = Duration::from_millis(5);
/// The next offer is there at once; the jitter is for those who lost the same one.
const TAKEN_PAUSE: Duration = Duration::from_millis(10);
/// A service that is renewed more often between two requests is not to be caught.
const RENEWALS_MAX: u32 = 3;
