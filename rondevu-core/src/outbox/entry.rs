//! What was numbered: a message with its fragments, or the gap that messages have left.

use crate::frame::{ChannelFrame, Part};
use crate::{Queued, Seq};

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) first: Seq,
    pub(super) fragments: u64,
    /// The size of all fragments but the last: replays must cut in the same places.
    pub(super) fragment_bytes: usize,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Message(Queued),
    Gap { messages: u64 },
}

impl Entry {
    pub(super) fn end(&self) -> Seq {
        self.first.advance(self.fragments)
    }

    pub(super) fn fragment(&self, seq: Seq) -> ChannelFrame {
        match &self.content {
            Content::Gap { messages } => ChannelFrame::Skip {
                from: seq,
                to: seq.advance(1),
                messages: *messages,
            },
            Content::Message(message) => {
                let range = self.range(seq, message.payload.len());
                ChannelFrame::Data {
                    seq,
                    part: Part::new(seq == self.first, seq.advance(1) == self.end()),
                    kind: message.kind,
                    payload: message.payload.slice(range),
                }
            }
        }
    }

    fn range(&self, seq: Seq, len: usize) -> core::ops::Range<usize> {
        let start = seq.distance_from(self.first) as usize * self.fragment_bytes;
        start..len.min(start + self.fragment_bytes)
    }

    pub(super) fn fragment_len(&self, seq: Seq) -> usize {
        match &self.content {
            Content::Gap { .. } => 0,
            Content::Message(message) => self.range(seq, message.payload.len()).len(),
        }
    }

    pub(super) fn payload_len(&self) -> usize {
        match &self.content {
            Content::Gap { .. } => 0,
            Content::Message(message) => message.payload.len(),
        }
    }
}
