//! How frames are written: postcard, appended to a buffer that the caller reuses.

use alloc::vec::Vec;

use serde::{Serialize, Serializer};

/// Serializes in one piece what serde would otherwise write byte by byte.
pub(super) fn as_bytes<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

pub(super) fn encode(frame: &impl Serialize, out: &mut Vec<u8>) {
    postcard::serialize_with_flavor(frame, Append(out))
        .expect("appending to a Vec does not fail and every frame has a known length");
}

/// Lets postcard append to a buffer that the caller reuses.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
