//! Peers that wait for answers, each on a connection of its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::plain_http::{Connection, Request};

/// Peers that wait until dropped.
pub(crate) struct Waiters {
    /// The open offers of each.
    offers: Vec<Vec<String>>,
    heard: tokio::sync::Mutex<mpsc::UnboundedReceiver<(usize, Instant)>>,
    next: std::cell::Cell<usize>,
    _tasks: JoinSet<Result<()>>,
}

/// Each peer is answered so many times at most.
const OFFERS_EACH: usize = 2;

impl Waiters {
    /// Registers `count` peers with open offers, and lets them wait.
    pub(crate) async fn start(address: SocketAddr, count: usize) -> Result<Self> {
        let (tell, heard) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let mut offers = Vec::with_capacity(count);
        for number in 0..count {
            let mut connection = Connection::open(address).await?;
            let peer = connection.register().await?;
            offers.push(open_offers(&mut connection, &peer, number).await?);
            tasks.spawn(wait_forever(connection, peer, number, tell.clone()));
        }
        all_wait(address, count).await?;
        Ok(Self {
            offers,
            heard: tokio::sync::Mutex::new(heard),
            next: 0.into(),
            _tasks: tasks,
        })
    }
}

/// Only some peers get offers: the others show what waiting alone costs.
async fn open_offers(
    connection: &mut Connection,
    peer: &str,
    number: usize,
) -> Result<Vec<String>> {
    if number >= ANSWERED {
        return Ok(Vec::new());
    }
    let offers: Vec<_> = (0..OFFERS_EACH)
        .map(|nth| json!({ "sdp": format!("offer {number} {nth}"), "ttl": 600_000 }))
        .collect();
    let body = json!({ "offers": offers }).to_string();
    let created = connection
        .ask(Request::post("/offers", body).by(peer))
        .await?;
    let created = created["offers"].as_array().context("no offers")?;
    let ids = created.iter().filter_map(|offer| offer["id"].as_str());
    Ok(ids.map(str::to_owned).collect())
}

async fn wait_forever(
    mut connection: Connection,
    peer: String,
    number: usize,
    tell: mpsc::UnboundedSender<(usize, Instant)>,
) -> Result<()> {
    let mut cursor = 0;
    loop {
        let path = format!("/offers/answers?wait=30000&since={cursor}");
        let heard = connection.ask(Request::get(&path).by(&peer)).await?;
        if let Some(at) = heard["answers"][0]["answeredAt"].as_u64() {
            cursor = at;
            // The other end is gone when it is all over.
            let _ = tell.send((number, Instant::now()));
        }
    }
}

/// Returns once the server counts `count` waiting requests.
async fn all_wait(address: SocketAddr, count: usize) -> Result<()> {
    let mut connection = Connection::open(address).await?;
    let line = format!("rondevu_waiting_requests {count}\n");
    loop {
        let (_, metrics) = connection.send(Request::get("/metrics")).await?;
        if String::from_utf8_lossy(&metrics).contains(&line) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Answers one offer after the other; returns how long after each request its owner heard of it.
pub(crate) async fn answers_heard(
    address: SocketAddr,
    waiters: &Waiters,
    count: usize,
) -> Result<Vec<Duration>> {
    let mut connection = Connection::open(address).await?;
    let dialer = connection.register().await?;
    let mut heard = waiters.heard.lock().await;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let turn = waiters.next.get();
        waiters.next.set(turn + 1);
        let (number, nth) = (turn % ANSWERED, turn / ANSWERED);
        let offer = waiters.offers[number].get(nth).context("too few offers")?;
        let body = json!({ "sdp": "answer" }).to_string();
        let path = format!("/offers/{offer}/answer");
        let start = Instant::now();
        connection
            .ask(Request::post(&path, body).by(&dialer))
            .await?;
        loop {
            let (who, at) = heard.recv().await.context("nobody waits")?;
            if who == number {
                times.push(at.saturating_duration_since(start));
                break;
            }
        }
    }
    Ok(times)
}

/// How many of the waiting peers have offers.
const ANSWERED: usize = 500;
