//! What applications send to each other.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

/// One message, delivered whole: a text or bytes, as WebRTC data channels distinguish them.
#[derive(Clone, PartialEq, Eq)]
pub enum Message {
    /// A text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

/// Whether a payload is handed over as text or as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
}

impl Message {
    /// Puts a message together from what a link carried.
    ///
    /// # Errors
    ///
    /// Gives the payload back if it is said to be text and is not UTF-8.
    pub fn from_parts(kind: MessageKind, payload: Bytes) -> Result<Self, Bytes> {
        match kind {
            MessageKind::Binary => Ok(Self::Binary(payload)),
            MessageKind::Text => match core::str::from_utf8(&payload) {
                Ok(text) => Ok(Self::Text(text.into())),
                Err(_) => Err(payload),
            },
        }
    }

    /// Whether this is a text or bytes.
    pub fn kind(&self) -> MessageKind {
        match self {
            Self::Text(_) => MessageKind::Text,
            Self::Binary(_) => MessageKind::Binary,
        }
    }

    /// The size of the payload in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty. An empty message is a message: it is delivered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload, of a text its UTF-8 encoding.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The text, `None` for bytes.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// The payload without a copy, of a text its UTF-8 encoding.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => Bytes::from(text.into_bytes()),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Message {
    /// Shows kind and size, never the payload: messages end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
    }
}
