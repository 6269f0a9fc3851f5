//! Services and dialers that do one thing after the other as fast as they are answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rondevu::signaling::UnixMillis;
use rondevu::{KeyPair, ServiceName, Username};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::plain_http::{Connection, Request};
use crate::tally::Kinds;

const WORKERS: usize = 32;
/// Requests of one round.
const ROUND_REQUESTS: u32 = 6;
const SERVICE: &str = "com.example.bench@1.0.0";

/// How fast the workers are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Each asks again as soon as it has its answer.
    AsFastAsAnswered,
    /// Together so many requests a second, whenever the answers come.
    PerSecond(f64),
}

/// Runs [`WORKERS`] for so long; names begin with `label`.
pub(crate) async fn mixed_load(
    address: SocketAddr,
    label: &'static str,
    pace: Pace,
    duration: Duration,
) -> Result<Kinds> {
    let mut tasks = JoinSet::new();
    let mut ready = Vec::new();
    for number in 0..WORKERS {
        ready.push(Worker::new(address, &format!("{label}-{number}"), number).await?);
    }
    let start = Instant::now();
    for (number, worker) in ready.into_iter().enumerate() {
        // Between two rounds of one worker all others begin theirs.
        let gap = match pace {
            Pace::AsFastAsAnswered => Duration::ZERO,
            Pace::PerSecond(rate) => Duration::from_secs_f64(f64::from(ROUND_REQUESTS) / rate),
        };
        let rounds = Rounds {
            next: start + gap * number as u32,
            every: gap * WORKERS as u32,
            end: start + duration,
        };
        tasks.spawn(worker.work(rounds));
    }
    let mut kinds = Kinds::new();
    while let Some(done) = tasks.join_next().await {
        for (kind, times) in done?? {
            kinds.entry(kind).or_default().extend(times);
        }
    }
    Ok(kinds)
}

/// When a worker begins its rounds.
struct Rounds {
    next: Instant,
    every: Duration,
    end: Instant,
}

/// A service and its dialers.
struct Worker {
    connection: Connection,
    keys: KeyPair,
    name: Username,
    service: ServiceName,
    peer: String,
    signed_at: UnixMillis,
    cursor: u64,
    times: Kinds,
}

impl Worker {
    async fn new(address: SocketAddr, name: &str, number: usize) -> Result<Self> {
        let mut connection = Connection::open(address).await?;
        let keys = KeyPair::from_seed(&[number as u8; 32]);
        let name: Username = name.parse()?;
        let claim = keys.sign_claim(&name, UnixMillis::now());
        let body = json!({
            "username": name.as_str(),
            "publicKey": claim.public_key.to_string(),
            "signature": claim.signature.to_string(),
            "message": claim.message(),
        });
        connection
            .ask(Request::post("/usernames/claim", body.to_string()))
            .await?;
        let peer = connection.register().await?;
        Ok(Self {
            connection,
            keys,
            name,
            service: SERVICE.parse()?,
            peer,
            signed_at: UnixMillis::now(),
            cursor: 0,
            times: Kinds::new(),
        })
    }

    async fn work(mut self, mut rounds: Rounds) -> Result<Kinds> {
        for round in 0.. {
            tokio::time::sleep_until(rounds.next.into()).await;
            let begin = match rounds.every.is_zero() {
                true => Instant::now(),
                // One that cannot begin in time has waited: for a server that is behind.
                false => rounds.next,
            };
            if begin.max(Instant::now()) >= rounds.end {
                break;
            }
            self.round(round, begin).await?;
            rounds.next += rounds.every;
        }
        Ok(self.times)
    }

    /// A dialer comes, the service publishes, they find each other, the service hears of it.
    async fn round(&mut self, round: u64, begin: Instant) -> Result<()> {
        let dialer = self.register(begin).await?;
        self.publish(round).await?;
        let query = format!("/index/{}/query", self.name);
        let body = json!({ "serviceFqn": SERVICE }).to_string();
        let found = self.timed("query", Request::post(&query, body)).await?;
        let get = format!("/services/{}", text(&found, "uuid")?);
        let taken = self.timed("get", Request::get(&get)).await?;
        let answer = format!("/offers/{}/answer", text(&taken, "offerId")?);
        let body = json!({ "sdp": sdp(round) }).to_string();
        self.timed("answer", Request::post(&answer, body).by(&dialer))
            .await?;
        let poll = format!("/offers/answers?wait=30000&since={}", self.cursor);
        let peer = self.peer.clone();
        let heard = self.timed("waiting poll", Request::get(&poll).by(&peer));
        let heard = heard.await?;
        let at = heard["answers"][0]["answeredAt"].as_u64();
        self.cursor = at.context("an answer was there")?;
        Ok(())
    }

    async fn register(&mut self, begin: Instant) -> Result<String> {
        let peer = self.connection.register().await?;
        self.times
            .entry("register")
            .or_default()
            .push(begin.elapsed());
        Ok(peer)
    }

    async fn publish(&mut self, round: u64) -> Result<()> {
        // Each signature is good once.
        self.signed_at = UnixMillis(UnixMillis::now().0.max(self.signed_at.0 + 1));
        let signed = self
            .keys
            .sign_publish(&self.name, &self.service, self.signed_at);
        let body = json!({
            "username": self.name.as_str(),
            "serviceFqn": SERVICE,
            "sdp": sdp(round),
            "signature": signed.signature.to_string(),
            "message": signed.message(&self.name, &self.service),
        });
        let peer = self.peer.clone();
        let request = Request::post("/services", body.to_string()).by(&peer);
        self.timed("publish", request).await.map(drop)
    }

    async fn timed(&mut self, kind: &'static str, request: Request<'_>) -> Result<Value> {
        let start = Instant::now();
        let reply = self.connection.ask(request).await?;
        self.times.entry(kind).or_default().push(start.elapsed());
        Ok(reply)
    }
}

/// As long as the description of a data channel with some candidates.
fn sdp(round: u64) -> String {
    format!("v=0\r\ns={round}\r\n{}", "a=x\r\n".repeat(180))
}

fn text<'a>(reply: &'a Value, name: &str) -> Result<&'a str> {
    reply[name].as_str().context("the reply lacks a text")
}
