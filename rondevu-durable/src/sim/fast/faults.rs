//! What goes wrong with links in memory: cuts, holes, streams that close under their channel.

use std::vec::Vec;

use core::time::Duration;
use rondevu_core::{Instant, LinkClosed, StreamId};

use super::flight::{Doom, What};
use super::{End, FastFabric};
use crate::sim::fabric::{Direction, EndId, Fabric, Node, Told};

/// The network between one dialer and the service.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Path {
    pub(super) to_service: bool,
    pub(super) to_dialer: bool,
    /// How many holes there have been.
    pub(super) holes: u32,
    pub(super) loss: u8,
}

impl FastFabric {
    /// The ends of the links of `dialer` that are not over.
    pub(super) fn links_of(&self, dialer: u8) -> Vec<EndId> {
        let mine = |end: &End| end.dialer == dialer && end.peer.is_some() && !end.over;
        let ends = self.ends.iter().enumerate();
        ends.filter(|(_, end)| mine(end))
            .map(|(id, _)| EndId(id as u32))
            .collect()
    }

    pub(super) fn cut(&mut self, dialer: u8, told: Told, now: Instant) {
        for id in self.links_of(dialer) {
            let end = self.end(id);
            end.dead = true;
            let knows = match (told, end.node) {
                (Told::Both, _)
                | (Told::Dialer, Node::Dialer(_))
                | (Told::Service, Node::Service) => true,
                (Told::Nobody, _)
                | (Told::Dialer, Node::Service)
                | (Told::Service, Node::Dialer(_)) => false,
            };
            for flight in core::mem::take(&mut self.end(id).held) {
                self.lose(flight);
            }
            if knows {
                self.finish(id, LinkClosed::NoPath);
            } else {
                let patience = Duration::from_millis(self.rng.u64(8000..30_000));
                self.push(now + patience, id, What::Death(Doom::Certain));
            }
        }
    }

    pub(super) fn hole(&mut self, dialer: u8, direction: Direction, now: Instant) {
        let path = &mut self.paths[dialer as usize];
        path.holes += 1;
        path.to_service |= direction != Direction::ToDialer;
        path.to_dialer |= direction != Direction::ToService;
        let holes = path.holes;
        for id in self.links_of(dialer) {
            let patience = Duration::from_millis(self.rng.u64(6000..30_000));
            self.push(now + patience, id, What::Death(Doom::Hole(holes)));
        }
    }

    pub(super) fn close_random_stream(&mut self, dialer: u8, now: Instant) {
        let links = self.links_of(dialer);
        let Some(id) = links.last().copied() else {
            return;
        };
        let streams: Vec<StreamId> = self.end(id).open.keys().copied().collect();
        if let Some(stream) = streams.get(self.rng.usize(..streams.len().max(1))) {
            for id in [Some(id), self.mate(id)].into_iter().flatten() {
                self.end(id).wounded = true;
            }
            self.close_stream(id, *stream, now);
        }
    }
}
