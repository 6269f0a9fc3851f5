//! A stand-in for the original signaling server, faults included: a fixture for tests of clients.
//!
//! It speaks the protocol as the original's release 0.2.4 does. What a client has to live with:
//!
//! | fault | what happens |
//! | --- | --- |
//! | publishing or creating an offer with an SDP that is still there | 500, and a publication removes the service that it was to renew |
//! | publishing with an SDP that is too large | 400, and the service is removed likewise |
//! | publishing again | `serviceId` and `uuid` change; the old ones are unknown from then on |
//! | no `ttl` | 60 s |
//! | two dialers at once | both get the newest open offer, one is told that it is answered |
//! | an answered offer | in every list of answers until it expires, whatever `since` says |
//! | `since` for candidates | those of a batch are stamped ahead of the clock, so later ones can be left out |
//! | a restart | credentials are unknown (401), and names and services too where nothing was stored |
//! | no `wait` | requests are answered at once, and `GET /` announces nothing |
//! | a body that is not JSON | 500 |
//! | ownership | any peer deletes any service and posts and reads the candidates of any offer |
//! | two services of one peer | each hands out the other's offers, also those with a secret |
//! | signatures | good again and again within their 300 s |
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use rondevu_signaling::original::{OriginalServer, Restart};
//!
//! let server = OriginalServer::start().await?;
//! println!("listening at {}", server.url());
//! server.restart(Restart::ForgetCredentials);
//! # std::io::Result::Ok(()) }).unwrap();
//! ```

mod offers;
mod routes;
mod state;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use state::State;

/// What a restart of the original server costs its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The credentials: it makes them with a key that is new at each start.
    ForgetCredentials,
    /// Everything: it ran without a file.
    ForgetEverything,
}

/// How the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Availability {
    Up,
    Down,
}

/// The original server on a free port of loopback; it ends when dropped.
#[derive(Debug)]
pub struct OriginalServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<io::Result<()>>,
}

impl OriginalServer {
    /// Starts an empty one in a task of the current tokio runtime.
    ///
    /// # Errors
    ///
    /// If no socket can be opened on loopback.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            availability: Mutex::new(Availability::Up),
        });
        let router = routes::router(Arc::clone(&shared));
        Ok(Self {
            address,
            shared,
            task: tokio::spawn(async { axum::serve(listener, router).await }),
        })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forgets what a restart makes the original forget. Connections stay open.
    pub fn restart(&self, restart: Restart) {
        let mut state = self.shared.state();
        match restart {
            Restart::ForgetCredentials => state.forget_credentials(),
            Restart::ForgetEverything => *state = State::default(),
        }
    }

    /// Answers every request with 502 as a proxy does, until [`come_up`](Self::come_up).
    pub fn go_down(&self) {
        self.shared.set_availability(Availability::Down);
    }

    /// Ends what [`go_down`](Self::go_down) began.
    pub fn come_up(&self) {
        self.shared.set_availability(Availability::Up);
    }

    /// Puts the server's clock forward, so that offers, services and names expire. Signatures of
    /// clients are refused once it is 300 s ahead of theirs.
    pub fn advance(&self, by: Duration) {
        self.shared.state().advance(by);
    }

    /// How many requests each endpoint has had, by method and path, such as `GET /offers/answers`;
    /// identifiers in paths are written as `*`.
    pub fn requests(&self, endpoint: &str) -> usize {
        self.shared.state().requests(endpoint)
    }
}

impl Drop for OriginalServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    availability: Mutex<Availability>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn availability(&self) -> Availability {
        *self
            .availability
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn set_availability(&self, to: Availability) {
        *self
            .availability
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = to;
    }
}
