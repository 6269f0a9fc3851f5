//! The laws that hold after each turn of a connection.

use rondevu_core::DurableChannelState;

use super::apply::FRAGMENTS_MAX;
use super::fabric::Fabric;
use super::world::{Broken, Uid, World, broken};

impl<F: Fabric> World<F> {
    pub(super) fn check_laws(&mut self, uid: Uid) -> Result<(), Broken> {
        let now = self.now;
        let (dialer, acceptor) = (&self.setup.dialer, &self.setup.acceptor);
        let fragment = dialer.fragment_bytes.min(acceptor.fragment_bytes).max(64);
        let message_max = (u64::from(fragment) * FRAGMENTS_MAX as u64).min(MESSAGE_MAX);
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        let window = match conn.is_dialer() {
            true => dialer.window_bytes,
            false => acceptor.window_bytes,
        };
        if conn.told_state != conn.machine.state() {
            let how = format!(
                "c{uid} told {}, is {}",
                conn.told_state,
                conn.machine.state()
            );
            return broken("events tell the state", how);
        }
        if conn.machine.state().is_final() && conn.machine.poll_timeout().is_some() {
            return broken(
                "final states",
                format!("c{uid} has a deadline after its end"),
            );
        }
        if let Some(deadline) = conn.machine.poll_timeout().filter(|d| d.at < now) {
            return broken("no deadline in the past", format!("c{uid}: {deadline:?}"));
        }
        for channel in conn.machine.channels() {
            if channel.state() == DurableChannelState::Closed {
                continue;
            }
            let outbox = channel.outbox();
            let is_stranger = conn.stranger.is_some();
            let accepted = self
                .ledger
                .count_accepted(uid, conn.wire(channel.id()), conn.session);
            if !is_stranger && (outbox.accepted() != accepted || outbox.settled() > accepted) {
                let (told, settled) = (outbox.accepted(), outbox.settled());
                let how = format!("c{uid} accepted {accepted}, counts {told}, settled {settled}");
                return broken("counts", how);
            }
            let limits = outbox.queue_limits();
            let sent = outbox.buffered_bytes() as u64;
            let bytes_max = 2 * (limits.bytes_max as u64 + MESSAGE_MAX) + WINDOW_MAX;
            if sent > bytes_max {
                return broken("bounds", format!("c{uid} holds {sent} bytes of messages"));
            }
            // The window, one message that is not complete, and what surrounds its fragments.
            let received = channel.held_bytes() - sent;
            let received_max = window.max(1024) + message_max + 64 * (FRAGMENTS_MAX as u64 + 2);
            if received > 2 * received_max {
                let how = format!("c{uid} holds {received} bytes that nobody has taken");
                return broken("bounds", how);
            }
        }
        if self.digest.is_multiple_of(SPURIOUS_EVERY) {
            return self.check_spurious_timeout(uid);
        }
        Ok(())
    }

    fn check_spurious_timeout(&mut self, uid: Uid) -> Result<(), Broken> {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        if conn.machine.poll_timeout().is_some_and(|d| d.at <= now) {
            return Ok(());
        }
        conn.machine.handle_timeout(now);
        let before = format!("{:?}", conn.machine);
        conn.machine.handle_timeout(now);
        let after = format!("{:?}", conn.machine);
        if before != after {
            return broken("spurious timeouts", format!("c{uid} changed: {after}"));
        }
        Ok(())
    }
}

/// The largest message of any setup.
const MESSAGE_MAX: u64 = 1 << 16;
/// The largest window of any setup.
const WINDOW_MAX: u64 = 1 << 20;
/// Printing a machine is slow, so this is not done after each turn.
const SPURIOUS_EVERY: u64 = 256;
