//! Where a registry takes the identifiers of services from.

use std::sync::atomic::{AtomicU64, Ordering};

use rondevu_core::{PeerId, ServiceId, ServiceUuid};

use super::Refusal;

/// A source of identifiers that never come twice.
#[derive(Debug)]
pub(crate) enum Entropy {
    /// Unguessable.
    #[cfg(feature = "server")]
    System,
    /// Counted, so that a run can be repeated.
    Counter(AtomicU64),
}

impl Entropy {
    /// Counts from one.
    pub(crate) fn counter() -> Self {
        Self::Counter(AtomicU64::new(1))
    }

    fn draw(&self) -> Result<u128, Refusal> {
        match self {
            #[cfg(feature = "server")]
            Self::System => {
                let mut bytes = [0; 16];
                getrandom::fill(&mut bytes).map_err(|_| Refusal::Internal)?;
                Ok(u128::from_be_bytes(bytes))
            }
            Self::Counter(next) => Ok(next.fetch_add(1, Ordering::Relaxed).into()),
        }
    }

    /// A new peer.
    pub(crate) fn peer_id(&self) -> Result<PeerId, Refusal> {
        Ok(PeerId::new(format!("{:032x}", self.draw()?)).expect("hex digits are printable"))
    }

    /// A new service, for its owner.
    pub(crate) fn service_id(&self) -> Result<ServiceId, Refusal> {
        Ok(ServiceId::new(uuid(self.draw()?)).expect("a uuid is printable"))
    }

    /// A new service, for others.
    pub(crate) fn service_uuid(&self) -> Result<ServiceUuid, Refusal> {
        Ok(ServiceUuid::new(uuid(self.draw()?)).expect("a uuid is printable"))
    }
}

/// Writes random bits as a UUID of version 4 (RFC 9562, section 5.4).
fn uuid(bits: u128) -> String {
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_variant_of_a_uuid_are_set() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
