//! What a client is made of.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rondevu_durable::ConnectionConfig;
use rondevu_signaling::{HttpSignaling, KeyPair, Signaling};
use rondevu_transport::TransportFactory;
use rondevu_transport::gather::{IceServer, IceTransportPolicy, check_servers};

use crate::addresses::Addresses;
use crate::cable::Cable;
use crate::client::{Inner, Rondevu};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::error::Error;
use crate::ice::IceConfig;
use crate::known_keys::{KeyPolicy, KnownKeys, KnownKeysInMemory};
use crate::line::Lines;
use crate::mdns::Mdns;

/// Settings of a [`Rondevu`] client; only the server is needed.
#[derive(Default)]
pub struct RondevuBuilder {
    server: Option<String>,
    signaling: Option<Arc<dyn Signaling>>,
    engine: Engine,
    transport: Option<(Arc<dyn TransportFactory>, Clock)>,
    key_pair: Option<KeyPair>,
    key_policy: KeyPolicy,
    known_keys: Option<Arc<dyn KnownKeys>>,
    bind: Option<SocketAddr>,
    config: ConnectionConfig,
    cable: Cable,
    ice: IceConfig,
    names: Names,
}

/// What is done with names in place of addresses.
#[derive(Clone, Copy, Default)]
enum Names {
    #[default]
    Asked,
    Ignored,
    #[cfg(test)]
    AskedOnLoopback(u16),
}

impl Names {
    fn mdns(self, bind: SocketAddr) -> Option<Mdns> {
        match self {
            Self::Asked => Some(Mdns::bound_to(bind.ip())),
            Self::Ignored => None,
            #[cfg(test)]
            Self::AskedOnLoopback(port) => Some(crate::mdns::tests::on_loopback(port)),
        }
    }
}

impl std::fmt::Debug for RondevuBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RondevuBuilder")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl RondevuBuilder {
    /// The address of the signaling server, as in `https://rendezvous.example.com`.
    #[must_use]
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.server = Some(url.into());
        self
    }

    /// Another way of signaling than an HTTP server.
    #[must_use]
    pub fn signaling(mut self, signaling: Arc<dyn Signaling>) -> Self {
        self.signaling = Some(signaling);
        self
    }

    /// What carries the links. Default [`Engine::Str0m`]. Peers with different engines understand
    /// each other.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// The key that owns the usernames. Default: a fresh one, gone with the client.
    #[must_use]
    pub fn key_pair(mut self, key_pair: KeyPair) -> Self {
        self.key_pair = Some(key_pair);
        self
    }

    /// Whom this client takes for the owner of a username. Default
    /// [`KeyPolicy::TrustOnFirstUse`].
    #[must_use]
    pub fn key_policy(mut self, policy: KeyPolicy) -> Self {
        self.key_policy = policy;
        self
    }

    /// Where the keys of others are remembered. Default in memory, until the client is gone; use
    /// [`KnownKeysFile`](crate::KnownKeysFile) to find out a swap in a later run too.
    #[must_use]
    pub fn known_keys(mut self, known_keys: Arc<dyn KnownKeys>) -> Self {
        self.known_keys = Some(known_keys);
        self
    }

    /// The UDP address to use. An unspecified address means each usable address of the machine; the
    /// port is that of services, dialers always use a free one. Default `0.0.0.0:0`.
    #[must_use]
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = Some(address);
        self
    }

    /// Servers that help to find addresses under which peers beyond a NAT reach this program (STUN)
    /// or that pass datagrams on (TURN). Replaces those named before. Default none: no server is
    /// contacted that was not named.
    #[must_use]
    pub fn ice_servers(mut self, servers: impl IntoIterator<Item = IceServer>) -> Self {
        self.ice.servers = servers.into_iter().collect();
        self
    }

    /// Which kinds of addresses peers are told. Default [`IceTransportPolicy::All`].
    #[must_use]
    pub fn ice_transport_policy(mut self, policy: IceTransportPolicy) -> Self {
        self.ice.policy = policy;
        self
    }

    /// Whether the local network is asked, by multicast DNS, for the addresses of peers that hide them
    /// behind a name, as browsers do. Default `true`; nothing is asked before a peer has told such a
    /// name, nothing where the policy is [`IceTransportPolicy::Relay`], and only the networks that
    /// [`bind`](Self::bind) includes.
    ///
    /// Without it such a peer is heard where its datagrams come through, since these show the address.
    #[must_use]
    pub fn mdns(mut self, enabled: bool) -> Self {
        self.names = match enabled {
            true => Names::Asked,
            false => Names::Ignored,
        };
        self
    }

    /// Asks this machine alone.
    #[cfg(test)]
    pub(crate) fn mdns_on_loopback(mut self, port: u16) -> Self {
        self.names = Names::AskedOnLoopback(port);
        self
    }

    /// Preset: only peers that see each other directly, as in one network. No server is asked for
    /// addresses. This is the default.
    #[must_use]
    pub fn lan_only(self) -> Self {
        self.ice_servers([])
            .ice_transport_policy(IceTransportPolicy::All)
    }

    /// Preset: peers beyond most NATs too, with the help of public STUN servers, which learn the
    /// public address of this machine and nothing else. At the moment they are `stun.l.google.com`
    /// and `stun.cloudflare.com`, run by the companies of these names and known to browsers.
    #[must_use]
    pub fn public_stun(self) -> Self {
        let servers = IceServer::new(PUBLIC_STUN).into_iter();
        self.ice_servers(servers)
            .ice_transport_policy(IceTransportPolicy::All)
    }

    /// Preset: everything goes by these TURN servers. Peers learn no address of this machine or its
    /// network, and each byte travels twice.
    #[must_use]
    pub fn relay_only(self, servers: impl IntoIterator<Item = IceServer>) -> Self {
        self.ice_servers(servers)
            .ice_transport_policy(IceTransportPolicy::Relay)
    }

    /// How connections behave that this client makes or accepts.
    #[must_use]
    pub fn connection(mut self, config: ConnectionConfig) -> Self {
        self.config = config;
        self
    }

    /// A cable that can be pulled, for tests.
    #[must_use]
    pub fn cable(mut self, cable: Cable) -> Self {
        self.cable = cable;
        self
    }

    /// Other links than WebRTC, or WebRTC configured otherwise. Both peers need factories that
    /// understand each other's descriptions.
    ///
    /// The times that the factory and its links are told count from `epoch`: give
    /// [`RtcFactory`](rondevu_transport::rtc::RtcFactory) the same one, and others that do not care
    /// `std::time::Instant::now()`.
    #[must_use]
    pub fn transport(
        mut self,
        factory: Arc<dyn TransportFactory>,
        epoch: std::time::Instant,
    ) -> Self {
        self.transport = Some((factory, Clock::since(epoch)));
        self
    }

    /// Makes the client. Contacts nobody.
    ///
    /// # Errors
    ///
    /// [`Error::Incomplete`] without a server, [`Error::Signaling`] if its address is wrong,
    /// [`Error::IceServer`] if a STUN or TURN server cannot be used as it was given,
    /// [`Error::Transport`] or [`Error::NoRandomness`] if the system gives no randomness.
    pub fn build(self) -> Result<Rondevu, Error> {
        let signaling: Arc<dyn Signaling> = match (self.signaling, self.server) {
            (Some(signaling), _) => signaling,
            (None, Some(url)) => Arc::new(HttpSignaling::new(&url)?),
            (None, None) => {
                return Err(Error::Incomplete(
                    "no signaling server was named: call `server`",
                ));
            }
        };
        check_servers(&self.ice.servers, self.ice.policy)?;
        let (factory, clock) = match self.transport {
            Some(transport) => transport,
            None => {
                let clock = Clock::start();
                (self.engine.factory(clock.epoch())?, clock)
            }
        };
        let key_pair = match self.key_pair {
            Some(key_pair) => key_pair,
            None => KeyPair::generate().map_err(|_| Error::NoRandomness)?,
        };
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let bind = self.bind.unwrap_or(any);
        let mut ice = self.ice;
        ice.mdns = self.names.mdns(bind);
        Ok(Rondevu {
            inner: Arc::new(Inner {
                signaling,
                factory,
                key_pair: Arc::new(key_pair),
                key_policy: self.key_policy,
                known_keys: self
                    .known_keys
                    .unwrap_or_else(|| Arc::new(KnownKeysInMemory::default())),
                bind,
                config: self.config,
                cable: self.cable,
                ice: Arc::new(ice),
                clock,
                connections: AtomicU64::new(0),
                lines: Lines::default(),
                addresses: Addresses::default(),
            }),
        })
    }
}

/// Named only for those who choose the preset.
const PUBLIC_STUN: [&str; 2] = [
    "stun:stun.l.google.com:19302",
    "stun:stun.cloudflare.com:3478",
];
