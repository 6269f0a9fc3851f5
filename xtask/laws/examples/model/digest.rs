//! The state of a world as a number.

use std::time::Duration;

use rondevu_core::Instant;

/// A digest of the `Debug` text of something, without what decides nothing.
pub(crate) fn digest(text: &str, now: Instant) -> u128 {
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    let mut add = |byte: u8| {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    };
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(dull) = DULL.iter().find(|(start, _)| rest.starts_with(start)) {
            let end = rest.find(dull.1).map_or(rest.len(), |at| at + dull.1.len());
            rest = &rest[end..];
        } else if let Some(after) = rest.strip_prefix("t+") {
            let end = after.find(|c: char| !(c.is_alphanumeric() || c == '.' || c == 'µ'));
            let (written, tail) = after.split_at(end.unwrap_or(after.len()));
            let nanos = parse(written).as_nanos() as i128;
            let relative = nanos - now.since_origin().as_nanos() as i128;
            relative.to_be_bytes().into_iter().for_each(&mut add);
            rest = tail;
        } else {
            let (character, tail) = rest.split_at(first.len_utf8());
            character.bytes().for_each(&mut add);
            rest = tail;
        }
    }
    hash
}

/// Reads what the `Debug` of a [`Duration`] writes.
fn parse(written: &str) -> Duration {
    let end = written.find(|c: char| c.is_alphabetic());
    let (number, unit) = written.split_at(end.expect("a duration has a unit"));
    let nanos = match unit {
        "s" => 1e9,
        "ms" => 1e6,
        "µs" => 1e3,
        "ns" => 1.0,
        other => panic!("a unit of time that is not known: {other}"),
    };
    let number: f64 = number.parse().expect("a duration is a number");
    Duration::from_nanos((number * nanos).round() as u64)
}

/// Where something starts that decides nothing, and where it ends.
const DULL: &[(&str, &str)] = &[("nonce: [", "]"), ("Rng(", ")"), ("late_facts: ", " ")];
