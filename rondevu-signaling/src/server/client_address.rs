//! Whom a request comes from, as far as limits are concerned.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;
use ipnet::IpNet;

use super::ClientAddress;

/// The address that requests are counted under: an IPv4 address, or a /64 network of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address(IpAddr);

impl Address {
    /// Whom `request` comes from.
    pub(super) fn of(request: &Request, source: &ClientAddress) -> Self {
        let connection = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let connection = connection.map_or(Ipv4Addr::UNSPECIFIED.into(), |info| info.0.ip());
        Self::new(match source {
            ClientAddress::Connection => connection,
            ClientAddress::ForwardedBy(proxies) => {
                forwarded(connection, request.headers(), proxies)
            }
        })
    }

    /// Whoever has one address of IPv6 has 2^64 of them.
    fn new(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Goes from the connection back to the first address that no proxy of ours has.
///
/// Each proxy appends whom it was asked by. Before the entries that our proxies wrote stands what
/// the client made up.
fn forwarded(connection: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let is_proxy = |address: &IpAddr| {
        let address = address.to_canonical();
        proxies.iter().any(|net| net.contains(&address))
    };
    let headers = headers.get_all("x-forwarded-for").iter();
    let lines: Vec<_> = headers.filter_map(|value| value.to_str().ok()).collect();
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
    let mut nearest = connection;
    for hop in hops {
        if !is_proxy(&nearest) {
            return nearest;
        }
        let Ok(address) = hop.trim().parse() else {
            return nearest;
        };
        nearest = address;
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_ipv6_share_a_limit_and_mapped_ipv4_is_ipv4() {
        let key = |text: &str| Address::new(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn only_what_a_trusted_proxy_wrote_counts() {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        for (connection, header, client) in [
            ("192.0.2.9", vec!["198.51.100.1"], "192.0.2.9"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", vec!["made up, 198.51.100.1"], "198.51.100.1"),
            (
                "10.0.0.1",
                vec!["6.6.6.6, 198.51.100.1, 10.0.0.2"],
                "198.51.100.1",
            ),
            ("10.0.0.1", vec!["6.6.6.6", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", vec!["6.6.6.6, made up"], "10.0.0.1"),
            ("::ffff:10.0.0.1", vec!["198.51.100.1"], "198.51.100.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in &header {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let found = forwarded(connection.parse().unwrap(), &headers, &proxies);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{header:?}");
        }
    }
}
