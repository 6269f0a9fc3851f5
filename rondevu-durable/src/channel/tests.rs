//! A channel: each state against each fact, and two of them against lists of messages.

mod model;
mod table;

use std::vec::Vec;

use bytes::Bytes;
use rondevu_core::MessageKind;
use rondevu_core::frame::ChannelFrame;

use super::*;

const ID: ChannelId = ChannelId(0);
const STREAM: StreamId = StreamId(3);
const NOW: Instant = Instant::ORIGIN;

/// Small enough for a handful of messages to fill it.
const WINDOW: u64 = 1024;

fn config() -> ConnectionConfig {
    ConnectionConfig {
        window_bytes: WINDOW,
        fragment_bytes: 64,
        ..ConnectionConfig::default()
    }
}

fn channel(half_open: HalfOpen) -> ChannelMachine {
    let channel = ChannelConfig {
        half_open,
        ..ChannelConfig::default()
    };
    ChannelMachine::new(ID, "chat".into(), &channel, channel.options, &config())
}

fn encoded(frame: &ChannelFrame) -> Bytes {
    let mut payload = Vec::new();
    frame.encode(&mut payload);
    payload.into()
}

#[test]
fn an_end_whose_answer_was_lost_with_the_link_is_answered_on_the_next() {
    let [mut here, mut there] = [HalfOpen::Keep, HalfOpen::Keep].map(channel);
    let join = |one: &mut ChannelMachine, other: &mut ChannelMachine| {
        let cursors = [one.cursor(ID), other.cursor(ID)];
        for (channel, theirs) in [(&mut *one, &cursors[1]), (&mut *other, &cursors[0])] {
            channel.on_attach(theirs.recv_next, theirs.credit).unwrap();
            channel.on_stream_opened(STREAM);
        }
    };
    let carry = |from: &mut ChannelMachine, to: &mut ChannelMachine| {
        while let Some(outgoing) = from.poll_transmit(1000, NOW) {
            to.on_message(outgoing.kind, outgoing.payload, NOW).unwrap();
        }
    };
    join(&mut here, &mut there);
    here.finish();
    carry(&mut here, &mut there);
    there.finish();
    // The answer and the other end arrive; what answers that is lost with the link.
    carry(&mut there, &mut here);
    here.on_detach();
    there.on_detach();
    join(&mut here, &mut there);
    assert!(here.poll_transmit(1000, NOW).is_none());
    assert_eq!(
        here.state(),
        DurableChannelState::Closing,
        "the peer has no answer yet"
    );
    carry(&mut there, &mut here);
    carry(&mut here, &mut there);
    for channel in [here, there] {
        assert_eq!(channel.state(), DurableChannelState::Closed);
    }
}

#[test]
fn what_the_peer_dropped_is_told_to_who_reads_nothing_any_more_once() {
    let mut channel = channel(HalfOpen::Keep);
    channel.on_attach(Seq::ZERO, WINDOW).unwrap();
    channel.on_stream_opened(STREAM);
    channel.discard_incoming();
    let skip = ChannelFrame::Skip {
        from: Seq(0),
        to: Seq(2),
        messages: 2,
    };
    for _ in 0..2 {
        let taken = channel.on_message(MessageKind::Binary, encoded(&skip), NOW);
        assert_eq!(taken, Ok(()));
    }
    let events: Vec<_> = core::iter::from_fn(|| channel.poll_event()).collect();
    let lost = ChannelEvent::Lost { messages: 2 };
    assert_eq!(events, [ChannelEvent::Opened, lost]);
}
