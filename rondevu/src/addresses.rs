//! Watches the addresses of this machine: links end with the address that they use, and services have to
//! tell new ones.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rondevu_signaling::Signaling;
use rondevu_transport::gather::{HostPolicy, Interface, interfaces, usable_addresses};
use tokio::sync::watch;

/// The addresses of this machine, looked at from the first use on for as long as anybody watches.
#[derive(Debug, Default)]
pub(crate) struct Addresses(OnceLock<watch::Receiver<Vec<IpAddr>>>);

impl Addresses {
    /// All addresses as they are, and each change from now on. Before others hear of one,
    /// `signaling` does.
    pub(crate) fn watch(&self, signaling: &Arc<dyn Signaling>) -> watch::Receiver<Vec<IpAddr>> {
        let receiver = self.0.get_or_init(|| {
            let listed = list().unwrap_or_default();
            let (sender, receiver) = watch::channel(addresses(&listed));
            tokio::spawn(look(sender, usable(&listed), Arc::clone(signaling)));
            receiver
        });
        receiver.clone()
    }
}

async fn look(
    sender: watch::Sender<Vec<IpAddr>>,
    mut usable_before: Vec<IpAddr>,
    signaling: Arc<dyn Signaling>,
) {
    while !sender.is_closed() {
        tokio::time::sleep(INTERVAL).await;
        // What cannot be listed now can be listed the next time.
        let Some(now) = list() else { continue };
        let usable = usable(&now);
        if usable != usable_before {
            usable_before = usable;
            signaling.handle_network_change();
        }
        let now = addresses(&now);
        sender.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
    }
}

fn list() -> Option<Vec<Interface>> {
    let listed = interfaces().inspect_err(|error| {
        tracing::debug!(%error, "the addresses of this machine cannot be listed");
    });
    listed.ok()
}

/// All of them, in order.
fn addresses(interfaces: &[Interface]) -> Vec<IpAddr> {
    let mut addresses: Vec<_> = interfaces.iter().map(|one| one.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Those that lead anywhere. Containers that come and go are no news for anybody else.
fn usable(interfaces: &[Interface]) -> Vec<IpAddr> {
    usable_addresses(interfaces, HostPolicy::default())
}

/// The addresses by which this machine reaches others, at the moment.
pub(crate) fn usable_now() -> Option<Vec<IpAddr>> {
    Some(usable(&list()?))
}

/// Listing takes a tenth of a millisecond; a person who changes networks waits for seconds.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
