//! The kinds of NAT that stand between a peer and the world, as rules of nftables.

use std::fmt;

/// What stands between a peer and the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nat {
    /// A router and nothing more: the peer's address is public.
    None,
    /// Whoever sends to the mapped port reaches the peer.
    FullCone,
    /// Whoever the peer has sent to, from any port.
    AddressRestricted,
    /// Whoever the peer has sent to, from the port that it sent to.
    PortRestricted,
    /// The same, and each destination sees another port.
    Symmetric,
    /// A port-restricted one behind another.
    Double,
    /// A port-restricted one that lets no UDP through.
    NoUdp,
}

impl Nat {
    pub(super) const ALL: [Self; 7] = [
        Self::None,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::Symmetric,
        Self::Double,
        Self::NoUdp,
    ];

    /// The bits of the network behind it that are the network's.
    pub(super) fn prefix(self) -> u8 {
        match self {
            // There are few public addresses.
            Self::None => 29,
            _ => 24,
        }
    }

    /// Whether two peers behind these reach each other without a relay (RFC 5128, section 3.4, and
    /// RFC 4787): not if one has no UDP, and not if one changes its port for each destination while
    /// the other insists on the port.
    pub(super) fn is_direct(self, other: Self) -> bool {
        let without_udp = |nat| nat == Self::NoUdp;
        let insists = |nat| matches!(nat, Self::PortRestricted | Self::Symmetric | Self::Double);
        let changes = |nat| nat == Self::Symmetric;
        let blocked = |a, b| changes(a) && insists(b);
        !(without_udp(self) || without_udp(other) || blocked(self, other) || blocked(other, self))
    }

    /// The rules of the router whose public address is `public`, for the peer at `peer`.
    pub(super) fn rules(self, public: &str, peer: &str) -> String {
        let translation = match self {
            Self::None => return String::new(),
            Self::FullCone => format!(
                "chain pre {{ type nat hook prerouting priority -100; \
                   iifname \"wan\" meta l4proto udp dnat to {peer}; }}; \
                 chain post {{ type nat hook postrouting priority 100; \
                   oifname \"wan\" snat to {public}; }};"
            ),
            Self::AddressRestricted => format!(
                "set seen {{ type ipv4_addr; flags dynamic,timeout; timeout 120s; }}; \
                 chain note {{ type filter hook forward priority 0; \
                   iifname \"lan\" meta l4proto udp update @seen {{ ip daddr }}; }}; \
                 chain pre {{ type nat hook prerouting priority -100; \
                   iifname \"wan\" meta l4proto udp ip saddr @seen dnat to {peer}; }}; \
                 chain post {{ type nat hook postrouting priority 100; \
                   oifname \"wan\" snat to {public}; }};"
            ),
            Self::PortRestricted | Self::Double | Self::NoUdp => {
                "chain post { type nat hook postrouting priority 100; \
                   oifname \"wan\" masquerade; };"
                    .into()
            }
            Self::Symmetric => "chain post { type nat hook postrouting priority 100; \
                   oifname \"wan\" masquerade fully-random; };"
                .into(),
        };
        let udp = match self {
            Self::NoUdp => "meta l4proto udp drop;",
            _ => "",
        };
        // A punch that comes too early must not leave an entry in the router that takes the port.
        format!(
            "table ip nat {{ {translation} }}; \
             table ip filter {{ \
               chain forward {{ type filter hook forward priority 10; {udp} \
                 ct state established,related accept; ct status dnat accept; \
                 iifname \"wan\" drop; }}; \
               chain input {{ type filter hook input priority 10; \
                 iifname \"wan\" meta l4proto udp ct state new drop; }}; \
             }};"
        )
    }
}

impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::FullCone => "full cone",
            Self::AddressRestricted => "address-restricted",
            Self::PortRestricted => "port-restricted",
            Self::Symmetric => "symmetric",
            Self::Double => "double",
            Self::NoUdp => "no UDP",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_needed_where_neither_side_can_guess_a_port() {
        use Nat::*;
        for (a, b, direct) in [
            (None, Symmetric, true),
            (FullCone, Symmetric, true),
            (AddressRestricted, Symmetric, true),
            (PortRestricted, Symmetric, false),
            (Symmetric, Symmetric, false),
            (Double, Symmetric, false),
            (PortRestricted, PortRestricted, true),
            (Double, Double, true),
            (NoUdp, None, false),
        ] {
            assert_eq!(a.is_direct(b), direct, "{a} and {b}");
            assert_eq!(b.is_direct(a), direct, "{b} and {a}");
        }
    }
}
