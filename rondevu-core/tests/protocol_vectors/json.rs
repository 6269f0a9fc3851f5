//! Frames as the vectors write them: numbers of more than 32 bits as text, bytes in hexadecimal.

use rondevu_core::frame::{ChannelFrame, ControlFrame, Cursor, Hello, Limits, Proof, Welcome};
use rondevu_core::{ByeReason, MessageKind, RejectReason, Reliability};
use serde_json::{Value, json};

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[allow(dead_code, reason = "the one who writes vectors reads no bytes")]
pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("hexadecimal digits");
        u8::from_str_radix(pair, 16).expect("hexadecimal digits")
    };
    pairs.map(byte).collect()
}

pub(crate) fn channel_frame(frame: &ChannelFrame) -> Value {
    match frame {
        ChannelFrame::Data {
            seq,
            part,
            kind,
            payload,
        } => json!({
            "frame": "Data",
            "seq": seq.0.to_string(),
            "starts": part.starts(),
            "ends": part.ends(),
            "text": *kind == MessageKind::Text,
            "payload": hex(payload),
        }),
        ChannelFrame::Skip { from, to, messages } => json!({
            "frame": "Skip",
            "from": from.0.to_string(),
            "to": to.0.to_string(),
            "messages": messages.to_string(),
        }),
        ChannelFrame::Ack { next, credit } => json!({
            "frame": "Ack",
            "next": next.0.to_string(),
            "credit": credit.to_string(),
        }),
        ChannelFrame::Fin { at } => json!({ "frame": "Fin", "at": at.0.to_string() }),
        ChannelFrame::FinAck => json!({ "frame": "FinAck" }),
    }
}

pub(crate) fn control_frame(frame: &ControlFrame) -> Value {
    match frame {
        ControlFrame::Hello(frame) => hello(frame),
        ControlFrame::Welcome(frame) => welcome(frame),
        ControlFrame::Reject { reason } => json!({ "frame": "Reject", "reason": reject(*reason) }),
        ControlFrame::Ping { id } => json!({ "frame": "Ping", "id": id }),
        ControlFrame::Pong { id } => json!({ "frame": "Pong", "id": id }),
        ControlFrame::Bye { reason } => json!({ "frame": "Bye", "reason": bye(*reason) }),
        ControlFrame::Finish { channel } => json!({ "frame": "Finish", "channel": channel.0 }),
        ControlFrame::Finished { channel } => json!({ "frame": "Finished", "channel": channel.0 }),
    }
}

pub(crate) fn hello(hello: &Hello) -> Value {
    json!({
        "frame": "Hello",
        "version": hello.version,
        "session": hello.session.0.to_string(),
        "generation": hello.generation.0,
        "incarnation": hello.incarnation.0.to_string(),
        "peer_incarnation": hello.peer_incarnation.map(|known| known.0.to_string()),
        "limits": limits(&hello.limits),
        "channels": hello.channels.iter().map(cursor).collect::<Vec<_>>(),
        "nonce": hex(&hello.nonce),
        "proof": hello.proof.as_ref().map(proof),
        "extensions": extensions(&hello.extensions),
    })
}

pub(crate) fn welcome(welcome: &Welcome) -> Value {
    json!({
        "frame": "Welcome",
        "version": welcome.version,
        "generation": welcome.generation.0,
        "incarnation": welcome.incarnation.0.to_string(),
        "resumed": welcome.resumed,
        "limits": limits(&welcome.limits),
        "channels": welcome.channels.iter().map(cursor).collect::<Vec<_>>(),
        "nonce": hex(&welcome.nonce),
        "proof": welcome.proof.as_ref().map(proof),
        "extensions": extensions(&welcome.extensions),
    })
}

fn limits(limits: &Limits) -> Value {
    json!({
        "fragment_bytes_max": limits.fragment_bytes_max,
        "message_bytes_max": limits.message_bytes_max.to_string(),
        "window_bytes": limits.window_bytes.to_string(),
        "channels_max": limits.channels_max,
    })
}

fn cursor(cursor: &Cursor) -> Value {
    let reliability = match cursor.options.reliability {
        Reliability::Reliable => json!("Reliable"),
        Reliability::MaxRetransmits(count) => json!({ "MaxRetransmits": count }),
        Reliability::MaxPacketLifetime(lifetime) => {
            json!({ "MaxPacketLifetime": lifetime.as_millis() as u64 })
        }
    };
    json!({
        "channel": cursor.channel.0,
        "label": cursor.label,
        "ordered": cursor.options.ordered,
        "reliability": reliability,
        "recv_next": cursor.recv_next.0.to_string(),
        "credit": cursor.credit.to_string(),
    })
}

fn proof(proof: &Proof) -> Value {
    json!({ "public_key": hex(&proof.public_key), "signature": hex(&proof.signature) })
}

fn extensions(extensions: &[rondevu_core::frame::Extension]) -> Vec<Value> {
    let one = |one: &rondevu_core::frame::Extension| json!({ "id": one.id, "content": hex(&one.content) });
    extensions.iter().map(one).collect()
}

fn reject(reason: RejectReason) -> Value {
    match reason {
        RejectReason::Busy { retry_after_ms } => json!({ "Busy": retry_after_ms }),
        other => json!(format!("{other:?}")),
    }
}

fn bye(reason: ByeReason) -> String {
    format!("{reason:?}")
}
