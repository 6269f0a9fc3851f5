//! How a seed becomes a list of operations.

use rondevu_core::Overflow;

use super::op::{At, Kind, Op, Process, Server, Size};
use super::{Direction, Fault, Setup, Told};
use crate::HalfOpen;

impl Op {
    /// The operations that a seed stands for.
    ///
    /// Each seed leaves out about half of the kinds: what always happens together hides what it
    /// does alone.
    pub fn list(setup: &Setup) -> Vec<Self> {
        let mut draw = Draw {
            rng: fastrand::Rng::with_seed(setup.seed ^ 0x0b5_0f0b5),
            dialers: setup.dialers,
            resume_ms: setup.acceptor.resume_window.as_millis() as u32,
            weights: WEIGHTS,
        };
        for weight in &mut draw.weights[FIRST_OPTIONAL..] {
            *weight *= u32::from(draw.rng.bool());
        }
        let length = draw.rng.usize(4..70);
        let mut ops = Vec::with_capacity(length + 2);
        ops.push(draw.open());
        while ops.len() < length {
            let op = draw.op();
            ops.push(op);
        }
        ops
    }
}

/// How often each operation is drawn, in the order of [`Op::NAMES`].
const WEIGHTS: [u32; 26] = [
    24, 20, 5, 34, 6, // wait, step, open, send, read
    3, 3, 4, 2, 2, 1, 1, 2, 16, 2, 5, 4, 1, 2, 3, 3, 2, 1, 3, // up to calm
    1, 2,
];

/// From here on an operation may be left out of a seed.
const FIRST_OPTIONAL: usize = 5;

struct Draw {
    rng: fastrand::Rng,
    dialers: u8,
    resume_ms: u32,
    weights: [u32; 26],
}

impl Draw {
    fn dialer(&mut self) -> u8 {
        self.rng.u8(..self.dialers)
    }

    fn at(&mut self) -> At {
        let dialer = self.dialer();
        if self.rng.bool() {
            At::Dialer(dialer)
        } else {
            At::Service(dialer)
        }
    }

    fn process(&mut self) -> Process {
        if self.rng.bool() {
            Process::ServiceProcess
        } else {
            Process::DialerProcess(self.dialer())
        }
    }

    fn ms(&mut self) -> u32 {
        match self.rng.u8(..20) {
            0..=7 => self.rng.u32(..30),
            8..=13 => self.rng.u32(30..600),
            14..=17 => self.rng.u32(600..6000),
            18 => self.rng.u32(6000..25_000),
            _ => self.resume_ms - 1000 + 2000 * self.rng.u32(..2),
        }
    }

    fn size(&mut self) -> Size {
        match self.rng.u8(..20) {
            0..=1 => Size::Empty,
            2..=11 => Size::Bytes(self.rng.u16(1..40)),
            12 => Size::Bytes(self.rng.u16(..2000)),
            13..=16 => Size::Fragments(self.rng.u8(1..6), self.rng.u8(..3)),
            17..=18 => Size::TwoWindows,
            _ => Size::TooLarge,
        }
    }

    fn direction(&mut self) -> Direction {
        [Direction::Both, Direction::ToService, Direction::ToDialer][self.rng.usize(..3)]
    }

    fn fault(&mut self) -> Fault {
        match self.rng.u8(..16) {
            0..=5 => Fault::Cut(
                [
                    Told::Both,
                    Told::Both,
                    Told::Dialer,
                    Told::Service,
                    Told::Nobody,
                ][self.rng.usize(..5)],
            ),
            6..=8 => Fault::Hole(self.direction()),
            9..=10 => Fault::Lag(self.rng.u16(..1500)),
            11 => Fault::Congest(self.rng.u16(100..3000)),
            12 => Fault::Loss(self.rng.u8(1..25)),
            13 => Fault::Disorder(self.rng.u8(1..10)),
            14 => Fault::Roam,
            _ => Fault::CloseStream,
        }
    }

    fn server(&mut self) -> Server {
        [
            Server::Up,
            Server::Up,
            Server::Down,
            Server::Slow,
            Server::Lying,
            Server::Replaying,
            Server::Forgetful,
        ][self.rng.usize(..7)]
    }

    fn open(&mut self) -> Op {
        let at = self.at();
        let overflow =
            [Overflow::Wait, Overflow::Reject, Overflow::DropOldest][self.rng.usize(..3)];
        let half_open = [HalfOpen::Close, HalfOpen::Close, HalfOpen::Keep][self.rng.usize(..3)];
        let kind = [
            Kind::Ordered,
            Kind::Ordered,
            Kind::Ordered,
            Kind::Unordered,
            Kind::LossyOrdered,
            Kind::LossyUnordered,
        ][self.rng.usize(..6)];
        Op::Open {
            at,
            kind,
            overflow,
            half_open,
        }
    }

    fn op(&mut self) -> Op {
        let total: u32 = self.weights.iter().sum();
        let mut ticket = self.rng.u32(..total);
        let mut number = 0;
        while ticket >= self.weights[number] {
            ticket -= self.weights[number];
            number += 1;
        }
        match number {
            0 => Op::Wait { ms: self.ms() },
            1 => Op::Step {
                facts: self.rng.u8(1..12),
            },
            2 => self.open(),
            3 => Op::Send {
                at: self.at(),
                channel: self.rng.u8(..4),
                size: self.size(),
                count: [1, 1, 2, 5, 12][self.rng.usize(..5)],
            },
            4 => Op::Read {
                at: self.at(),
                count: self.rng.u8(1..6),
            },
            5 => Op::ReadSlowly { at: self.at() },
            6 => Op::ReadEagerly { at: self.at() },
            7 => Op::Finish {
                at: self.at(),
                channel: self.rng.u8(..4),
            },
            8 => Op::Discard {
                at: self.at(),
                channel: self.rng.u8(..4),
            },
            9 => Op::Forget { at: self.at() },
            10 => Op::Close { at: self.at() },
            11 => Op::Abort { at: self.at() },
            12 => Op::RetryNow {
                dialer: self.dialer(),
            },
            13 => Op::Impair {
                dialer: self.dialer(),
                fault: self.fault(),
            },
            14 => Op::Roam {
                dialer: self.dialer(),
            },
            15 => Op::Heal,
            16 => Op::Signaling {
                server: self.server(),
            },
            17 => Op::Busy,
            18 => Op::Kill {
                process: self.process(),
            },
            19 => Op::Restart {
                process: self.process(),
            },
            20 => Op::Suspend {
                process: self.process(),
                ms: self.ms(),
            },
            21 => Op::TellAgain { at: self.at() },
            22 => Op::RepeatHello {
                dialer: self.dialer(),
            },
            23 => Op::Calm,
            24 => Op::Pause {
                dialer: self.dialer(),
            },
            _ => Op::Resume {
                dialer: self.dialer(),
            },
        }
    }
}
