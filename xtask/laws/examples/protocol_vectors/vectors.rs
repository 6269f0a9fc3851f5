//! Everything that the file of vectors holds.

use std::time::Duration;

use bytes::Bytes;
use rondevu_core::frame::{
    ChannelFrame, ChannelOptions, ControlFrame, Cursor, Extension, Hello, Limits, Part, Proof,
    Welcome,
};
use rondevu_core::proof::{hello_transcript, welcome_transcript};
use rondevu_core::{
    ByeReason, ChannelId, Fingerprints, Generation, Identity, Incarnation, MessageKind,
    RejectReason, Reliability, Seq, SessionId,
};
use rondevu_signaling::KeyPair;
use serde_json::{Value, json};

use crate::json::{channel_frame, control_frame, hex};

/// The file.
pub(crate) fn text() -> String {
    let vectors = json!({
        "about": "rondevu.session.v1; numbers of more than 32 bits are texts, bytes are hexadecimal",
        "frames": {
            "control": control_frames().iter().map(control_vector).collect::<Vec<_>>(),
            "channel": channel_frames().iter().map(channel_vector).collect::<Vec<_>>(),
        },
        "invalid": invalid(),
        "proofs": proofs(),
        "exchange": crate::exchange::record(),
    });
    let text = serde_json::to_string_pretty(&vectors).expect("values can be written");
    text + "\n"
}

fn control_bytes(frame: &ControlFrame) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

fn control_vector(frame: &ControlFrame) -> Value {
    json!({ "fields": control_frame(frame), "bytes": hex(&control_bytes(frame)) })
}

fn channel_vector(frame: &ChannelFrame) -> Value {
    let mut out = Vec::new();
    frame.encode(&mut out);
    json!({ "fields": channel_frame(frame), "bytes": hex(&out) })
}

fn limits() -> Limits {
    Limits {
        fragment_bytes_max: 16384,
        message_bytes_max: 16 * 1024 * 1024,
        window_bytes: 1024 * 1024,
        channels_max: 128,
    }
}

fn cursor(id: u32, ordered: bool, reliability: Reliability, recv_next: u64) -> Cursor {
    let credit = match reliability {
        Reliability::Reliable => 1024 * 1024,
        Reliability::MaxRetransmits(_) | Reliability::MaxPacketLifetime(_) => 0,
    };
    Cursor {
        channel: ChannelId(id),
        label: ["chat", "größe", ""][id as usize % 3].into(),
        options: ChannelOptions {
            ordered,
            reliability,
        },
        recv_next: Seq(recv_next),
        credit,
    }
}

fn cursors() -> Vec<Cursor> {
    let lifetime = Reliability::MaxPacketLifetime(Duration::from_millis(300));
    vec![
        cursor(0, true, Reliability::Reliable, 300),
        cursor(1, false, Reliability::Reliable, u64::MAX),
        cursor(2, true, Reliability::MaxRetransmits(0), 0),
        cursor(3, false, lifetime, 0),
    ]
}

fn first_hello() -> Hello {
    Hello {
        version: 1,
        session: SessionId(5),
        generation: Generation(1),
        incarnation: Incarnation(7),
        peer_incarnation: None,
        limits: limits(),
        channels: Vec::new(),
        nonce: [0xaa; 16],
        proof: None,
        extensions: Vec::new(),
    }
}

fn full_hello() -> Hello {
    Hello {
        session: SessionId(u128::MAX),
        generation: Generation(u32::MAX),
        incarnation: Incarnation(u64::MAX),
        peer_incarnation: Some(Incarnation(1 << 63)),
        channels: cursors(),
        proof: Some(Proof {
            public_key: [1; 32],
            signature: vec![2; 64],
        }),
        extensions: vec![Extension {
            id: 300,
            content: vec![0, 255],
        }],
        ..first_hello()
    }
}

fn first_welcome() -> Welcome {
    Welcome {
        version: 1,
        generation: Generation(1),
        incarnation: Incarnation(9),
        resumed: false,
        limits: limits(),
        channels: Vec::new(),
        nonce: [0xbb; 16],
        proof: None,
        extensions: Vec::new(),
    }
}

fn control_frames() -> Vec<ControlFrame> {
    let mut frames = vec![
        ControlFrame::Hello(first_hello()),
        ControlFrame::Hello(full_hello()),
        ControlFrame::Welcome(first_welcome()),
        ControlFrame::Welcome(Welcome {
            generation: Generation(128),
            resumed: true,
            channels: cursors(),
            ..first_welcome()
        }),
    ];
    let reasons = [
        RejectReason::UnknownSession,
        RejectReason::IncarnationMismatch,
        RejectReason::Superseded,
        RejectReason::NotAuthorised,
        RejectReason::Version,
        RejectReason::Busy {
            retry_after_ms: 1000,
        },
    ];
    frames.extend(reasons.map(|reason| ControlFrame::Reject { reason }));
    for id in [0, 127, 128, u32::MAX] {
        frames.push(ControlFrame::Ping { id });
        frames.push(ControlFrame::Pong { id });
        frames.push(ControlFrame::Finish {
            channel: ChannelId(id),
        });
        frames.push(ControlFrame::Finished {
            channel: ChannelId(id),
        });
    }
    let reasons = [
        ByeReason::Closed,
        ByeReason::ShuttingDown,
        ByeReason::SessionExpired,
        ByeReason::ProtocolError,
    ];
    frames.extend(reasons.map(|reason| ControlFrame::Bye { reason }));
    frames
}

fn data(seq: u64, part: Part, kind: MessageKind, payload: &'static [u8]) -> ChannelFrame {
    ChannelFrame::Data {
        seq: Seq(seq),
        part,
        kind,
        payload: Bytes::from_static(payload),
    }
}

fn channel_frames() -> Vec<ChannelFrame> {
    let (text, binary) = (MessageKind::Text, MessageKind::Binary);
    let skip = |from, to, messages| ChannelFrame::Skip {
        from: Seq(from),
        to: Seq(to),
        messages,
    };
    let ack = |next, credit| ChannelFrame::Ack {
        next: Seq(next),
        credit,
    };
    vec![
        data(300, Part::Whole, text, b"hi"),
        data(0, Part::Whole, binary, b""),
        data(0, Part::Whole, text, b""),
        data(1, Part::First, binary, &[0, 1, 2]),
        data(2, Part::Middle, binary, &[255]),
        data(u64::MAX, Part::Last, text, "größe".as_bytes()),
        data(16384, Part::Last, binary, &[7; 130]),
        skip(1, 2, 5),
        skip(127, 128, u64::MAX),
        ack(7, 128),
        ack(0, 0),
        ack(u64::MAX, 1024 * 1024),
        ChannelFrame::Fin { at: Seq(9) },
        ChannelFrame::Fin { at: Seq(0) },
        ChannelFrame::FinAck,
    ]
}

fn invalid() -> Vec<Value> {
    let one = |stream: &str, bytes: &str, why: &str| json!({ "stream": stream, "bytes": bytes, "why": why });
    let hello = hex(&control_bytes(&ControlFrame::Hello(first_hello())));
    vec![
        one("channel", "", "nothing"),
        one("channel", "05", "an unknown tag"),
        one("channel", "ff", "a tag that does not end"),
        one("channel", "00", "Data without a number"),
        one("channel", "00000800", "a flag that does not exist"),
        one("channel", "0000ff00", "flags that do not exist"),
        one(
            "channel",
            "0000070268",
            "a payload that is shorter than its length",
        ),
        one(
            "channel",
            "000007ffffffffffffffffff01",
            "a payload longer than any message",
        ),
        one(
            "channel",
            "03ffffffffffffffffffff",
            "a number of more than ten bytes",
        ),
        one(
            "channel",
            "03ffffffffffffffffff02",
            "a number above 64 bits",
        ),
        one("channel", "0207", "Ack without a credit"),
        one("channel", "010102", "Skip without a count"),
        one("control", "", "nothing"),
        one("control", "08", "an unknown tag"),
        one("control", "03", "Ping without a number"),
        one("control", "03ffffffff1f", "a number above 32 bits"),
        one("control", "0206", "an unknown reason of a Reject"),
        one("control", "0504", "an unknown reason of a Bye"),
        one("control", "0205", "Busy without a time"),
        one(
            "control",
            &hello[..hello.len() - 2],
            "a Hello without its end",
        ),
        one(
            "control",
            &hello.replacen("0105010700", "0105010702", 1),
            "an option that is neither none nor some",
        ),
    ]
}

fn proofs() -> Value {
    let (dialer_seed, acceptor_seed) = ([0x11; 32], [0x22; 32]);
    let (dialer, acceptor) = (
        KeyPair::from_seed(&dialer_seed),
        KeyPair::from_seed(&acceptor_seed),
    );
    let seen = Fingerprints {
        local: [0xd1; 32],
        remote: [0xac; 32],
    };
    let mut hello = first_hello();
    let hello_signed = hello_transcript(&hello, &seen);
    hello.proof = Some(signed(&dialer, &hello_signed));
    let mut welcome = first_welcome();
    let welcome_signed = welcome_transcript(&hello, &welcome, &seen);
    welcome.proof = Some(signed(&acceptor, &welcome_signed));
    json!({
        "dialer_fingerprint": hex(&seen.local),
        "acceptor_fingerprint": hex(&seen.remote),
        "hello": {
            "seed": hex(&dialer_seed),
            "transcript": hex(&hello_signed),
            "bytes": hex(&control_bytes(&ControlFrame::Hello(hello))),
        },
        "welcome": {
            "seed": hex(&acceptor_seed),
            "transcript": hex(&welcome_signed),
            "bytes": hex(&control_bytes(&ControlFrame::Welcome(welcome))),
        },
    })
}

fn signed(keys: &KeyPair, transcript: &[u8]) -> Proof {
    Proof {
        public_key: Identity::public_key(keys),
        signature: keys.sign(transcript).to_vec(),
    }
}
