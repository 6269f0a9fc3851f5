//! QUIC with quinn: a stream for round trips and one for each bulk.

use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::far;
use crate::stack::{ECHO, Pair, SWALLOW, Stack};
use crate::wire::{Relay, Wire};

pub(crate) struct Quic {
    server: ServerConfig,
    client: ClientConfig,
}

struct Connected {
    /// Both ends live as long as this.
    _endpoints: [Endpoint; 2],
    connection: Connection,
    echo: (SendStream, RecvStream),
    _relay: Option<Relay>,
}

impl Quic {
    pub(crate) fn new() -> Result<Self> {
        // Another crate may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
        let certificate: CertificateDer<'static> = made.cert.der().clone();
        let key = made.signing_key.serialize_der();
        let key = PrivateKeyDer::try_from(key).map_err(anyhow::Error::msg)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone())?;
        Ok(Self {
            server: ServerConfig::with_single_cert(vec![certificate], key)?,
            client: ClientConfig::with_root_certificates(Arc::new(roots))?,
        })
    }
}

#[async_trait]
impl Stack for Quic {
    async fn connect(&self, wire: Wire) -> Result<Box<dyn Pair>> {
        let config = self.server.clone();
        let bound = async { Ok(Endpoint::server(config, ([127, 0, 0, 1], 0).into())?) };
        let there = far::run(bound).await?;
        let here = Endpoint::client(([127, 0, 0, 1], 0).into())?;
        let mut at = there.local_addr()?;
        let relay = match wire {
            Wire::Loopback => None,
            Wire::Delayed(one_way) => Some(Relay::before(at, one_way).await?),
        };
        if let Some(relay) = &relay {
            at = relay.as_service();
        }
        let accepting = there.clone();
        far::spawn(async move {
            let incoming = accepting.accept().await.context("no connection")?;
            serve(incoming.await?).await
        });
        let connection = here
            .connect_with(self.client.clone(), at, "localhost")?
            .await?;
        let echo = connection.open_bi().await?;
        Ok(Box::new(Connected {
            _endpoints: [here, there],
            connection,
            echo,
            _relay: relay,
        }))
    }
}

/// Echoes on streams in both directions, swallows on others and confirms their ends.
async fn serve(connection: Connection) -> Result<()> {
    let (mut send, mut recv) = connection.accept_bi().await?;
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while recv.read_exact(&mut buffer).await.is_ok() {
            if send.write_all(&buffer).await.is_err() {
                return;
            }
        }
    });
    while let Ok(mut bulk) = connection.accept_uni().await {
        while let Some(_chunk) = bulk.read_chunk(usize::MAX, true).await? {}
        connection.open_uni().await?.finish()?;
    }
    Ok(())
}

#[async_trait]
impl Pair for Connected {
    async fn round_trip(&mut self) -> Result<()> {
        let mut buffer = [ECHO; 64];
        self.echo.0.write_all(&buffer).await?;
        self.echo.1.read_exact(&mut buffer).await?;
        Ok(())
    }

    async fn bulk(&mut self, size: usize, count: usize) -> Result<()> {
        let message = bytes::Bytes::from(vec![SWALLOW; size]);
        let mut stream = self.connection.open_uni().await?;
        for _ in 0..count {
            stream.write_chunk(message.clone()).await?;
        }
        stream.finish()?;
        self.connection.accept_uni().await?;
        Ok(())
    }
}
