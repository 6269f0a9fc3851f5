//! Watches the addresses of this machine: links end with the address that they use, and services have to
//! tell new ones.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rondevu_signaling::Signaling;
use rondevu_transport::gather::{HostPolicy, interfaces, usable_addresses};
use tokio::sync::watch;

/// The addresses of this machine at a time, each list in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Present {
    pub(crate) all: Vec<IpAddr>,
    /// Those that lead anywhere. Containers that come and go are no news for anybody else.
    pub(crate) usable: Vec<IpAddr>,
}

/// The addresses of this machine, looked at from the first use on for as long as anybody watches.
#[derive(Debug, Default)]
pub(crate) struct Addresses(OnceLock<watch::Receiver<Present>>);

impl Addresses {
    /// The addresses as they are, and each change from now on. Before others hear of one,
    /// `signaling` does.
    pub(crate) fn watch(&self, signaling: &Arc<dyn Signaling>) -> watch::Receiver<Present> {
        let receiver = self.0.get_or_init(|| {
            let (sender, receiver) = watch::channel(list().unwrap_or_default());
            tokio::spawn(look(sender, Arc::clone(signaling)));
            receiver
        });
        receiver.clone()
    }
}

async fn look(sender: watch::Sender<Present>, signaling: Arc<dyn Signaling>) {
    while !sender.is_closed() {
        tokio::time::sleep(INTERVAL).await;
        // What cannot be listed now can be listed the next time.
        let Some(now) = list() else { continue };
        let is_elsewhere = sender.borrow().usable != now.usable;
        if is_elsewhere {
            signaling.handle_network_change();
        }
        sender.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
    }
}

fn list() -> Option<Present> {
    let listed = interfaces().inspect_err(|error| {
        tracing::debug!(%error, "the addresses of this machine cannot be listed");
    });
    let listed = listed.ok()?;
    let mut all: Vec<_> = listed.iter().map(|one| one.address).collect();
    all.sort_unstable();
    all.dedup();
    let usable = usable_addresses(&listed, HostPolicy::default());
    Some(Present { all, usable })
}

/// Listing takes a tenth of a millisecond; a person who changes networks waits for seconds.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
