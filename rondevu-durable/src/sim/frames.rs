//! Looks at the frames that links carry, without touching them.

use bytes::Bytes;
use rondevu_core::frame::{CONTROL_LABEL, ChannelFrame, ControlFrame, parse_channel_protocol};
use rondevu_core::{LinkEvent, Seq, StreamId};

use super::world::EndNotes;

/// Tells `count` the row of each frame in a table of frames.
pub(super) fn read(notes: &mut EndNotes, event: &LinkEvent, mut count: impl FnMut(usize)) {
    match event {
        LinkEvent::StreamOpened {
            stream, options, ..
        } => {
            if options.label == CONTROL_LABEL {
                notes.control = Some(*stream);
            } else if parse_channel_protocol(&options.protocol).is_some() {
                notes.channels.insert(*stream);
            }
        }
        LinkEvent::StreamMessage {
            stream, payload, ..
        } => {
            let mut payload = payload.clone();
            if notes.control == Some(*stream) {
                while let Ok(frame) = ControlFrame::decode(&mut payload) {
                    notes.last = Some(control_row(&frame));
                    count(control_row(&frame));
                }
            } else if notes.channels.contains(stream) {
                while let Ok(frame) = ChannelFrame::decode(&mut payload) {
                    notes.last = Some(channel_row(&frame));
                    count(channel_row(&frame));
                }
            }
        }
        LinkEvent::Connected(_)
        | LinkEvent::Writable
        | LinkEvent::StreamClosed { .. }
        | LinkEvent::Closed { .. } => {}
    }
}

/// The row of the first frame of a message.
pub(super) fn first_row(notes: &EndNotes, stream: StreamId, mut payload: Bytes) -> Option<usize> {
    if notes.control == Some(stream) {
        return Some(control_row(&ControlFrame::decode(&mut payload).ok()?));
    }
    if !notes.channels.contains(&stream) {
        return None;
    }
    Some(channel_row(&ChannelFrame::decode(&mut payload).ok()?))
}

/// The number of the data or gap that a message to a channel begins with.
pub(super) fn first_seq(payload: &Bytes) -> Option<Seq> {
    let mut payload = payload.clone();
    while let Ok(frame) = ChannelFrame::decode(&mut payload) {
        match frame {
            ChannelFrame::Data { seq, .. } => return Some(seq),
            ChannelFrame::Skip { from, .. } => return Some(from),
            ChannelFrame::Ack { .. } | ChannelFrame::FinAck => {}
            ChannelFrame::Fin { .. } => return None,
        }
    }
    None
}

fn control_row(frame: &ControlFrame) -> usize {
    match frame {
        ControlFrame::Hello(_) => 0,
        ControlFrame::Welcome(_) => 1,
        ControlFrame::Reject { .. } => 2,
        ControlFrame::Ping { .. } => 3,
        ControlFrame::Pong { .. } => 4,
        ControlFrame::Bye { .. } => 5,
        ControlFrame::Finish { .. } => 12,
        ControlFrame::Finished { .. } => 13,
    }
}

fn channel_row(frame: &ChannelFrame) -> usize {
    match frame {
        ChannelFrame::Data { part, .. } => match part.ends() {
            true => 6,
            false => 7,
        },
        ChannelFrame::Skip { .. } => 8,
        ChannelFrame::Ack { .. } => 9,
        ChannelFrame::Fin { .. } => 10,
        ChannelFrame::FinAck => 11,
    }
}

/// A link event in one line.
pub(super) fn summary(control: Option<StreamId>, event: &LinkEvent) -> String {
    let LinkEvent::StreamMessage {
        stream, payload, ..
    } = event
    else {
        return format!("{event:?}");
    };
    let is_control = control == Some(*stream);
    let mut names = Vec::new();
    let mut rest = payload.clone();
    if is_control {
        while let Ok(frame) = ControlFrame::decode(&mut rest) {
            names.push(format!("{frame:?}"));
        }
    } else {
        while let Ok(frame) = ChannelFrame::decode(&mut rest) {
            names.push(match frame {
                ChannelFrame::Data {
                    seq, part, payload, ..
                } => format!("Data({seq:?} {part:?} {} bytes)", payload.len()),
                other => format!("{other:?}"),
            });
        }
    }
    format!("{stream:?} {}", names.join(" | "))
}

/// The row of the first data or gap in a message.
pub(super) fn row_of(payload: &Bytes) -> usize {
    let mut payload = payload.clone();
    while let Ok(frame) = ChannelFrame::decode(&mut payload) {
        if matches!(frame, ChannelFrame::Data { .. } | ChannelFrame::Skip { .. }) {
            return channel_row(&frame);
        }
    }
    channel_row(&ChannelFrame::FinAck)
}
