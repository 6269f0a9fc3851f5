//! Buffers that a thread uses again.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut, RangeInclusive};

/// Bytes in a buffer that is kept for the next one who asks in the same thread once it is dropped.
///
/// What a link holds while it is busy is not given back to the allocator with each datagram, and an
/// idle link holds nothing. A thread keeps 64 buffers for a datagram each and 8 larger ones of up to
/// 128 KiB; buffers of up to 1 KiB come from the allocator.
#[derive(Default)]
pub struct Buffer {
    /// What is behind the first `len` bytes is left from others.
    storage: Vec<u8>,
    len: usize,
}

impl Buffer {
    /// An empty buffer with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Self::take(bytes);
        buffer.reserve(bytes);
        buffer
    }

    /// A buffer of `len` bytes to be overwritten; what they are before is not specified.
    pub fn filled(len: usize) -> Self {
        Self::take(len).of_len(len)
    }

    /// The same if this thread has kept one that is large enough.
    pub fn kept(len: usize) -> Option<Self> {
        let buffer = Self::take(len);
        (buffer.storage.capacity() >= len).then(|| buffer.of_len(len))
    }

    fn of_len(mut self, len: usize) -> Self {
        if self.storage.len() < len {
            self.reserve(len);
            self.storage.resize(len, 0);
        }
        self.len = len;
        self
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::with_capacity(bytes.len());
        buffer.extend_from_slice(bytes);
        buffer
    }

    fn take(bytes: usize) -> Self {
        if !KEPT_BYTES.contains(&bytes) {
            return Self::default();
        }
        let kept = SHELVES.try_with(|shelves| shelves.borrow_mut().of(bytes).take(bytes));
        let storage = kept.ok().flatten().unwrap_or_default();
        Self { storage, len: 0 }
    }

    /// Makes room for `bytes` in all.
    fn reserve(&mut self, bytes: usize) {
        let bytes = match KEPT_BYTES.contains(&bytes) {
            true => bytes.max(DATAGRAM_BYTES),
            false => bytes,
        };
        let missing = bytes.saturating_sub(self.storage.len());
        self.storage.reserve(missing);
    }

    /// Appends a copy of `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        match self.storage.get_mut(self.len..end) {
            Some(room) => room.copy_from_slice(bytes),
            None => {
                self.storage.truncate(self.len);
                self.storage.extend_from_slice(bytes);
            }
        }
        self.len = end;
    }

    /// Gives up all but the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &Self::Target {
        &self.storage[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.storage[..self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Buffer {}

impl fmt::Debug for Buffer {
    /// Shows the size, never the contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let storage = std::mem::take(&mut self.storage);
        if !KEPT_BYTES.contains(&storage.capacity()) {
            return;
        }
        // A thread that ends keeps nothing.
        let _ = SHELVES.try_with(|shelves| {
            let mut shelves = shelves.borrow_mut();
            let shelf = shelves.of(storage.capacity());
            if shelf.kept.len() == shelf.max {
                // It is of a size that nobody has asked for.
                shelf.kept.remove(0);
            }
            shelf.kept.push(storage);
        });
    }
}

struct Shelves {
    datagrams: Shelf,
    large: Shelf,
}

struct Shelf {
    kept: Vec<Vec<u8>>,
    max: usize,
}

impl Shelf {
    /// The latest that fits. One that is far too large is not given away, as whoever keeps what is in it would
    /// keep all of it.
    fn take(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let fits =
            |kept: &Vec<u8>| (bytes..=bytes.max(DATAGRAM_BYTES) * 2).contains(&kept.capacity());
        let at = self.kept.iter().rposition(fits)?;
        Some(self.kept.remove(at))
    }
}

impl Shelves {
    fn of(&mut self, bytes: usize) -> &mut Shelf {
        match bytes {
            0..=DATAGRAM_BYTES => &mut self.datagrams,
            _ => &mut self.large,
        }
    }
}

thread_local! {
    static SHELVES: RefCell<Shelves> = const {
        RefCell::new(Shelves {
            datagrams: Shelf { kept: Vec::new(), max: 64 },
            large: Shelf { kept: Vec::new(), max: 8 },
        })
    };
}

/// Allocators are quick with little, and a small piece should not hold on to a large buffer. A vector that
/// grows may have twice of what UDP carries.
const KEPT_BYTES: RangeInclusive<usize> = 1025..=128 * 1024;
/// No allocator rounds this up, and any datagram on an Ethernet has room in it.
const DATAGRAM_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> [usize; 2] {
        SHELVES.with_borrow(|shelves| [shelves.datagrams.kept.len(), shelves.large.kept.len()])
    }

    #[test]
    fn a_thread_keeps_a_few_of_each_size_and_gives_them_out_empty() {
        let held: Vec<_> = (0..100).map(|n| Buffer::copy_of(&[n; 1400])).collect();
        drop(held);
        let held: Vec<_> = (0..100).map(|n| Buffer::copy_of(&[n; 60_000])).collect();
        drop(held);
        drop(Buffer::copy_of(&[0; 1_000_000]));
        assert_eq!(kept(), [64, 8]);
        let (small, large) = (Buffer::with_capacity(1_100), Buffer::with_capacity(50_000));
        assert_eq!(kept(), [63, 7]);
        let middle = Buffer::with_capacity(20_000);
        assert!(
            middle.is_empty() && kept() == [63, 7],
            "others are too large for that"
        );
        assert!(small.is_empty() && large.is_empty());
        drop(Buffer::copy_of(b"hello"));
        assert_eq!(kept(), [63, 7], "that one was small");
    }

    #[test]
    fn a_buffer_is_as_long_as_it_was_filled() {
        drop(Buffer::copy_of(&[7; 3_000]));
        let mut buffer = Buffer::with_capacity(2_500);
        assert_eq!(kept(), [0, 0]);
        buffer.extend_from_slice(b"hello ");
        buffer.extend_from_slice(&[1; 5_000]);
        buffer.truncate(10);
        assert_eq!(&buffer[..], b"hello \x01\x01\x01\x01");
        buffer.extend_from_slice(b"world");
        assert_eq!((buffer.len(), &buffer[10..]), (15, &b"world"[..]));
        assert_eq!(Buffer::filled(2_000).len(), 2_000);
        assert_eq!(Buffer::copy_of(b"hello"), Buffer::copy_of(b"hello"));
    }
}
