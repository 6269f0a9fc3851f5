//! What happens to a simulated world: operations, and how a seed becomes a list of them.

use rondevu_core::Overflow;

use super::{Direction, Fault, Setup, Told};
use crate::HalfOpen;

/// One of the two ends of the conversation between the service and one dialer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The dialer with this number.
    Dialer(u8),
    /// The service, towards the dialer with this number.
    Service(u8),
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// That of a dialer.
    DialerProcess(u8),
    /// That of the service.
    ServiceProcess,
}

/// How a channel delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each message once and in order.
    Ordered,
    /// Each message once.
    Unordered,
    /// Each message at most once, in order.
    LossyOrdered,
    /// Each message at most once.
    LossyUnordered,
}

/// How large a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// No bytes.
    Empty,
    /// So many bytes.
    Bytes(u16),
    /// So many fragments of the sender's own size, and so many bytes more.
    Fragments(u8, u8),
    /// Twice the window of the sender, but at most 20,000 bytes.
    TwoWindows,
    /// Above what is allowed.
    TooLarge,
}

/// What the signaling server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// It works.
    Up,
    /// It refuses everything.
    Down,
    /// Each request takes seconds.
    Slow,
    /// It hands out offers that are stale, answered or of somebody else.
    Lying,
    /// It tells old answers again.
    Replaying,
    /// It has forgotten everything.
    Forgetful,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Time passes.
    Wait {
        /// How much.
        ms: u32,
    },
    /// So many facts of links are reported, whatever time that takes.
    Step {
        /// How many.
        facts: u8,
    },
    /// The application opens a channel.
    Open {
        /// Where.
        at: At,
        /// How it delivers.
        kind: Kind,
        /// What happens when its queue is full.
        overflow: Overflow,
        /// What it does when the peer has finished.
        half_open: HalfOpen,
    },
    /// The application sends messages.
    Send {
        /// Where.
        at: At,
        /// On which of its channels, counted round.
        channel: u8,
        /// How large.
        size: Size,
        /// How many.
        count: u8,
    },
    /// The application takes what came in, at most so many messages of each channel.
    Read {
        /// Where.
        at: At,
        /// How many.
        count: u8,
    },
    /// From now on the application only takes what `Read` says.
    ReadSlowly {
        /// Where.
        at: At,
    },
    /// From now on the application takes everything at once.
    ReadEagerly {
        /// Where.
        at: At,
    },
    /// The application ends its direction of a channel.
    Finish {
        /// Where.
        at: At,
        /// Which of its channels, counted round.
        channel: u8,
    },
    /// The application drops its handle of a channel.
    Discard {
        /// Where.
        at: At,
        /// Which of its channels, counted round.
        channel: u8,
    },
    /// The application forgets its closed channels.
    Forget {
        /// Where.
        at: At,
    },
    /// The application closes the connection.
    Close {
        /// Where.
        at: At,
    },
    /// The application ends the connection at once.
    Abort {
        /// Where.
        at: At,
    },
    /// The application knows that the network is back.
    RetryNow {
        /// Which dialer.
        dialer: u8,
    },
    /// The application wants no link until it is resumed.
    Pause {
        /// Which dialer.
        dialer: u8,
    },
    /// The application wants a link again.
    Resume {
        /// Which dialer.
        dialer: u8,
    },
    /// Something happens to the links of a dialer.
    Impair {
        /// Which dialer.
        dialer: u8,
        /// What.
        fault: Fault,
    },
    /// A dialer has another address and knows it.
    Roam {
        /// Which dialer.
        dialer: u8,
    },
    /// All links are healthy again.
    Heal,
    /// The signaling server changes its ways.
    Signaling {
        /// How.
        server: Server,
    },
    /// The service has no room for new sessions until the next calm.
    Busy,
    /// A process is killed. One of a dialer that is dead is started.
    Kill {
        /// Which.
        process: Process,
    },
    /// A process is killed and started again.
    Restart {
        /// Which.
        process: Process,
    },
    /// A process stands still and does not notice, as when its machine sleeps.
    Suspend {
        /// Which.
        process: Process,
        /// For how long.
        ms: u32,
    },
    /// A fact about a link that is long gone is told again.
    TellAgain {
        /// Where.
        at: At,
    },
    /// A stranger repeats the last hello of a dialer on a link of its own.
    RepeatHello {
        /// Which dialer.
        dialer: u8,
    },
    /// Everything is healed; connections and messages must be there in time and stay.
    Calm,
}

impl Op {
    /// The names of all operations, for tables.
    pub const NAMES: [&'static str; 26] = [
        "wait",
        "step",
        "open",
        "send",
        "read",
        "read slowly",
        "read eagerly",
        "finish",
        "discard",
        "forget",
        "close",
        "abort",
        "retry now",
        "impair",
        "roam",
        "heal",
        "signaling",
        "busy",
        "kill",
        "restart",
        "suspend",
        "tell again",
        "repeat hello",
        "calm",
        "pause",
        "resume",
    ];

    /// Its place in [`Op::NAMES`].
    pub fn number(&self) -> usize {
        match self {
            Self::Wait { .. } => 0,
            Self::Step { .. } => 1,
            Self::Open { .. } => 2,
            Self::Send { .. } => 3,
            Self::Read { .. } => 4,
            Self::ReadSlowly { .. } => 5,
            Self::ReadEagerly { .. } => 6,
            Self::Finish { .. } => 7,
            Self::Discard { .. } => 8,
            Self::Forget { .. } => 9,
            Self::Close { .. } => 10,
            Self::Abort { .. } => 11,
            Self::RetryNow { .. } => 12,
            Self::Impair { .. } => 13,
            Self::Roam { .. } => 14,
            Self::Heal => 15,
            Self::Signaling { .. } => 16,
            Self::Busy => 17,
            Self::Kill { .. } => 18,
            Self::Restart { .. } => 19,
            Self::Suspend { .. } => 20,
            Self::TellAgain { .. } => 21,
            Self::RepeatHello { .. } => 22,
            Self::Calm => 23,
            Self::Pause { .. } => 24,
            Self::Resume { .. } => 25,
        }
    }

    /// Operations that do less of the same, the least first.
    pub(super) fn simpler(self) -> Vec<Self> {
        match self {
            Self::Wait { ms } => [0, 1, 100, 1000, ms / 2]
                .map(|ms| Self::Wait { ms })
                .to_vec(),
            Self::Send {
                at,
                channel,
                size,
                count,
            } => {
                let with = |size, count| Self::Send {
                    at,
                    channel,
                    size,
                    count,
                };
                let small = Size::Bytes(1);
                vec![
                    with(small, 1),
                    with(size, 1),
                    with(small, count),
                    with(size, 2),
                ]
            }
            Self::Suspend { process, ms } => [1, 100, 1000, ms / 2]
                .map(|ms| Self::Suspend { process, ms })
                .to_vec(),
            _ => Vec::new(),
        }
    }

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
    3, 3, 2, 2, 2, 1, 1, 2, 14, 2, 5, 4, 1, 2, 3, 3, 2, 1, 3, // up to calm
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
