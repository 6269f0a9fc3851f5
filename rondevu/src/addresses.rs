//! Watches the addresses of this machine: links end with the address that they use, and services have to
//! tell new ones.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rondevu_signaling::Signaling;
use rondevu_transport::gather::interfaces;
use tokio::sync::watch;

/// The addresses of this machine, looked at from the first use on for as long as anybody watches.
#[derive(Debug, Default)]
pub(crate) struct Addresses(OnceLock<watch::Receiver<Vec<IpAddr>>>);

impl Addresses {
    /// All addresses as they are, and each change from now on. Before others hear of one,
    /// `signaling` does.
    pub(crate) fn watch(&self, signaling: &Arc<dyn Signaling>) -> watch::Receiver<Vec<IpAddr>> {
        let receiver = self.0.get_or_init(|| {
            let (sender, receiver) = watch::channel(list().unwrap_or_default());
            tokio::spawn(look(sender, Arc::clone(signaling)));
            receiver
        });
        receiver.clone()
    }
}

async fn look(sender: watch::Sender<Vec<IpAddr>>, signaling: Arc<dyn Signaling>) {
    while !sender.is_closed() {
        tokio::time::sleep(INTERVAL).await;
        // What cannot be listed now can be listed the next time.
        let Some(now) = list() else { continue };
        sender.send_if_modified(|known| {
            let changed = *known != now;
            if changed {
                signaling.handle_network_change();
                *known = now;
            }
            changed
        });
    }
}

fn list() -> Option<Vec<IpAddr>> {
    let listed = interfaces().inspect_err(|error| {
        tracing::debug!(%error, "the addresses of this machine cannot be listed");
    });
    let mut addresses: Vec<_> = listed.ok()?.into_iter().map(|one| one.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Some(addresses)
}

/// Listing takes a tenth of a millisecond; a person who changes networks waits for seconds.
const INTERVAL: Duration = Duration::from_secs(1);
