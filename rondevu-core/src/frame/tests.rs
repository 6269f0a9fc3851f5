//! Frames and their bytes.

use alloc::vec;
use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{Generation, Incarnation, Reliability, SessionId};

fn data(seq: u64, payload: &'static [u8]) -> ChannelFrame {
    ChannelFrame::Data {
        seq: Seq(seq),
        part: Part::Whole,
        kind: MessageKind::Text,
        payload: Bytes::from_static(payload),
    }
}

fn encoded(frame: &ChannelFrame) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

#[test]
fn channel_frames_have_the_documented_bytes() {
    assert_eq!(
        encoded(&data(300, b"hi")),
        [0, 0xac, 0x02, 7, 2, b'h', b'i']
    );
    let skip = ChannelFrame::Skip {
        from: Seq(1),
        to: Seq(2),
        messages: 5,
    };
    assert_eq!(encoded(&skip), [1, 1, 2, 5]);
    assert_eq!(
        encoded(&ChannelFrame::Ack {
            next: Seq(7),
            credit: 128
        }),
        [2, 7, 0x80, 1]
    );
    assert_eq!(encoded(&ChannelFrame::Fin { at: Seq(9) }), [3, 9]);
    assert_eq!(encoded(&ChannelFrame::FinAck), [4]);
}

#[test]
fn unknown_flags_are_refused() {
    assert_eq!(
        ChannelFrame::decode(&mut Bytes::from_static(&[0, 0, 8, 0])),
        Err(FrameError)
    );
}

#[test]
fn several_frames_travel_in_one_message_and_share_its_memory() {
    let mut out = Vec::new();
    data(0, b"a").encode(&mut out);
    data(1, b"bc").encode(&mut out);
    let mut bytes = Bytes::from(out);
    assert_eq!(ChannelFrame::decode(&mut bytes), Ok(data(0, b"a")));
    assert_eq!(ChannelFrame::decode(&mut bytes), Ok(data(1, b"bc")));
    assert!(bytes.is_empty());
}

#[test]
fn channel_protocols_have_one_spelling() {
    assert_eq!(
        parse_channel_protocol("rondevu.channel.v1;42"),
        Some(ChannelId(42))
    );
    for bad in [
        "rondevu.channel.v1;",
        "rondevu.channel.v1;042",
        "rondevu.channel.v1;+42",
        "x",
    ] {
        assert_eq!(parse_channel_protocol(bad), None, "{bad}");
    }
}

fn any_hello() -> impl Strategy<Value = Hello> {
    let cursor = (
        any::<u32>(),
        ".{0,20}",
        any::<bool>(),
        0u8..3,
        any::<u16>(),
        any::<u64>(),
    )
        .prop_map(|(id, label, ordered, reliability, n, next)| Cursor {
            channel: ChannelId(id),
            label,
            options: ChannelOptions {
                ordered,
                reliability: match reliability {
                    0 => Reliability::Reliable,
                    1 => Reliability::MaxRetransmits(n),
                    _ => Reliability::MaxPacketLifetime(Duration::from_millis(n.into())),
                },
            },
            recv_next: Seq(next),
            credit: next / 2,
        });
    (
        any::<u128>(),
        any::<u32>(),
        any::<[u64; 2]>(),
        prop::collection::vec(cursor, 0..5),
    )
        .prop_map(|(session, generation, numbers, channels)| Hello {
            version: PROTOCOL_VERSION,
            session: SessionId(session),
            generation: Generation(generation),
            incarnation: Incarnation(numbers[0]),
            peer_incarnation: (numbers[1] > 9).then_some(Incarnation(numbers[1])),
            limits: Limits {
                fragment_bytes_max: 16384,
                message_bytes_max: numbers[0],
                window_bytes: numbers[1],
                channels_max: generation,
            },
            channels,
            nonce: [7; 16],
            proof: Some(Proof {
                public_key: [1; 32],
                signature: vec![2; 64],
            }),
            extensions: vec![Extension {
                id: 9,
                content: vec![1, 2],
            }],
        })
}

proptest! {
    #[test]
    fn what_was_encoded_decodes_to_the_same(hello in any_hello()) {
        let frame = ControlFrame::Hello(hello);
        let mut out = Vec::new();
        frame.encode(&mut out);
        let mut bytes = Bytes::from(out);
        prop_assert_eq!(ControlFrame::decode(&mut bytes), Ok(frame));
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn garbage_is_an_error_or_a_frame_but_never_a_panic(garbage: Vec<u8>) {
        let _ = ControlFrame::decode(&mut Bytes::from(garbage.clone()));
        let _ = ChannelFrame::decode(&mut Bytes::from(garbage));
    }

    #[test]
    fn a_data_header_is_as_small_as_promised(seq: u64, len in 0usize..70_000) {
        let frame = ChannelFrame::Data {
            seq: Seq(seq),
            part: Part::First,
            kind: MessageKind::Binary,
            payload: vec![0; len].into(),
        };
        prop_assert!(encoded(&frame).len() <= len + ChannelFrame::DATA_HEADER_BYTES_MAX);
    }
}
