//! Two channels over links that are cut, against two lists of messages.

use std::format;

use proptest::prelude::*;
use rondevu_core::DurableChannelState as State;

use super::*;

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    Send(usize),
    Read(usize),
    Finish(usize),
    /// A transport message leaves this side and arrives.
    Carry(usize),
    /// The link is lost with all that is on its way, and another one comes.
    Cut,
    Wait,
}

/// What a channel is to its users: two lists.
#[derive(Debug, Default)]
struct Model {
    sent: [Vec<String>; 2],
    read: [usize; 2],
    finished: [bool; 2],
}

/// Both sides of a channel.
struct Two {
    sides: [ChannelMachine; 2],
    now: Instant,
    model: Model,
}

const OTHER: [usize; 2] = [1, 0];

impl Two {
    fn new(half_open: [HalfOpen; 2]) -> Self {
        let mut two = Self {
            sides: half_open.map(channel),
            now: NOW,
            model: Model::default(),
        };
        two.join();
        two
    }

    fn is_closed(&self, side: usize) -> bool {
        self.sides[side].state() == State::Closed
    }

    /// What the connection does when a greeting is over.
    fn join(&mut self) {
        let cursors = [0, 1].map(|side| self.sides[side].cursor(ID));
        for side in [0, 1] {
            if self.is_closed(side) {
                continue;
            }
            if self.is_closed(OTHER[side]) {
                self.sides[side].on_forgotten_by_peer();
                continue;
            }
            let theirs = &cursors[OTHER[side]];
            let attached = self.sides[side].on_attach(theirs.recv_next, theirs.credit);
            attached.expect("the peer's cursor fits");
            self.sides[side].on_stream_opened(STREAM);
        }
    }

    fn carry(&mut self, from: usize) -> bool {
        let Some(outgoing) = self.sides[from].poll_transmit(200, self.now) else {
            return false;
        };
        let to = OTHER[from];
        if !self.is_closed(to) {
            let taken = self.sides[to].on_message(outgoing.kind, outgoing.payload, self.now);
            taken.expect("a correct peer breaks no rule");
        }
        true
    }

    fn read(&mut self, side: usize) -> bool {
        let Some(delivery) = self.sides[side].recv() else {
            return false;
        };
        let next = &self.model.sent[OTHER[side]][self.model.read[side]];
        assert_eq!(delivery, Delivery::Message(next.as_str().into()));
        self.model.read[side] += 1;
        true
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send(side) => {
                let number = self.model.sent[side].len();
                // Some need several fragments.
                let text = format!("{side} {number} {}", "x".repeat(number % 3 * 70));
                let sent = self.sides[side].send(text.as_str().into(), self.now);
                assert_eq!(sent.is_ok(), !self.model.finished[side], "{sent:?}");
                if sent.is_ok() {
                    self.model.sent[side].push(text);
                }
            }
            Step::Read(side) => {
                self.read(side);
            }
            Step::Finish(side) => {
                self.sides[side].finish();
                self.model.finished[side] = true;
            }
            Step::Carry(side) => {
                self.carry(side);
            }
            Step::Cut => {
                self.sides.iter_mut().for_each(ChannelMachine::on_detach);
                self.join();
            }
            Step::Wait => {
                self.now += core::time::Duration::from_millis(30);
                let now = self.now;
                self.sides.iter_mut().for_each(|side| {
                    side.handle_timeout(now);
                });
            }
        }
        for side in [0, 1] {
            self.follow(side);
        }
    }

    /// A channel that is to close with its peer's direction does so when that has ended.
    fn follow(&mut self, side: usize) {
        let peer_is_done =
            self.sides[side].receiving.has_ended() || self.sides[side].state() == State::Closed;
        if self.sides[side].half_open == HalfOpen::Close && peer_is_done {
            self.model.finished[side] = true;
        }
        let channel = &self.sides[side];
        assert_eq!(channel.is_sending(), !self.model.finished[side]);
        assert_eq!(
            channel.outbox().accepted(),
            self.model.sent[side].len() as u64
        );
        assert!(channel.outbox().settled() <= self.model.sent[side].len() as u64);
        let (open, closing) = (State::Open, State::Closing);
        let allowed = match (self.model.finished[side], self.model.finished[OTHER[side]]) {
            (false, false) => [open, open],
            // The news may not have arrived.
            (false, true) => [open, closing],
            (true, _) => [closing, State::Closed],
        };
        assert!(allowed.contains(&channel.state()), "{:?}", channel.state());
    }

    /// Lets everything arrive.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for side in [0, 1] {
                while self.carry(side) || self.read(side) {
                    moved = true;
                }
            }
            if !moved {
                let before = [0, 1].map(|side| self.sides[side].poll_timeout());
                self.step(Step::Wait);
                if before == [None, None] {
                    return;
                }
            }
        }
    }

    fn check_end(&mut self) {
        self.settle();
        for side in [0, 1] {
            let sent = self.model.sent[OTHER[side]].len();
            assert_eq!(self.model.read[side], sent, "side {side} got all");
            assert_eq!(
                self.sides[side].outbox().unconfirmed(),
                Unconfirmed::default()
            );
            let peer_is_done = self.model.finished[OTHER[side]];
            assert_eq!(self.sides[side].is_drained(), peer_is_done);
            self.follow(side);
        }
        let both = self.model.finished == [true, true];
        for side in [0, 1] {
            assert_eq!(self.is_closed(side), both, "side {side}");
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..2).prop_map(Step::Send),
        4 => (0usize..2).prop_map(Step::Read),
        1 => (0usize..2).prop_map(Step::Finish),
        10 => (0usize..2).prop_map(Step::Carry),
        1 => Just(Step::Cut),
        2 => Just(Step::Wait),
    ]
}

fn half_open() -> impl Strategy<Value = HalfOpen> {
    prop_oneof![Just(HalfOpen::Close), Just(HalfOpen::Keep)]
}

proptest! {
    #[test]
    fn behaves_like_two_lists(
        first in half_open(),
        second in half_open(),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut two = Two::new([first, second]);
        for step in steps {
            two.step(step);
        }
        two.check_end();
    }
}
