//! What a correct peer would do next, so that scripts get beyond the greeting.

use std::collections::BTreeMap;

use bytes::Bytes;
use rondevu_core::frame::{ChannelFrame, ControlFrame, Cursor, Hello, Limits, Welcome};
use rondevu_core::{ChannelId, Generation, Incarnation, MessageKind, Seq, SessionId};
use rondevu_durable::Transmit;

use crate::Script;

/// Remembers what the machine said, to answer it correctly if the script wants so.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) hello: Option<Hello>,
    generation: u32,
    /// The next number of each stream of its own fragments.
    next: BTreeMap<u32, u64>,
    /// How much the machine has sent on each stream.
    heard: BTreeMap<u32, u64>,
    channels: BTreeMap<ChannelId, Cursor>,
}

/// The incarnation of the peer, which the script may change.
const INCARNATION: Incarnation = Incarnation(7);

impl Peer {
    /// The machine sent something.
    pub(super) fn on_transmit(&mut self, transmit: &Transmit, control: u32) {
        if transmit.kind != MessageKind::Binary {
            return;
        }
        let mut payload = transmit.payload.clone();
        if transmit.stream.0 == control {
            if let Ok(ControlFrame::Hello(hello)) = ControlFrame::decode(&mut payload) {
                self.hello = Some(hello);
            }
            return;
        }
        while let Ok(frame) = ChannelFrame::decode(&mut payload) {
            let heard = self.heard.entry(transmit.stream.0).or_default();
            match frame {
                ChannelFrame::Data { seq, .. } => *heard = seq.0 + 1,
                ChannelFrame::Skip { to, .. } => *heard = to.0,
                ChannelFrame::Ack { .. } | ChannelFrame::Fin { .. } | ChannelFrame::FinAck => {}
            }
        }
    }

    /// A new link: the numbers go on where the script says.
    pub(super) fn on_new_link(&mut self) {
        self.heard.clear();
    }

    fn limits() -> Limits {
        Limits {
            fragment_bytes_max: 64,
            message_bytes_max: 2000,
            window_bytes: 1024,
            channels_max: 4,
        }
    }

    /// A welcome that fits the last hello.
    pub(super) fn welcome(&self, script: &mut Script<'_>) -> Option<ControlFrame> {
        let hello = self.hello.as_ref()?;
        let odd = script.pick(16);
        let channels = hello.channels.iter().filter(|_| odd != 1);
        Some(ControlFrame::Welcome(Welcome {
            version: 1,
            generation: hello.generation,
            incarnation: match odd {
                0 => Incarnation(8),
                _ => INCARNATION,
            },
            resumed: hello.peer_incarnation.is_some(),
            limits: Self::limits(),
            channels: channels
                .map(|cursor| Cursor {
                    recv_next: Seq(match odd {
                        2 => script.small(),
                        _ => 0,
                    }),
                    credit: 1024,
                    ..cursor.clone()
                })
                .collect(),
            nonce: [0; 16],
            proof: None,
            extensions: Vec::new(),
        }))
    }

    /// A hello that continues the session of an acceptor, with a few channels of its own.
    pub(super) fn hello_for(
        &mut self,
        script: &mut Script<'_>,
        known: Option<Incarnation>,
    ) -> Hello {
        self.generation = self
            .generation
            .saturating_add(1 + u32::from(script.byte() == 255));
        for _ in 0..script.pick(3) {
            let id = ChannelId(script.pick(4) as u32 * 2);
            let options = super::events::options(script);
            self.channels.entry(id).or_insert_with(|| Cursor {
                channel: id,
                label: "chat".into(),
                options,
                recv_next: Seq::ZERO,
                credit: 1024,
            });
        }
        Hello {
            version: 1,
            session: SessionId(1),
            generation: Generation(self.generation),
            incarnation: INCARNATION,
            peer_incarnation: known,
            limits: Self::limits(),
            channels: self.channels.values().cloned().collect(),
            nonce: [0; 16],
            proof: None,
            extensions: Vec::new(),
        }
    }

    /// A message of frames that fit what went before on this stream.
    pub(super) fn frames(&mut self, stream: u32, script: &mut Script<'_>) -> Bytes {
        let mut out = Vec::new();
        for _ in 0..=script.pick(3) {
            let next = self.next.entry(stream).or_default();
            let heard = self.heard.get(&stream).copied().unwrap_or(0);
            let frame = match script.pick(8) {
                0..=3 => {
                    *next += 1;
                    ChannelFrame::Data {
                        seq: Seq(*next - 1),
                        part: rondevu_core::frame::Part::Whole,
                        kind: MessageKind::Binary,
                        payload: Bytes::copy_from_slice(script.bytes(60)),
                    }
                }
                4 => {
                    *next += 1;
                    ChannelFrame::Skip {
                        from: Seq(*next - 1),
                        to: Seq(*next),
                        messages: script.small(),
                    }
                }
                5 => ChannelFrame::Ack {
                    next: Seq(heard.saturating_sub(script.pick(3) as u64)),
                    credit: 1024,
                },
                6 => ChannelFrame::Fin { at: Seq(*next) },
                _ => ChannelFrame::FinAck,
            };
            frame.encode(&mut out);
        }
        out.into()
    }
}
