//! What was exercised, counted, so that an untested corner is visible.

use core::fmt;

use rondevu_core::Outcome;

use super::op::{Kind, Op};
use super::signaling::Refusal;

/// One table: rows by columns.
struct Sheet {
    title: &'static str,
    rows: &'static [&'static str],
    columns: &'static [&'static str],
}

/// The tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Operations,
    Faults,
    Moods,
    ConnectionStates,
    ChannelStates,
    ConnectionEvents,
    ChannelEvents,
    ServiceEvents,
    Endings,
    Refusals,
    Frames,
    Deadlines,
    Sends,
    Deliveries,
    Situations,
}

/// A state that was left, by the state that was entered.
const CONNECTION_STATES: &[&str] = &[
    "connecting",
    "connected",
    "reconnecting",
    "disconnected",
    "failed",
    "closed",
];
const CHANNEL_STATES: &[&str] = &["connecting", "open", "closing", "closed"];

const SHEETS: [(Table, Sheet); 15] = [
    (
        Table::Operations,
        Sheet {
            title: "operations",
            rows: &Op::NAMES,
            columns: &["done", "no effect"],
        },
    ),
    (
        Table::Faults,
        Sheet {
            title: "faults of links",
            rows: &[
                "cut",
                "hole",
                "lag",
                "congest",
                "loss",
                "disorder",
                "roam",
                "close stream",
            ],
            columns: &["done"],
        },
    ),
    (
        Table::Moods,
        Sheet {
            title: "moods of the signaling server",
            rows: &["up", "down", "slow", "lying", "replaying", "forgetful"],
            columns: &["done"],
        },
    ),
    (
        Table::ConnectionStates,
        Sheet {
            title: "connection: from, to",
            rows: CONNECTION_STATES,
            columns: CONNECTION_STATES,
        },
    ),
    (
        Table::ChannelStates,
        Sheet {
            title: "channel: from, to",
            rows: CHANNEL_STATES,
            columns: CHANNEL_STATES,
        },
    ),
    (
        Table::ConnectionEvents,
        Sheet {
            title: "events of connections",
            rows: &[
                "state changed",
                "connected",
                "reconnecting",
                "disconnected",
                "incoming channel",
                "session reset",
                "failed",
                "closed",
            ],
            columns: &["dialer", "acceptor"],
        },
    ),
    (
        Table::ChannelEvents,
        Sheet {
            title: "events of channels",
            rows: &[
                "opened",
                "queue overflow",
                "expired",
                "lost",
                "buffered amount low",
                "closed",
                "closed, some undelivered",
                "closed, some maybe delivered",
                "closed, some unread",
                "refused",
                "receive overflow",
            ],
            columns: &["dialer", "acceptor"],
        },
    ),
    (
        Table::ServiceEvents,
        Sheet {
            title: "events of the service",
            rows: &["published", "refreshed", "signaling lost", "signaling back"],
            columns: &["times"],
        },
    ),
    (
        Table::Endings,
        Sheet {
            title: "ends of connections",
            rows: &[
                "local",
                "local unconfirmed",
                "remote closed",
                "remote shutting down",
                "remote session expired",
                "session expired",
                "failed: dial",
                "failed: timed out",
                "failed: attempts",
                "session evicted",
            ],
            columns: &["dialer", "acceptor"],
        },
    ),
    (
        Table::Refusals,
        Sheet {
            title: "refused hellos",
            rows: &[
                "unknown session",
                "incarnation mismatch",
                "superseded",
                "not authorised",
                "busy",
            ],
            columns: &["times"],
        },
    ),
    (
        Table::Frames,
        Sheet {
            title: "frames",
            rows: &[
                "hello",
                "welcome",
                "reject",
                "ping",
                "pong",
                "bye",
                "data, last",
                "data, more",
                "skip",
                "ack",
                "fin",
                "fin ack",
                "finish",
                "finished",
            ],
            columns: &[
                "arrived",
                "late",
                "replayed",
                "last before end",
                "first lost",
            ],
        },
    ),
    (
        Table::Deadlines,
        Sheet {
            title: "deadlines",
            rows: &[
                "ack",
                "expiry",
                "heartbeat",
                "silence",
                "attempt",
                "reconnect",
                "stable",
                "resume window",
                "close",
                "renewal",
                "refill",
                "poll",
                "retry",
                "offer expiry",
            ],
            columns: &["passed"],
        },
    ),
    (
        Table::Sends,
        Sheet {
            title: "messages sent",
            rows: &[
                "empty",
                "one fragment",
                "several fragments",
                "above the window",
            ],
            columns: &["accepted", "full", "too large", "closed"],
        },
    ),
    (
        Table::Deliveries,
        Sheet {
            title: "taken by applications",
            rows: &["text", "binary", "gap"],
            columns: &["dialer", "acceptor"],
        },
    ),
    (
        Table::Situations,
        Sheet {
            title: "situations",
            rows: &[
                "signaling: down",
                "signaling: service not found",
                "signaling: no offers",
                "signaling: next offer",
                "answer to an unknown offer",
                "answer that does not fit",
                "link blocked",
                "control frame while blocked",
                "stale fact told",
                "old hello repeated",
                "two links at once",
                "calm",
                "calm with a connection",
                "channel refused",
                "outcome: delivered",
                "outcome: undelivered",
                "outcome: unknown",
                "reliable, ordered",
                "reliable, unordered",
                "lossy, ordered",
                "lossy, unordered",
                "session proved",
                "answer before the word that its offer stands",
                "plain message",
                "plain message sent back",
                "plain peer refused",
                "message of a hostile peer",
                "hostile peer found out",
                "hello for a session of somebody else",
            ],
            columns: &["times"],
        },
    ),
];

/// Names of rows for [`Table::Situations`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Situation {
    Signaling(Refusal),
    UnknownOffer,
    AnswerDoesNotFit,
    Blocked,
    ControlWhileBlocked,
    StaleFact,
    OldHello,
    TwoLinks,
    Calm,
    CalmConnection,
    ChannelRefused,
    Outcome(Outcome),
    ChannelOf(Kind),
    Proved,
    EarlyAnswer,
    PlainMessage,
    PlainEcho,
    PlainRefused,
    HostileMessage,
    HarmFoundOut,
    StolenSession,
}

/// Counts by table, row and column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    counts: Vec<u64>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            counts: vec![0; offset(SHEETS.len())],
        }
    }
}

const fn offset(tables: usize) -> usize {
    let (mut sum, mut index) = (0, 0);
    while index < tables {
        sum += SHEETS[index].1.rows.len() * SHEETS[index].1.columns.len();
        index += 1;
    }
    sum
}

const OFFSETS: [usize; SHEETS.len()] = {
    let mut offsets = [0; SHEETS.len()];
    let mut index = 0;
    while index < SHEETS.len() {
        offsets[index] = offset(index);
        index += 1;
    }
    offsets
};

impl Coverage {
    pub(super) fn count(&mut self, table: Table, row: usize, column: usize) {
        let sheet = &SHEETS[table as usize];
        debug_assert!(
            sheet.0 == table && row < sheet.1.rows.len() && column < sheet.1.columns.len()
        );
        self.counts[OFFSETS[table as usize] + row * sheet.1.columns.len() + column] += 1;
    }

    pub(super) fn situation(&mut self, situation: Situation) {
        let row = match situation {
            Situation::Signaling(why) => why as usize,
            Situation::UnknownOffer => 4,
            Situation::AnswerDoesNotFit => 5,
            Situation::Blocked => 6,
            Situation::ControlWhileBlocked => 7,
            Situation::StaleFact => 8,
            Situation::OldHello => 9,
            Situation::TwoLinks => 10,
            Situation::Calm => 11,
            Situation::CalmConnection => 12,
            Situation::ChannelRefused => 13,
            Situation::Outcome(outcome) => 14 + outcome as usize,
            Situation::ChannelOf(kind) => 17 + kind as usize,
            Situation::Proved => 21,
            Situation::EarlyAnswer => 22,
            Situation::PlainMessage => 23,
            Situation::PlainEcho => 24,
            Situation::PlainRefused => 25,
            Situation::HostileMessage => 26,
            Situation::HarmFoundOut => 27,
            Situation::StolenSession => 28,
        };
        self.count(Table::Situations, row, 0);
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// The places that were never reached and could have been, as `table: row, column`.
    pub fn untouched(&self) -> Vec<String> {
        let mut untouched = Vec::new();
        self.each(|sheet, row, column, count| {
            if count == 0 && is_possible(sheet, row, column) {
                let (title, row) = (sheet.title, sheet.rows[row]);
                untouched.push(format!("{title}: {row}, {}", sheet.columns[column]));
            }
        });
        untouched
    }

    fn each(&self, mut visit: impl FnMut(&Sheet, usize, usize, u64)) {
        let mut counts = self.counts.iter();
        for (_, sheet) in &SHEETS {
            for row in 0..sheet.rows.len() {
                for column in 0..sheet.columns.len() {
                    visit(
                        sheet,
                        row,
                        column,
                        *counts.next().expect("a count for each place"),
                    );
                }
            }
        }
    }
}

/// Whether a place can be reached at all.
fn is_possible(sheet: &Sheet, row: usize, column: usize) -> bool {
    let (row, column) = (sheet.rows[row], sheet.columns[column]);
    match sheet.title {
        "connection: from, to" => {
            let states = rondevu_core::DurableConnectionState::ALL;
            let find = |name| states.into_iter().find(|state| state.as_str() == name);
            find(row)
                .zip(find(column))
                .is_some_and(|(from, to)| from.can_become(to))
        }
        "channel: from, to" => {
            let states = rondevu_core::DurableChannelState::ALL;
            let find = |name| states.into_iter().find(|state| state.as_str() == name);
            find(row)
                .zip(find(column))
                .is_some_and(|(from, to)| from.can_become(to))
        }
        _ => !IMPOSSIBLE.contains(&(sheet.title, row, column)),
    }
}

/// What one side alone does.
const IMPOSSIBLE: &[(&str, &str, &str)] = &[
    ("frames", "hello", "replayed"),
    ("frames", "welcome", "replayed"),
    ("frames", "reject", "replayed"),
    ("frames", "ping", "replayed"),
    ("frames", "pong", "replayed"),
    ("frames", "bye", "replayed"),
    ("frames", "ack", "replayed"),
    ("frames", "fin", "replayed"),
    ("frames", "fin ack", "replayed"),
    ("frames", "finish", "replayed"),
    ("frames", "finished", "replayed"),
    ("ends of connections", "session evicted", "dialer"),
    ("events of connections", "reconnecting", "acceptor"),
    ("events of connections", "session reset", "acceptor"),
    ("events of connections", "failed", "acceptor"),
    ("ends of connections", "session expired", "dialer"),
    ("ends of connections", "failed: dial", "acceptor"),
    ("ends of connections", "failed: timed out", "acceptor"),
    ("ends of connections", "failed: attempts", "acceptor"),
];

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut outcome = Ok(());
        self.each(|sheet, row, column, count| {
            let mut line = || {
                if row == 0 && column == 0 {
                    write!(f, "\n\n{:<32}", sheet.title)?;
                    for name in sheet.columns {
                        write!(f, "{name:>18}")?;
                    }
                }
                if column == 0 {
                    write!(f, "\n  {:<30}", sheet.rows[row])?;
                }
                match (count, is_possible(sheet, row, column)) {
                    (0, true) => write!(f, "{:>18}", "NEVER"),
                    (0, false) => write!(f, "{:>18}", "-"),
                    (count, _) => write!(f, "{count:>18}"),
                }
            };
            if outcome.is_ok() {
                outcome = line();
            }
        });
        outcome?;
        writeln!(f)
    }
}
