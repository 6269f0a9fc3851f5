//! WebRTC links against each other in virtual time.

use std::time::Duration;

use super::*;
use crate::conformance::Pair;
use crate::emulator::Conditions;

#[allow(
    clippy::disallowed_methods,
    reason = "the engine needs some std instant to count from"
)]
fn factory() -> RtcFactory {
    RtcFactory::new(RtcConfig::default(), std::time::Instant::now()).unwrap()
}

mod conformance {
    crate::transport_conformance!(super::factory());
}

fn time_to_open(one_way: Duration) -> Duration {
    let mut pair = Pair::new(&factory(), 1, Conditions::delay(one_way)).unwrap();
    let start = pair.now;
    pair.connect();
    pair.now - start
}

#[test]
fn opening_takes_six_round_trips() {
    for millis in [0, 5, 25, 50, 100] {
        let one_way = Duration::from_millis(millis);
        assert_eq!(time_to_open(one_way), one_way * 12);
    }
}
