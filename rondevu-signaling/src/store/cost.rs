//! How many bytes each kind of row is counted with, whichever store keeps it.

/// What a row takes beside its texts, rounded up, with its share of the indexes.
pub(super) const NAME_COST: usize = 400;
pub(super) const SIGNATURE_COST: usize = 200;
pub(super) const SERVICE_COST: usize = 1500;
pub(super) const OFFER_COST: usize = 1000;
pub(super) const CANDIDATE_COST: usize = 64;

pub(super) fn service_cost(metadata: Option<&str>) -> usize {
    SERVICE_COST + metadata_len(metadata)
}

pub(super) fn metadata_len(metadata: Option<&str>) -> usize {
    metadata.map_or(0, str::len)
}
