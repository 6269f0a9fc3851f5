//! The vectors of `docs/protocol-vectors.json` against the frames of this crate.

#[path = "protocol_vectors/json.rs"]
mod json;

use bytes::Bytes;
use rondevu_core::frame::{ChannelFrame, ControlFrame};
use serde_json::Value;

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol-vectors.json");
    let text = std::fs::read_to_string(path).expect("the vectors are there");
    serde_json::from_str(&text).expect("the vectors are JSON")
}

fn list<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    value[name].as_array().expect("a list")
}

/// Whether `bytes` are these frames, all of them, in the only encoding.
fn check(stream: &str, frames: &[Value], hex: &str) {
    let mut bytes = Bytes::from(json::from_hex(hex));
    let mut encoded = Vec::new();
    for expected in frames {
        let found = if stream == "control" {
            let frame = ControlFrame::decode(&mut bytes).expect("a frame");
            frame.encode(&mut encoded);
            json::control_frame(&frame)
        } else {
            let frame = ChannelFrame::decode(&mut bytes).expect("a frame");
            frame.encode(&mut encoded);
            json::channel_frame(&frame)
        };
        assert_eq!(found, *expected, "{hex}");
    }
    assert!(bytes.is_empty(), "bytes are left of {hex}");
    assert_eq!(json::hex(&encoded), hex);
}

#[test]
fn each_frame_has_the_bytes_of_its_vector() {
    let vectors = vectors();
    let mut names = Vec::new();
    for stream in ["control", "channel"] {
        for vector in list(&vectors["frames"], stream) {
            let hex = vector["bytes"].as_str().expect("text");
            check(stream, std::slice::from_ref(&vector["fields"]), hex);
            names.push(vector["fields"]["frame"].as_str().expect("text").to_owned());
        }
    }
    names.sort();
    names.dedup();
    assert_eq!(
        names.len(),
        13,
        "every kind of frame has a vector: {names:?}"
    );
}

#[test]
fn bytes_that_are_no_frame_are_refused() {
    for vector in list(&vectors(), "invalid") {
        let hex = vector["bytes"].as_str().expect("text");
        let mut bytes = Bytes::from(json::from_hex(hex));
        let refused = match vector["stream"].as_str() {
            Some("control") => ControlFrame::decode(&mut bytes).is_err(),
            Some("channel") => ChannelFrame::decode(&mut bytes).is_err(),
            other => panic!("a stream that is neither: {other:?}"),
        };
        assert!(refused, "{hex}: {}", vector["why"]);
    }
}

#[test]
fn the_recorded_exchange_consists_of_its_frames() {
    let vectors = vectors();
    let messages = list(&vectors, "exchange");
    for message in messages {
        let stream = match message["stream"].as_str() {
            Some("control") => "control",
            _ => "channel",
        };
        let hex = message["bytes"].as_str().expect("text");
        check(stream, list(message, "frames"), hex);
    }
    assert!(messages.len() > 10);
}
