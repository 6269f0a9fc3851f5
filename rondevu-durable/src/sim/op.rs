//! What happens to a simulated world: operations, and how a seed becomes a list of them.

use rondevu_core::Overflow;

use super::Fault;
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
}
