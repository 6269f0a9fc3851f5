//! Each state of a channel against each command and each fact.
//!
//! The table stands in [`channel.txt`](channel.txt). An arrow leads to the next state; behind it stands
//! what the channel sends, delivers and tells.

use std::collections::BTreeSet;
use std::format;

use rondevu_core::frame::Part;

use super::*;
use crate::channel::Outgoing;
use crate::state_table;

#[test]
fn each_state_against_each_fact() {
    let mut names = BTreeSet::new();
    let states: Vec<(&str, Make)> = states()
        .into_iter()
        .map(|make| {
            let name = phase(&make());
            assert!(names.insert(name.clone()), "{name} stands there twice");
            (&*String::leak(name), make)
        })
        .collect();
    let written = state_table::write(&states, &facts(), |make, fact| effect(make(), fact));
    state_table::check(&written, include_str!("channel.txt"));
}

#[test]
fn every_command_and_fact_of_the_sources_is_in_the_table() {
    let sources = [
        include_str!("../../channel.rs"),
        include_str!("../incoming.rs"),
        include_str!("../outgoing.rs"),
    ];
    let mut expected = Vec::new();
    for source in sources {
        expected.extend(state_table::commands_in(source));
        expected.extend(state_table::commands_for_crate_in(source));
    }
    // They are done after each fact, and nothing else shows what came of it.
    expected.retain(|name| !["poll_event", "poll_transmit"].contains(name));
    expected.sort_unstable();
    let mut covered: Vec<&str> = facts().iter().map(|(_, fact)| fact.method()).collect();
    covered.sort_unstable();
    covered.dedup();
    assert_eq!(covered, expected);
}

/// Something that happens to a channel that has sent one message and received one.
#[derive(Clone, Copy, Debug)]
enum Fact {
    Send,
    SendWatched,
    TakeOutcome,
    ForgetOutcome,
    Recv,
    Finish,
    DiscardIncoming,
    SetLowThreshold,
    KnownToPeer,
    Limit,
    Attach,
    AttachTooFar,
    PlainAttach,
    Detach,
    StreamOpened,
    Message(FrameOf),
    Fin,
    FinAck,
    ForgottenByPeer,
    SessionReset,
    DropUnconfirmed,
    Close,
    CloseIfDone,
    TakeFinAck,
    LastWords,
    TakeFin,
    Timeout,
    Cursor,
}

/// What a transport message brings.
#[derive(Clone, Copy, Debug)]
enum FrameOf {
    NextData,
    DataAgain,
    DataBehindHole,
    Skip,
    Ack,
    AckTooFar,
    Fin,
    FinBehindHole,
    FinAck,
    Garbage,
}

impl Fact {
    const fn method(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::SendWatched => "send_watched",
            Self::TakeOutcome => "take_outcome",
            Self::ForgetOutcome => "forget_outcome",
            Self::Recv => "recv",
            Self::Finish => "finish",
            Self::DiscardIncoming => "discard_incoming",
            Self::SetLowThreshold => "set_buffered_amount_low_threshold",
            Self::KnownToPeer => "on_known_to_peer",
            Self::Limit => "limit",
            Self::Attach | Self::AttachTooFar => "on_attach",
            Self::PlainAttach => "on_plain_attach",
            Self::Detach => "on_detach",
            Self::StreamOpened => "on_stream_opened",
            Self::Message(_) => "on_message",
            Self::Fin => "on_fin",
            Self::FinAck => "on_fin_ack",
            Self::ForgottenByPeer => "on_forgotten_by_peer",
            Self::SessionReset => "on_session_reset",
            Self::DropUnconfirmed => "drop_unconfirmed",
            Self::Close => "close",
            Self::CloseIfDone => "close_if_done",
            Self::TakeFinAck => "take_fin_ack",
            Self::LastWords => "last_words",
            Self::TakeFin => "take_fin",
            Self::Timeout => "handle_timeout",
            Self::Cursor => "cursor",
        }
    }
}

fn facts() -> Vec<(&'static str, Fact)> {
    Vec::from([
        ("send", Fact::Send),
        ("send and watch", Fact::SendWatched),
        ("take an outcome", Fact::TakeOutcome),
        ("forget an outcome", Fact::ForgetOutcome),
        ("recv", Fact::Recv),
        ("finish", Fact::Finish),
        ("discard what comes", Fact::DiscardIncoming),
        ("set the threshold", Fact::SetLowThreshold),
        ("known to the peer", Fact::KnownToPeer),
        ("limit", Fact::Limit),
        ("attach", Fact::Attach),
        ("attach, beyond what was sent", Fact::AttachTooFar),
        ("attach, plain", Fact::PlainAttach),
        ("detach", Fact::Detach),
        ("stream opened", Fact::StreamOpened),
        ("Data", Fact::Message(FrameOf::NextData)),
        ("Data again", Fact::Message(FrameOf::DataAgain)),
        ("Data behind a hole", Fact::Message(FrameOf::DataBehindHole)),
        ("Skip", Fact::Message(FrameOf::Skip)),
        ("Ack", Fact::Message(FrameOf::Ack)),
        (
            "Ack, beyond what was sent",
            Fact::Message(FrameOf::AckTooFar),
        ),
        ("Fin", Fact::Message(FrameOf::Fin)),
        ("Fin behind a hole", Fact::Message(FrameOf::FinBehindHole)),
        ("FinAck", Fact::Message(FrameOf::FinAck)),
        ("garbage", Fact::Message(FrameOf::Garbage)),
        ("the peer's end", Fact::Fin),
        ("own end confirmed", Fact::FinAck),
        ("forgotten by the peer", Fact::ForgottenByPeer),
        ("session reset", Fact::SessionReset),
        ("drop what is unconfirmed", Fact::DropUnconfirmed),
        ("close", Fact::Close),
        ("close if done", Fact::CloseIfDone),
        ("take the answer to an end", Fact::TakeFinAck),
        ("say the last words", Fact::LastWords),
        ("take the end", Fact::TakeFin),
        ("a minute passes", Fact::Timeout),
        ("cursor", Fact::Cursor),
    ])
}

/// Makes a channel in some state.
type Make = fn() -> ChannelMachine;

fn states() -> Vec<Make> {
    Vec::from([
        (|| channel(HalfOpen::Keep)) as Make,
        || with(channel(HalfOpen::Keep), ChannelMachine::finish),
        || with(talking(), ChannelMachine::on_detach),
        || {
            with(with(talking(), ChannelMachine::on_detach), |c| {
                let _ = c.on_attach(Seq(1), WINDOW);
            })
        },
        talking,
        || finishing(Detached::Yes),
        || finishing(Detached::No),
        || taken(&fin()),
        || with(receive(talking(), &fin()), ChannelMachine::on_detach),
        || {
            with(taken(&fin()), |channel| {
                channel.finish();
                while channel.poll_transmit(1000, NOW).is_some() {}
            })
        },
        || receive(finishing(Detached::No), &[ChannelFrame::FinAck]),
        || with(talking(), ChannelMachine::close),
    ])
}

enum Detached {
    Yes,
    No,
}

fn fin() -> Vec<ChannelFrame> {
    Vec::from([ChannelFrame::Fin { at: Seq(1) }])
}

fn with(mut channel: ChannelMachine, change: impl FnOnce(&mut ChannelMachine)) -> ChannelMachine {
    change(&mut channel);
    while channel.poll_event().is_some() {}
    channel
}

fn receive(mut channel: ChannelMachine, frames: &[ChannelFrame]) -> ChannelMachine {
    for frame in frames {
        let taken = channel.on_message(MessageKind::Binary, encoded(frame), NOW);
        taken.expect("the frames fit");
    }
    with(channel, |_| {})
}

fn data(seq: u64) -> ChannelFrame {
    ChannelFrame::Data {
        seq: Seq(seq),
        part: Part::Whole,
        kind: MessageKind::Text,
        payload: Bytes::from_static(b"theirs"),
    }
}

/// On a link, after one message each way; the own one is not confirmed, the other one not taken.
fn talking() -> ChannelMachine {
    let mut channel = channel(HalfOpen::Keep);
    channel.on_attach(Seq::ZERO, WINDOW).expect("it is new");
    channel.on_stream_opened(STREAM);
    channel.send("ours".into(), NOW).expect("there is room");
    with(receive(channel, &[data(0)]), |channel| {
        while channel.poll_transmit(1000, NOW).is_some() {}
    })
}

/// The same after the peer's `frames` and everything that answers them.
fn taken(frames: &[ChannelFrame]) -> ChannelMachine {
    with(receive(talking(), frames), |channel| {
        while channel.poll_transmit(1000, NOW).is_some() {}
    })
}

/// This side is done; its end is announced on the link, if there is one.
fn finishing(detached: Detached) -> ChannelMachine {
    with(talking(), |channel| {
        channel.finish();
        match detached {
            Detached::Yes => channel.on_detach(),
            Detached::No => while channel.poll_transmit(1000, NOW).is_some() {},
        }
    })
}

/// The state in words: all that decides what it does next.
fn phase(channel: &ChannelMachine) -> String {
    let stream = match channel.stream {
        Stream::Detached => "no link",
        Stream::Attached => "no stream yet",
        Stream::Open(_) => "on a stream",
    };
    let sending = match channel.sending {
        Sending::Open => "",
        Sending::Finishing { announced: false } => ", has an end to tell",
        Sending::Finishing { announced: true } => ", has told its end",
        Sending::Finished => ", is done",
    };
    let owed = match channel.fin_ack {
        FinAck::NotOwed => "",
        FinAck::Owed => ", owes a FinAck",
        FinAck::AskedAgain => ", will be asked for a FinAck",
    };
    let peer = match channel.receiving.has_ended() {
        true => ", the peer is done",
        false => "",
    };
    let speech = match channel.speech {
        Speech::Frames => "",
        Speech::Plain => ", plainly",
    };
    let used = match channel.outbox.accepted() {
        0 => ", unused",
        _ => "",
    };
    let state = channel.state;
    format!("{state}: {stream}{used}{speech}{sending}{owed}{peer}")
}

fn payload(fact: FrameOf) -> Bytes {
    encoded(&match fact {
        FrameOf::NextData => data(1),
        FrameOf::DataAgain => data(0),
        FrameOf::DataBehindHole => data(5),
        FrameOf::Skip => ChannelFrame::Skip {
            from: Seq(1),
            to: Seq(3),
            messages: 2,
        },
        FrameOf::Ack => ChannelFrame::Ack {
            next: Seq(1),
            credit: WINDOW,
        },
        FrameOf::AckTooFar => ChannelFrame::Ack {
            next: Seq(9),
            credit: WINDOW,
        },
        FrameOf::Fin => ChannelFrame::Fin { at: Seq(1) },
        FrameOf::FinBehindHole => ChannelFrame::Fin { at: Seq(9) },
        FrameOf::FinAck => ChannelFrame::FinAck,
        FrameOf::Garbage => return Bytes::from_static(&[0xff; 9]),
    })
}

/// Does a fact; what came of it.
fn effect(mut channel: ChannelMachine, fact: Fact) -> Option<String> {
    let before = phase(&channel);
    let mut out: Vec<String> = Vec::new();
    let refused = |error: &dyn std::error::Error| format!("refused: {error}");
    // Once what was due before has left.
    let mut now = NOW;
    let outcome = match fact {
        Fact::Send => channel.send("more".into(), NOW).map_err(|e| refused(&e)),
        Fact::SendWatched => {
            let sent = channel.send_watched("more".into(), NOW);
            sent.map(|number| out.push(format!("has number {number}")))
                .map_err(|e| refused(&e))
        }
        Fact::TakeOutcome => {
            out.extend(
                channel
                    .take_outcome(0)
                    .map(|outcome| format!("{outcome:?}")),
            );
            Ok(())
        }
        Fact::ForgetOutcome => {
            channel.forget_outcome(0);
            Ok(())
        }
        Fact::Recv => {
            out.extend(channel.recv().map(|_| "delivers".into()));
            Ok(())
        }
        Fact::Finish => {
            channel.finish();
            Ok(())
        }
        Fact::DiscardIncoming => {
            channel.discard_incoming();
            Ok(())
        }
        Fact::SetLowThreshold => {
            channel.set_buffered_amount_low_threshold(10);
            Ok(())
        }
        Fact::KnownToPeer => {
            channel.on_known_to_peer();
            Ok(())
        }
        Fact::Limit => {
            channel.limit(64, 1000);
            Ok(())
        }
        Fact::Attach => {
            let next = Seq(channel.outbox().accepted().min(1));
            channel.on_attach(next, WINDOW).map_err(|e| refused(&e))
        }
        Fact::AttachTooFar => channel.on_attach(Seq(9), WINDOW).map_err(|e| refused(&e)),
        Fact::PlainAttach => {
            channel.on_plain_attach();
            Ok(())
        }
        Fact::Detach => {
            channel.on_detach();
            Ok(())
        }
        Fact::StreamOpened => {
            channel.on_stream_opened(STREAM);
            Ok(())
        }
        Fact::Message(frame) => {
            // The connection asks a channel that is closed or on no stream for nothing.
            channel.stream()?;
            channel
                .on_message(MessageKind::Binary, payload(frame), NOW)
                .map_err(|e| refused(&e))
        }
        Fact::Fin => {
            (channel.state() != DurableChannelState::Closed).then_some(())?;
            channel.on_fin(Seq(1)).map_err(|e| refused(&e))
        }
        Fact::FinAck => {
            (channel.state() != DurableChannelState::Closed).then_some(())?;
            channel.on_fin_ack().map_err(|e| refused(&e))
        }
        Fact::ForgottenByPeer => {
            channel.on_forgotten_by_peer();
            Ok(())
        }
        Fact::SessionReset => {
            out.push(told(channel.on_session_reset()));
            Ok(())
        }
        Fact::DropUnconfirmed => {
            out.push(told(channel.drop_unconfirmed()));
            Ok(())
        }
        Fact::Close => {
            channel.close();
            Ok(())
        }
        Fact::CloseIfDone => {
            channel.close_if_done();
            Ok(())
        }
        Fact::TakeFinAck => {
            out.extend(channel.take_fin_ack().then(|| "it is due".into()));
            Ok(())
        }
        Fact::LastWords => {
            let words = channel.last_words().map(frames);
            out.extend(words.map(|words| format!("says {words}")));
            Ok(())
        }
        Fact::TakeFin => {
            out.extend(channel.take_fin().map(|at| format!("it is at {}", at.0)));
            Ok(())
        }
        Fact::Timeout => {
            now = NOW + core::time::Duration::from_secs(60);
            channel.handle_timeout(now);
            Ok(())
        }
        Fact::Cursor => {
            let cursor = channel.cursor(ID);
            out.push(format!("next {}", cursor.recv_next.0));
            Ok(())
        }
    };
    out.extend(outcome.err());
    let between = phase(&channel);
    while let Some(outgoing) = channel.poll_transmit(1000, now) {
        out.push(format!("sends {}", frames(outgoing)));
    }
    out.extend(core::iter::from_fn(|| channel.poll_event()).map(|event| tells(&event)));
    // What is only due to be sent stands behind, so that the state between is seen.
    let after = phase(&channel);
    let mut states: Vec<String> = Vec::new();
    if between != before {
        states.push(format!("→ {between}"));
    }
    if after != between {
        states.push(format!("then → {after}"));
    }
    states.extend(out);
    Some(states.join("; "))
}

fn frames(outgoing: Outgoing) -> String {
    let mut payload = outgoing.payload;
    let mut names = Vec::new();
    while let Ok(frame) = ChannelFrame::decode(&mut payload) {
        names.push(match frame {
            ChannelFrame::Data { seq, .. } => format!("Data {}", seq.0),
            ChannelFrame::Skip { .. } => "Skip".into(),
            ChannelFrame::Ack { next, .. } => format!("Ack {}", next.0),
            ChannelFrame::Fin { at } => format!("Fin {}", at.0),
            ChannelFrame::FinAck => "FinAck".into(),
        });
    }
    names.join(" + ")
}

fn told(unconfirmed: Unconfirmed) -> String {
    let Unconfirmed {
        undelivered,
        maybe_delivered,
    } = unconfirmed;
    format!("{undelivered} undelivered, {maybe_delivered} maybe delivered")
}

fn tells(event: &ChannelEvent) -> String {
    match event {
        ChannelEvent::Opened => "tells Opened".into(),
        ChannelEvent::QueueOverflow { dropped } => format!("tells QueueOverflow {dropped}"),
        ChannelEvent::Expired { dropped } => format!("tells Expired {dropped}"),
        ChannelEvent::Refused { dropped } => format!("tells Refused {dropped}"),
        ChannelEvent::Lost { messages } => format!("tells Lost {messages}"),
        ChannelEvent::ReceiveOverflow { dropped } => format!("tells ReceiveOverflow {dropped}"),
        ChannelEvent::BufferedAmountLow => "tells BufferedAmountLow".into(),
        ChannelEvent::Closed {
            unconfirmed,
            unread,
        } => format!("tells Closed: {}, {unread} unread", told(*unconfirmed)),
    }
}
