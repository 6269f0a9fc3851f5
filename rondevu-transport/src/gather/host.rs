//! The machine's own addresses, and which of them are worth telling a peer.

use std::io;
use std::net::IpAddr;

/// An address of a network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The name that the system gives it, as in `eth0`.
    pub name: String,
    /// One of its addresses; an interface with several is listed several times.
    pub address: IpAddr,
    /// How many bits of it are those of the network behind the interface.
    pub prefix_bits: u8,
}

impl Interface {
    /// Whether an address is in the network behind the interface.
    pub fn reaches(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                u128::from(u32::from(own) ^ u32::from(other)) << 96
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => u128::from(own) ^ u128::from(other),
            _ => return false,
        };
        differ.leading_zeros() >= u32::from(self.prefix_bits)
    }
}

/// Which of the machine's addresses are used; the default leaves out what peers elsewhere cannot
/// reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HostPolicy {
    /// `127.0.0.1` and `::1`, by which only this machine reaches itself. Default no.
    pub loopback: Include,
    /// Bridges and pairs that containers and virtual machines use (`docker0`, `veth…`, `virbr0`).
    /// Default no.
    pub containers: Include,
}

/// Whether something is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Include {
    /// It is left out.
    #[default]
    No,
    /// It is used.
    Yes,
}

/// Asks the system for its interfaces.
///
/// # Errors
///
/// What the system answers.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let listed = if_addrs::get_if_addrs()?;
    let interfaces = listed.into_iter().map(|interface| Interface {
        prefix_bits: match &interface.addr {
            if_addrs::IfAddr::V4(v4) => v4.prefixlen,
            if_addrs::IfAddr::V6(v6) => v6.prefixlen,
        },
        address: interface.ip(),
        name: interface.name,
    });
    Ok(interfaces.collect())
}

/// The addresses that `policy` lets through: IPv4 before IPv6, each in ascending order, so that the
/// same machine gives the same list.
///
/// Link-local, multicast and unspecified addresses never are among them: a peer needs to know the
/// interface to use the first, and the others name nobody.
pub fn usable_addresses(interfaces: &[Interface], policy: HostPolicy) -> Vec<IpAddr> {
    let usable = interfaces
        .iter()
        .filter(|interface| policy.allows(interface));
    let mut addresses: Vec<IpAddr> = usable.map(|interface| interface.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

impl HostPolicy {
    fn allows(self, interface: &Interface) -> bool {
        let address = interface.address;
        if address.is_unspecified() || address.is_multicast() || is_link_local(address) {
            return false;
        }
        if address.is_loopback() {
            return self.loopback == Include::Yes;
        }
        self.containers == Include::Yes || !is_of_containers(&interface.name)
    }
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_of_containers(name: &str) -> bool {
    CONTAINER_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// What Docker, Podman, libvirt, LXC, Kubernetes' network plugins and Hyper-V call their interfaces.
const CONTAINER_PREFIXES: [&str; 14] = [
    "docker",
    "br-",
    "veth",
    "virbr",
    "vnet",
    "cni",
    "podman",
    "lxc",
    "lxd",
    "flannel",
    "cali",
    "cilium",
    "vEthernet",
    "kube-",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(entries: &[(&str, &str)]) -> Vec<Interface> {
        let interface = |(name, address): &(&str, &str)| Interface {
            name: (*name).into(),
            address: address.parse().unwrap(),
            prefix_bits: 24,
        };
        entries.iter().map(interface).collect()
    }

    fn usable(policy: HostPolicy) -> Vec<String> {
        let machine = listed(&[
            ("wlan0", "2001:db8::7"),
            ("eth0", "192.168.1.7"),
            ("lo", "127.0.0.1"),
            ("lo", "::1"),
            ("docker0", "172.17.0.1"),
            ("veth1a2b", "169.254.3.4"),
            ("br-77fd1", "172.18.0.1"),
            ("wlan0", "fe80::1"),
            ("eth0", "10.0.0.7"),
            ("eth0:1", "10.0.0.7"),
            ("tun0", "0.0.0.0"),
        ]);
        let addresses = usable_addresses(&machine, policy);
        addresses.iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn by_default_only_addresses_that_peers_elsewhere_reach_are_used() {
        let addresses = usable(HostPolicy::default());
        assert_eq!(addresses, ["10.0.0.7", "192.168.1.7", "2001:db8::7"]);
    }

    #[test]
    fn an_interface_reaches_its_network() {
        let reaches = |own: &str, prefix_bits, other: &str| {
            let interface = Interface {
                name: "eth0".into(),
                address: own.parse().unwrap(),
                prefix_bits,
            };
            interface.reaches(other.parse().unwrap())
        };
        assert!(reaches("192.0.2.7", 24, "192.0.2.255"));
        assert!(!reaches("192.0.2.7", 24, "192.0.3.7"));
        assert!(reaches("192.0.2.7", 0, "203.0.113.1"));
        assert!(reaches("192.0.2.7", 32, "192.0.2.7") && !reaches("192.0.2.7", 32, "192.0.2.6"));
        assert!(reaches("2001:db8::7", 64, "2001:db8::ffff"));
        assert!(!reaches("2001:db8::7", 64, "2001:db8:0:1::7"));
        assert!(!reaches("192.0.2.7", 0, "2001:db8::7"));
    }

    #[test]
    fn loopback_is_used_on_request() {
        let policy = HostPolicy {
            loopback: Include::Yes,
            ..HostPolicy::default()
        };
        assert_eq!(
            usable(policy),
            ["10.0.0.7", "127.0.0.1", "192.168.1.7", "::1", "2001:db8::7"]
        );
    }

    #[test]
    fn container_bridges_are_used_on_request_but_link_local_never() {
        let policy = HostPolicy {
            containers: Include::Yes,
            ..HostPolicy::default()
        };
        assert_eq!(
            usable(policy),
            [
                "10.0.0.7",
                "172.17.0.1",
                "172.18.0.1",
                "192.168.1.7",
                "2001:db8::7"
            ]
        );
    }

    #[test]
    fn this_machine_lists_its_interfaces() {
        let listed = interfaces().unwrap();
        assert!(
            listed
                .iter()
                .any(|interface| interface.address.is_loopback())
        );
    }
}
