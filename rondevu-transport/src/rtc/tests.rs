//! WebRTC links against each other in virtual time.

use std::time::Duration;

use super::*;
use crate::conformance::Pair;
use crate::emulator::Conditions;

mod conformance {
    crate::transport_conformance!(crate::rtc::fixture());
}

fn time_to_open(one_way: Duration) -> Duration {
    let mut pair = Pair::new(&fixture(), 1, Conditions::delay(one_way)).unwrap();
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
