//! The decoders of frames.

use bytes::Bytes;
use rondevu_core::frame::{ChannelFrame, ControlFrame};

/// Whatever decodes can be encoded and decodes to the same.
pub(crate) fn control_frames(input: &[u8]) {
    let mut bytes = Bytes::copy_from_slice(input);
    while let Ok(frame) = ControlFrame::decode(&mut bytes) {
        let mut out = Vec::new();
        frame.encode(&mut out);
        let mut again = Bytes::from(out);
        assert_eq!(ControlFrame::decode(&mut again), Ok(frame));
        assert!(again.is_empty());
    }
}

/// The same, and a payload is a part of the input.
pub(crate) fn channel_frames(input: &[u8]) {
    let mut bytes = Bytes::copy_from_slice(input);
    let whole = bytes.as_ptr_range();
    while let Ok(frame) = ChannelFrame::decode(&mut bytes) {
        if let ChannelFrame::Data { payload, .. } = &frame {
            assert!(payload.is_empty() || whole.contains(&payload.as_ptr()));
        }
        let mut out = Vec::new();
        frame.encode(&mut out);
        let mut again = Bytes::from(out);
        assert_eq!(ChannelFrame::decode(&mut again), Ok(frame));
        assert!(again.is_empty());
    }
}
