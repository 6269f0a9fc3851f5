//! Facts about links and frames, read from a script.

use std::time::Duration;

use bytes::Bytes;
use rondevu_core::frame::{
    CONTROL_LABEL, CONTROL_PROTOCOL, ChannelFrame, ChannelOptions, ControlFrame, Cursor, Hello,
    Limits, channel_protocol,
};
use rondevu_core::{
    ByeReason, ChannelId, Generation, Incarnation, LinkClosed, LinkEvent, LinkInfo, OpenedBy,
    RejectReason, Reliability, Seq, SessionId, StreamId, StreamOptions,
};

use crate::Script;
use crate::inbox::{kind, part};

/// Any fact about a link.
pub fn link_event(script: &mut Script<'_>) -> LinkEvent {
    match script.pick(10) {
        0 => LinkEvent::Connected(info(script)),
        1 | 2 => LinkEvent::StreamOpened {
            stream: stream(script),
            options: stream_options(script),
            by: match script.pick(8) {
                0 => OpenedBy::Local,
                _ => OpenedBy::Remote,
            },
        },
        3..=7 => LinkEvent::StreamMessage {
            stream: stream(script),
            kind: match script.pick(8) {
                0 => rondevu_core::MessageKind::Text,
                _ => rondevu_core::MessageKind::Binary,
            },
            payload: payload(script),
        },
        8 => LinkEvent::Writable,
        _ => match script.flag() {
            true => LinkEvent::StreamClosed {
                stream: stream(script),
            },
            false => LinkEvent::Closed {
                reason: closed(script),
            },
        },
    }
}

/// What a link says when it connects.
pub fn info(script: &mut Script<'_>) -> LinkInfo {
    LinkInfo {
        message_bytes_max: match script.pick(4) {
            0 => usize::from(script.byte()),
            _ => 64 * 1024,
        },
        ..LinkInfo::UNKNOWN
    }
}

fn closed(script: &mut Script<'_>) -> LinkClosed {
    match script.pick(4) {
        0 => LinkClosed::Remote,
        1 => LinkClosed::Local,
        2 => LinkClosed::Failed("of something".into()),
        _ => LinkClosed::NoPath,
    }
}

pub(super) fn stream(script: &mut Script<'_>) -> StreamId {
    StreamId(script.pick(8) as u32)
}

fn stream_options(script: &mut Script<'_>) -> StreamOptions {
    let (label, protocol) = match script.pick(8) {
        0 => (CONTROL_LABEL.into(), CONTROL_PROTOCOL.into()),
        1 => ("page".into(), String::new()),
        2 => (
            String::from_utf8_lossy(script.bytes(20)).into(),
            String::new(),
        ),
        _ => (label(script), channel_protocol(channel(script))),
    };
    let options = options(script);
    StreamOptions {
        label,
        protocol,
        ordered: options.ordered,
        reliability: options.reliability,
    }
}

fn label(script: &mut Script<'_>) -> String {
    match script.pick(16) {
        0 => "x".repeat(250 + script.pick(10)),
        _ => "chat".into(),
    }
}

/// Mostly one of the first few.
pub(super) fn channel(script: &mut Script<'_>) -> ChannelId {
    ChannelId(script.small() as u32)
}

/// Mostly reliable and ordered.
pub(super) fn options(script: &mut Script<'_>) -> ChannelOptions {
    let reliability = match script.pick(6) {
        0 => Reliability::MaxRetransmits(0),
        1 => Reliability::MaxPacketLifetime(Duration::from_millis(100)),
        _ => Reliability::Reliable,
    };
    ChannelOptions {
        ordered: script.pick(4) > 0,
        reliability,
    }
}

/// A transport message: frames, or anything.
pub(super) fn payload(script: &mut Script<'_>) -> Bytes {
    let mut out = Vec::new();
    match script.pick(8) {
        0 => out.extend_from_slice(script.bytes(40)),
        1..=3 => control_frame(script).encode(&mut out),
        _ => {
            for _ in 0..=script.pick(3) {
                channel_frame(script).encode(&mut out);
            }
        }
    }
    out.into()
}

pub(super) fn channel_frame(script: &mut Script<'_>) -> ChannelFrame {
    match script.pick(8) {
        0..=3 => ChannelFrame::Data {
            seq: Seq(script.small()),
            part: part(script),
            kind: kind(script),
            payload: Bytes::copy_from_slice(script.bytes(80)),
        },
        4 => ChannelFrame::Skip {
            from: Seq(script.small()),
            to: Seq(script.small()),
            messages: script.small(),
        },
        5 => ChannelFrame::Ack {
            next: Seq(script.small()),
            credit: script.number(),
        },
        6 => ChannelFrame::Fin {
            at: Seq(script.small()),
        },
        _ => ChannelFrame::FinAck,
    }
}

pub(super) fn control_frame(script: &mut Script<'_>) -> ControlFrame {
    match script.pick(8) {
        0 => ControlFrame::Hello(hello(script)),
        1 => ControlFrame::Reject {
            reason: reject(script),
        },
        2 => ControlFrame::Ping {
            id: script.byte().into(),
        },
        3 => ControlFrame::Pong {
            id: script.byte().into(),
        },
        4 => ControlFrame::Bye {
            reason: ByeReason::Closed,
        },
        5 | 6 => ControlFrame::Finish {
            channel: channel(script),
        },
        _ => ControlFrame::Finished {
            channel: channel(script),
        },
    }
}

fn reject(script: &mut Script<'_>) -> RejectReason {
    match script.pick(6) {
        0 => RejectReason::NotAuthorised,
        1 => RejectReason::Version,
        2 => RejectReason::Superseded,
        3 => RejectReason::Busy {
            retry_after_ms: script.number() as u32,
        },
        4 => RejectReason::IncarnationMismatch,
        _ => RejectReason::UnknownSession,
    }
}

/// Any hello.
pub fn hello(script: &mut Script<'_>) -> Hello {
    Hello {
        version: u16::from(script.pick(8) > 0),
        session: SessionId(script.small().into()),
        generation: Generation(script.small() as u32),
        incarnation: Incarnation(script.small()),
        peer_incarnation: script.flag().then(|| Incarnation(script.small())),
        limits: limits(script),
        channels: cursors(script),
        nonce: [0; 16],
        proof: None,
        extensions: Vec::new(),
    }
}

pub(super) fn limits(script: &mut Script<'_>) -> Limits {
    let odd = script.pick(8) == 0;
    let mut number = |usual| match odd {
        true => script.number(),
        false => usual,
    };
    Limits {
        fragment_bytes_max: number(64) as u32,
        message_bytes_max: number(2000),
        window_bytes: number(1024),
        channels_max: number(4) as u32,
    }
}

pub(super) fn cursors(script: &mut Script<'_>) -> Vec<Cursor> {
    (0..script.pick(4)).map(|_| cursor(script)).collect()
}

fn cursor(script: &mut Script<'_>) -> Cursor {
    Cursor {
        channel: channel(script),
        label: label(script),
        options: options(script),
        recv_next: Seq(script.small()),
        credit: script.number(),
    }
}
