//! Bytes read as a list of operations.

use std::time::Duration;

/// Hands out values; when the bytes are used up, zeros.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all bytes were used.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// A number below `count`.
    pub fn pick(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number that is small, close to the end of the range, or anything between.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=199 => u64::from(small),
            200..=219 => u64::from(self.byte()) << 8 | u64::from(self.byte()),
            220..=239 => u64::MAX - u64::from(self.byte()),
            _ => (0..8).fold(0, |n, _| n << 8 | u64::from(self.byte())),
        }
    }

    /// A number below 16, mostly.
    pub fn small(&mut self) -> u64 {
        match self.byte() {
            rare @ 250.. => u64::MAX - u64::from(255 - rare),
            byte => u64::from(byte % 16),
        }
    }

    /// Up to `max` bytes.
    pub fn bytes(&mut self, max: usize) -> &'a [u8] {
        let len = self.pick(max + 1).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Up to about a minute.
    pub fn duration(&mut self) -> Duration {
        let byte = u64::from(self.byte());
        Duration::from_millis(match byte {
            0..=99 => byte,
            100..=199 => (byte - 100) * 50,
            _ => (byte - 200) * 1000,
        })
    }
}
