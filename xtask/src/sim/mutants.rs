//! The bugs that are planted: each is one change of one place.

use anyhow::{Result, bail};

/// A bug.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mutant {
    /// What goes wrong.
    pub(crate) name: &'static str,
    /// The file that is changed.
    pub(crate) file: &'static str,
    /// The text that is replaced; it stands there once.
    pub(crate) find: &'static str,
    /// What stands there instead.
    pub(crate) replace: &'static str,
}

impl Mutant {
    /// The text of the file with the bug in it.
    pub(crate) fn apply(&self, text: &str) -> Result<String> {
        match text.matches(self.find).count() {
            1 => Ok(text.replacen(self.find, self.replace, 1)),
            count => bail!(
                "the bug `{}` does not fit: its text stands {count} times in {}; mend \
                 xtask/src/sim/mutants.rs",
                self.name,
                self.file
            ),
        }
    }
}

const OUTBOX: &str = "rondevu-core/src/outbox.rs";
const INBOX: &str = "rondevu-core/src/inbox.rs";
const WINDOW: &str = "rondevu-core/src/receive_window.rs";
const READY: &str = "rondevu-core/src/ready.rs";
const UNCONFIRMED: &str = "rondevu-core/src/outbox/unconfirmed.rs";
const QUEUE: &str = "rondevu-core/src/queue.rs";
const LIVENESS: &str = "rondevu-core/src/liveness.rs";
const RECONNECTOR: &str = "rondevu-core/src/reconnector.rs";
const CHANNEL: &str = "rondevu-durable/src/channel.rs";
const CLOSING: &str = "rondevu-durable/src/connection/closing.rs";
const ATTACH: &str = "rondevu-durable/src/connection/attach.rs";
const ACCEPTOR: &str = "rondevu-durable/src/connection/acceptor.rs";
const DIALER: &str = "rondevu-durable/src/connection/dialer.rs";
const DUTIES: &str = "rondevu-durable/src/connection/duties.rs";
const LADDER: &str = "rondevu-durable/src/connection/ladder.rs";
const STREAMS: &str = "rondevu-durable/src/connection/streams.rs";
const SERVICE: &str = "rondevu-durable/src/service.rs";
const TABLE: &str = "rondevu-durable/src/session_table.rs";

/// All of them.
pub(crate) const MUTANTS: &[Mutant] = &[
    // ---- outbox ----
    Mutant {
        name: "a replay is skipped",
        file: OUTBOX,
        find: "        self.next = next;\n        self.at = 0;\n        self.outstanding = 0;",
        replace: "        self.next = self.numbered;\n        self.at = self.sent.len();\n        self.outstanding = 0;",
    },
    Mutant {
        name: "a replay begins one too late",
        file: OUTBOX,
        find: "        self.forget_below(next, Outcome::Delivered);\n        self.next = next;",
        replace: "        let next = if next < self.next_max { next.advance(1) } else { next };\n        self.forget_below(next, Outcome::Delivered);\n        self.next = next;",
    },
    Mutant {
        name: "what was outstanding counts on the next link too",
        file: OUTBOX,
        find: "        self.at = 0;\n        self.outstanding = 0;\n        self.credit = credit;",
        replace: "        self.at = 0;\n        self.credit = credit;",
    },
    Mutant {
        name: "a lost message is not counted",
        file: OUTBOX,
        find: "        self.lost += expired;",
        replace: "        self.lost += expired / 2;",
    },
    Mutant {
        name: "a gap is told twice",
        file: OUTBOX,
        find: "            let messages = core::mem::take(&mut self.lost);",
        replace: "            let messages = self.lost;\n            self.lost = if messages > 1 { 1 } else { 0 };",
    },
    Mutant {
        name: "a new session forgets what was sent",
        file: UNCONFIRMED,
        find: "                    self.queue.restore(message);",
        replace: "                    drop(message);",
    },
    Mutant {
        name: "the end comes before what is queued",
        file: OUTBOX,
        find: "let done = self.next == self.numbered && self.queue.is_empty() && self.lost == 0;",
        replace: "let done = self.next == self.numbered;",
    },
    // ---- queue ----
    Mutant {
        name: "restored messages change their order",
        file: QUEUE,
        find: "        self.messages.push_front(queued);",
        replace: "        self.messages.push_back(queued);",
    },
    // ---- inbox ----
    Mutant {
        name: "duplicates are delivered",
        file: INBOX,
        find: "        if seq < self.next || self.above.contains_key(&seq) {",
        replace: "        if seq < self.next && self.order == Order::Ordered {",
    },
    Mutant {
        name: "the cursor is one too far",
        file: INBOX,
        find: "        (self.next, self.window.tell(self.ready.cost()))",
        replace: "        let ahead = u64::from(!self.above.is_empty());\n        (self.next.advance(ahead), self.window.tell(self.ready.cost()))",
    },
    Mutant {
        name: "an ack comes before its fragment",
        file: INBOX,
        find: "        Some(self.cursor())",
        replace: "        let (next, credit) = self.cursor();\n        Some((next.advance(1), credit))",
    },
    Mutant {
        name: "acks that wait for company never leave",
        file: WINDOW,
        find: ".map_or(AckTimer::Now, |at| AckTimer::At(at.min(end)));",
        replace: ".map_or(AckTimer::Now, |_| AckTimer::Idle);",
    },
    Mutant {
        name: "credit is forgotten",
        file: WINDOW,
        find: "        if drained || grown >= (self.size / 2).max(1) {",
        replace: "        if drained && grown > self.size {",
    },
    Mutant {
        name: "credit never shrinks",
        file: WINDOW,
        find: "        self.size.saturating_sub(waiting)",
        replace: "        self.size.max(waiting)",
    },
    Mutant {
        name: "the rest of the credit is not told",
        file: WINDOW,
        find: "let drained = waiting == 0 && grown > 0 && left <= self.size / 4 * 3;",
        replace: "let drained = waiting == 0 && grown > left && left > self.size;",
    },
    Mutant {
        name: "what is thrown away is not counted",
        file: READY,
        find: "        let messages = self.deliveries.iter().filter(is_message).count() as u64;",
        replace: "        let messages = self.deliveries.iter().filter(is_message).count() as u64 / 2;",
    },
    // ---- channel ----
    Mutant {
        name: "an unanswered end is not sent again",
        file: CHANNEL,
        find: "        if let Sending::Finishing { announced } = &mut self.sending {\n            *announced = false;\n        }",
        replace: "",
    },
    Mutant {
        name: "a channel closes before its end was answered",
        file: CHANNEL,
        find: "        let received = self.receiving.has_ended() && self.fin_ack == FinAck::NotOwed;\n        if self.sending == Sending::Finished && received {",
        replace: "        let received = self.receiving.has_ended() && self.fin_ack == FinAck::NotOwed;\n        if self.sending != Sending::Open && received {",
    },
    Mutant {
        name: "a channel that the peer never saw is given up",
        file: ATTACH,
        find: "                None => channel.is_known_to_peer(),",
        replace: "                None => true,",
    },
    // ---- greeting ----
    Mutant {
        name: "an older generation is accepted",
        file: ACCEPTOR,
        find: "        if hello.generation <= self.generation {",
        replace: "        if hello.generation < self.generation {",
    },
    Mutant {
        name: "a generation is used again",
        file: DIALER,
        find: "        self.generation = self.generation.next().unwrap_or(self.generation);",
        replace: "        if self.generation == Generation::NONE {\n            self.generation = FIRST_GENERATION;\n        }",
    },
    Mutant {
        name: "the old link is still read after a new one is there",
        file: ACCEPTOR,
        find: "            self.abandon(old.id);\n        }\n        self.detach_all();",
        replace: "            self.live = Some(old);\n        }",
    },
    Mutant {
        name: "a cursor is taken before the old link is frozen",
        file: DIALER,
        find: "        let frozen = self.live.take().map(|live| live.id);\n        self.detach_all();",
        replace: "        let frozen = None;",
    },
    Mutant {
        name: "a new session drops what waits",
        file: DIALER,
        find: "            if self.config.session_loss == SessionLoss::Drop {",
        replace: "            if self.config.session_loss == SessionLoss::Resend {",
    },
    Mutant {
        name: "closed channels hold up a greeting",
        file: ATTACH,
        find: "        if channel.state() == DurableChannelState::Closed {",
        replace: "        if false {",
    },
    // ---- liveness, ladder ----
    Mutant {
        name: "a suspect link never heals",
        file: DUTIES,
        find: "        if healed {\n            self.on_healed(now);\n        }",
        replace: "        let _ = healed;",
    },
    Mutant {
        name: "silence is never noticed",
        file: LIVENESS,
        find: "        self.heard_at + self.config.heartbeat",
        replace: "        self.heard_at + self.config.heartbeat * 100",
    },
    Mutant {
        name: "a failed attempt is never followed by another",
        file: LADDER,
        find: "        self.abandon_attempt(&attempt);\n        self.plan_attempt(Urgency::Backoff, now);",
        replace: "        self.abandon_attempt(&attempt);\n        let _ = now;",
    },
    Mutant {
        name: "a stable link does not reset the count",
        file: RECONNECTOR,
        find: "            self.link = Link::Stable;\n            self.reset();",
        replace: "            self.link = Link::Up {\n                since: now,\n                acked: true,\n            };",
    },
    Mutant {
        name: "the resume window never ends",
        file: DUTIES,
        find: "        if self.resume_by.is_some_and(|at| at <= now) {",
        replace: "        if self.resume_by.is_some_and(|at| at > now + core::time::Duration::from_secs(9999)) {",
    },
    Mutant {
        name: "a closing connection does not wait",
        file: CLOSING,
        find: "                || (settled && !channel.owes_answer() && (channel.is_drained() || !waits_for_peer))",
        replace: "                || channel.is_drained()\n                || settled\n                || !waits_for_peer",
    },
    Mutant {
        name: "the stream of a channel is not asked for again",
        file: STREAMS,
        find: "        let own: Vec<ChannelId> = own.filter(|id| self.is_own(*id)).collect();\n        for id in own {",
        replace: "        let own: Vec<ChannelId> = own.filter(|id| self.is_own(*id)).collect();\n        for id in own.into_iter().skip(usize::from(self.generation.0 > 1)) {",
    },
    // ---- service ----
    Mutant {
        name: "an answered offer is not replaced",
        file: SERVICE,
        find: "        for offer in answered {\n            self.pool.take(*offer);\n        }",
        replace: "        let _ = answered;",
    },
    Mutant {
        name: "a failed request for answers is never repeated",
        file: SERVICE,
        find: "        self.failed(Kind::Poll, retry, now);",
        replace: "        let _ = (retry, now);",
    },
    Mutant {
        name: "too many sessions wait",
        file: TABLE,
        find: "        let too_many = self.waiting.len() > self.limits.detached_max;",
        replace: "        let too_many = self.waiting.len() > self.limits.detached_max + 1;",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_bug_fits_the_sources_once_and_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for mutant in MUTANTS {
            assert!(names.insert(mutant.name), "{} twice", mutant.name);
            let text = std::fs::read_to_string(format!("../{}", mutant.file)).unwrap();
            let planted = mutant.apply(&text).unwrap();
            assert_ne!(planted, text, "{}", mutant.name);
        }
    }
}
