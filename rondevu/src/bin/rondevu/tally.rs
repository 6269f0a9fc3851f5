//! Counts what arrived of a numbered sequence.

/// What became of messages `0..total`.
#[derive(Debug)]
pub(crate) struct Tally {
    seen: Vec<bool>,
    highest: Option<usize>,
    pub(crate) received: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) foreign: u64,
}

impl Tally {
    pub(crate) fn new(total: usize) -> Self {
        let seen = vec![false; total];
        Self {
            seen,
            highest: None,
            received: 0,
            duplicated: 0,
            reordered: 0,
            foreign: 0,
        }
    }

    /// Counts a message; its first eight bytes are its number.
    pub(crate) fn count(&mut self, payload: &[u8]) {
        let number = payload
            .first_chunk()
            .map(|bytes| u64::from_be_bytes(*bytes));
        let number = number.and_then(|number| usize::try_from(number).ok());
        let Some((number, seen)) =
            number.and_then(|number| self.seen.get_mut(number).map(|seen| (number, seen)))
        else {
            self.foreign += 1;
            return;
        };
        if std::mem::replace(seen, true) {
            self.duplicated += 1;
            return;
        }
        self.received += 1;
        if self.highest.is_some_and(|highest| number < highest) {
            self.reordered += 1;
        }
        self.highest = self.highest.max(Some(number));
    }

    pub(crate) fn lost(&self) -> u64 {
        self.seen.len() as u64 - self.received
    }

    pub(crate) fn is_perfect(&self) -> bool {
        self.lost() + self.duplicated + self.reordered + self.foreign == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_damage_is_counted() {
        let mut tally = Tally::new(5);
        for number in [0u64, 2, 1, 2, 9] {
            tally.count(&number.to_be_bytes());
        }
        tally.count(b"x");
        assert_eq!((tally.received, tally.lost()), (3, 2));
        assert_eq!(
            (tally.duplicated, tally.reordered, tally.foreign),
            (1, 1, 2)
        );
        assert!(!tally.is_perfect());
    }
}
