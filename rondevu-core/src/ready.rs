//! What waits for the application, and what nobody will take.

use alloc::collections::VecDeque;

use crate::frame::fragment_cost;
use crate::{Delivery, Message};

/// Deliveries in the order in which the application gets them, each with its cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ready {
    deliveries: VecDeque<(Delivery, u64)>,
    cost: u64,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Keep,
    Discard {
        messages: u64,
    },
}

impl Ready {
    pub(crate) fn push(&mut self, delivery: Delivery, cost: u64) {
        match (&mut self.mode, &delivery) {
            (Mode::Keep, _) => {
                self.cost += cost;
                self.deliveries.push_back((delivery, cost));
            }
            (Mode::Discard { messages }, Delivery::Message(_)) => *messages += 1,
            (Mode::Discard { .. }, Delivery::Lost { .. }) => {}
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Delivery> {
        let (delivery, cost) = self.deliveries.pop_front()?;
        self.cost -= cost;
        Some(delivery)
    }

    /// Makes room by dropping the oldest messages until at most `cost_max` is left, gaps apart; how
    /// many messages that were. Gaps among them become one, which stays.
    pub(crate) fn drop_oldest(&mut self, cost_max: u64) -> u64 {
        let (mut dropped, mut missing) = (0, 0u64);
        while self.cost > cost_max
            && let Some(delivery) = self.pop()
        {
            match delivery {
                Delivery::Message(_) => dropped += 1,
                Delivery::Lost { messages } => missing = missing.saturating_add(messages),
            }
        }
        if missing > 0 {
            let (gap, cost) = (Delivery::Lost { messages: missing }, fragment_cost(0));
            self.cost += cost;
            self.deliveries.push_front((gap, cost));
        }
        dropped
    }

    /// From now on nothing is kept, because nobody will take it. Says whether that is new.
    pub(crate) fn discard(&mut self) -> bool {
        if self.mode != Mode::Keep {
            return false;
        }
        let is_message =
            |(delivery, _): &&(Delivery, u64)| matches!(delivery, Delivery::Message(_));
        let messages = self.deliveries.iter().filter(is_message).count() as u64;
        self.mode = Mode::Discard { messages };
        self.deliveries.clear();
        self.cost = 0;
        true
    }

    /// How many messages were thrown away because nobody took them.
    pub(crate) fn discarded(&self) -> u64 {
        match self.mode {
            Mode::Keep => 0,
            Mode::Discard { messages } => messages,
        }
    }

    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    pub(crate) fn len(&self) -> usize {
        self.deliveries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }
}

impl Delivery {
    /// The message, unless this is a gap.
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::Message(message) => Some(message),
            Self::Lost { .. } => None,
        }
    }
}
