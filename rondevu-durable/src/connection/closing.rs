//! How a connection ends: after everything was confirmed, at once, or because it failed.

use std::boxed::Box;

use rondevu_core::frame::ControlFrame;
use rondevu_core::{ByeReason, DurableChannelState, DurableConnectionState, Instant, Unconfirmed};

use super::{Action, ConnectionEvent, ConnectionMachine, Retry, Transmit};
use crate::channel::ChannelMachine;
use crate::error::{ConnectionClosed, ConnectionFailure};

impl ConnectionMachine {
    /// Closes the connection after what was sent is confirmed, or after the close time-out.
    pub fn close(&mut self, now: Instant) {
        if self.state.is_final() || self.close_by.is_some() {
            return;
        }
        self.close_by = Some(now + self.config.close_timeout);
        // What closed before stays readable: its last event has been told, without what would be
        // thrown away now.
        let open =
            |channel: &&mut Box<ChannelMachine>| channel.state() != DurableChannelState::Closed;
        for channel in self.channels.values_mut().filter(open) {
            channel.finish();
            channel.discard_incoming();
        }
        self.close_if_flushed();
    }

    pub(super) fn close_if_flushed(&mut self) {
        if self.close_by.is_none() {
            return;
        }
        // A peer without the session protocol neither confirms nor says that it is done.
        let waits_for_peer = match &self.live {
            Some(live) => live.session().is_some(),
            None => false,
        };
        let done = self.channels.values().all(|channel| {
            let settled = channel.outbox().is_settled();
            channel.state() == DurableChannelState::Closed
                || (settled && !channel.owes_answer() && (channel.is_drained() || !waits_for_peer))
        });
        if done {
            self.end_with_bye(ByeReason::Closed, self.close_reason);
        }
    }

    /// Closes the connection at once and tells the peer, if a link is up.
    pub fn abort(&mut self, reason: ByeReason) {
        self.end_with_bye(reason, ConnectionClosed::LocalUnconfirmed);
    }

    pub(super) fn end_with_bye(&mut self, bye: ByeReason, reason: ConnectionClosed) {
        if self.state.is_final() {
            return;
        }
        if let Some(live) = self.live.take() {
            if let Some(session) = live.session() {
                // What has come in is not to be in doubt because the link ends.
                let channels = self.channels.values_mut();
                let words = channels.filter_map(|channel| channel.last_words());
                let words = words.take(LAST_WORDS_MAX);
                self.transmits
                    .extend(words.map(|words| Transmit::of(live.id, words)));
                let frame = ControlFrame::Bye { reason: bye };
                self.transmit_control(live.id, session.control, &frame);
            }
            self.actions.push_back(Action::FinishLink { link: live.id });
        }
        self.transition_to_closed(reason);
    }

    /// Ends a session whose peer is away, because others need the room.
    pub fn evict(&mut self) {
        self.end_with_bye(ByeReason::SessionExpired, ConnectionClosed::SessionEvicted);
    }

    pub(super) fn transition_to_closed(&mut self, reason: ConnectionClosed) {
        let unconfirmed = self.end_everything();
        self.transition_to(DurableConnectionState::Closed);
        self.events.push_back(ConnectionEvent::Closed {
            reason,
            unconfirmed,
        });
    }

    pub(super) fn transition_to_failed(&mut self, failure: ConnectionFailure) {
        let unconfirmed = self.end_everything();
        self.transition_to(DurableConnectionState::Failed);
        self.events.push_back(ConnectionEvent::Failed {
            failure,
            unconfirmed,
        });
    }

    fn end_everything(&mut self) -> Unconfirmed {
        let mut unconfirmed = core::mem::take(&mut self.refused);
        for channel in self.channels.values_mut() {
            unconfirmed += channel.outbox().unconfirmed();
            channel.close();
        }
        self.touched.extend(self.channels.keys().copied());
        if let Some(live) = self.live.take() {
            self.abandon(live.id);
        }
        if let Some(attempt) = self.attempt.take() {
            self.abandon_attempt(&attempt);
        }
        (self.retry, self.connect_by) = (Retry::None, None);
        (self.resume_by, self.close_by) = (None, None);
        unconfirmed
    }
}

/// Of how many channels the peer is told, in the end, what has come in. A link that takes nothing keeps so many
/// messages and the bye.
const LAST_WORDS_MAX: usize = 32;
