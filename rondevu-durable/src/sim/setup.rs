//! How a simulated world is furnished: everything that a seed decides before the first operation.

use std::sync::Arc;

use core::time::Duration;
use rondevu_core::{BackoffPolicy, Identity, LivenessConfig, Overflow, QueueLimits};

use super::proof::ToyKey;
use super::stranger::Manners;

use crate::{
    ChannelConfig, ConnectionConfig, FirstAttempt, HalfOpen, RequiredProof, ServiceConfig,
    SessionLimits, SessionLoss, Trust,
};

/// The furniture of a world, drawn from a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// The seed.
    pub seed: u64,
    /// How many dialers there are, 1 to 3.
    pub dialers: u8,
    /// How long a message takes, in milliseconds.
    pub latency_ms: u32,
    /// How much longer it may take.
    pub jitter_ms: u32,
    /// How connections of dialers behave.
    pub dialer: ConnectionConfig,
    /// How connections of the service behave.
    pub acceptor: ConnectionConfig,
    /// How the service behaves.
    pub service: ServiceConfig,
    /// How long a publication lasts.
    pub ttl: Duration,
    /// How many sessions the service keeps.
    pub sessions: SessionLimits,
    /// Who proves a key.
    pub proofs: Proofs,
    /// Who else calls the service.
    pub strangers: Vec<Manners>,
}

/// Who proves a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proofs {
    /// Nobody.
    None,
    /// The service, and dialers insist on it.
    Service,
    /// Everybody, and dialers insist on that of the service.
    Everybody,
}

impl Setup {
    /// What the seed stands for.
    pub fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5e7_0b57_a1e5);
        let draw = &mut rng;
        let shared = Shared::draw(draw);
        Self {
            seed,
            dialers: [1, 1, 2, 2, 3][draw.usize(..5)],
            latency_ms: [1, 5, 20, 60, 120][draw.usize(..5)],
            jitter_ms: [0, 2, 10, 40][draw.usize(..4)],
            // Accepting plain peers too, although the service is none.
            dialer: shared.connection(draw),
            acceptor: shared.connection(draw),
            service: ServiceConfig {
                pool_size: draw.usize(1..=3),
                ttl_refresh_margin: 0.2,
                backoff: BackoffPolicy {
                    base: Duration::from_millis(200),
                    max: Duration::from_secs(2),
                    jitter: 0.2,
                    attempts_max: None,
                },
                ..ServiceConfig::default()
            },
            ttl: Duration::from_secs([8, 20, 60][draw.usize(..3)]),
            sessions: SessionLimits {
                detached_max: [1, 1000][draw.usize(..2)],
                detached_bytes_max: [5000, 1 << 30][draw.usize(..2)],
                ..SessionLimits::default()
            },
            proofs: [Proofs::None, Proofs::Service, Proofs::Everybody][draw.usize(..3)],
            strangers: strangers(seed),
        }
    }

    /// How many paths lead to the service: those of dialers, then those of strangers.
    pub fn paths(&self) -> u8 {
        self.dialers + self.strangers.len() as u8
    }

    /// Who a dialer is, and whom it talks to.
    pub(super) fn trust_of_dialer(&self, dialer: u8) -> Trust {
        let identity = |key| -> Option<Arc<dyn Identity>> { Some(Arc::new(ToyKey(key))) };
        match self.proofs {
            Proofs::None => Trust::default(),
            // Checking a proof takes an identity as well.
            Proofs::Service | Proofs::Everybody => Trust {
                identity: identity(10 + dialer),
                peer: RequiredProof::Key(ToyKey(SERVICE_KEY).public_key()),
            },
        }
    }

    /// Who the service is.
    pub(super) fn trust_of_service(&self) -> Trust {
        match self.proofs {
            Proofs::None => Trust::default(),
            Proofs::Service => Trust {
                identity: Some(Arc::new(ToyKey(SERVICE_KEY))),
                peer: RequiredProof::Nothing,
            },
            Proofs::Everybody => Trust {
                identity: Some(Arc::new(ToyKey(SERVICE_KEY))),
                peer: RequiredProof::AnyKey,
            },
        }
    }

    /// What a queue may hold when the application asks for `overflow`.
    pub fn queue(&self, overflow: Overflow) -> QueueLimits {
        QueueLimits {
            overflow,
            ..self.dialer.incoming_channel.queue
        }
    }
}

/// Each kind is there in one of four worlds.
fn strangers(seed: u64) -> Vec<Manners> {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x57_4a6e);
    let all = [Manners::Plain, Manners::Hostile].into_iter();
    all.filter(|_| rng.u8(..4) == 0).collect()
}

/// What both sides of a world have in common.
struct Shared {
    resume_window: Duration,
    message_bytes_max: u64,
}

impl Shared {
    fn draw(rng: &mut fastrand::Rng) -> Self {
        Self {
            resume_window: Duration::from_secs([5, 12, 30][rng.usize(..3)]),
            message_bytes_max: 1 << 16,
        }
    }

    fn connection(&self, rng: &mut fastrand::Rng) -> ConnectionConfig {
        let backoff_max = [500, 1500, 4000][rng.usize(..3)];
        let overflow = [Overflow::Wait, Overflow::Reject, Overflow::DropOldest][rng.usize(..3)];
        let window_bytes: u64 = [1024, 2000, 20_000, 1 << 20][rng.usize(..4)];
        let fragment_bytes = [64, 100, 1000, 16 * 1024][rng.usize(..4)];
        ConnectionConfig {
            backoff: BackoffPolicy {
                base: Duration::from_millis([50, 200, 500][rng.usize(..3)]),
                max: Duration::from_millis(backoff_max),
                jitter: 0.2,
                attempts_max: [None, None, None, Some(4), Some(10)][rng.usize(..5)],
            },
            reconnect_spread: Duration::from_millis([0, 250][rng.usize(..2)]),
            stable_after: Duration::from_secs([1, 3, 10][rng.usize(..3)]),
            connection_timeout: Duration::from_secs([10, 30][rng.usize(..2)]),
            attempt_timeout: Duration::from_secs([4, 6, 10][rng.usize(..3)]),
            close_timeout: Duration::from_secs([2, 5][rng.usize(..2)]),
            resume_window: self.resume_window,
            liveness: LivenessConfig {
                heartbeat: Duration::from_millis([1000, 5000][rng.usize(..2)]),
                ..LivenessConfig::default()
            },
            window_bytes,
            message_bytes_max: self.message_bytes_max,
            fragment_bytes,
            channels_max: [3, 128][rng.usize(..2)],
            session_loss: [SessionLoss::Resend, SessionLoss::Resend, SessionLoss::Drop]
                [rng.usize(..3)],
            first_attempt: [
                FirstAttempt::KeepTrying,
                FirstAttempt::KeepTrying,
                FirstAttempt::FailFast,
            ][rng.usize(..3)],
            incoming_channel: ChannelConfig {
                queue: QueueLimits {
                    messages_max: [3, 30, 1000][rng.usize(..3)],
                    bytes_max: [2000, 1 << 20][rng.usize(..2)],
                    age_max: [
                        None,
                        None,
                        Some(Duration::from_secs(2)),
                        Some(Duration::from_secs(60)),
                    ][rng.usize(..4)],
                    overflow,
                },
                half_open: [HalfOpen::Close, HalfOpen::Close, HalfOpen::Keep][rng.usize(..3)],
                ..ChannelConfig::default()
            },
            ..ConnectionConfig::default()
        }
    }
}

/// The key that dialers expect.
const SERVICE_KEY: u8 = 1;
