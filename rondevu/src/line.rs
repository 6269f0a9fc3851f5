//! The order in which dialers of one client get the offers of a service that has too few.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{Mutex as FairMutex, OwnedMutexGuard};

use crate::dial::Target;
use crate::shared::lock;

/// One line for each service that dialers of this client wait for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<HashMap<Target, Line>>>);

/// Who is at the head holds the mutex, which tokio hands on in the order of asking.
#[derive(Debug, Default)]
struct Line {
    head: Arc<FairMutex<()>>,
    length: usize,
}

/// A place in a line; dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Place {
    lines: Lines,
    target: Target,
    head: Option<OwnedMutexGuard<()>>,
}

impl Lines {
    /// Whether others wait for `target` already.
    pub(crate) fn is_forming(&self, target: &Target) -> bool {
        lock(&self.0).contains_key(target)
    }

    /// How many wait for `target`.
    #[cfg(test)]
    pub(crate) fn length(&self, target: &Target) -> usize {
        lock(&self.0).get(target).map_or(0, |line| line.length)
    }

    /// Waits until this dialer is the first who waits for `target`.
    ///
    /// Cancellation: leaves the line.
    pub(crate) async fn reach_head(&self, target: &Target) -> Place {
        let (head, mut place) = self.join(target);
        place.head = Some(head.lock_owned().await);
        place
    }

    fn join(&self, target: &Target) -> (Arc<FairMutex<()>>, Place) {
        let mut lines = lock(&self.0);
        let line = lines.entry(target.clone()).or_default();
        line.length += 1;
        let place = Place {
            lines: self.clone(),
            target: target.clone(),
            head: None,
        };
        (Arc::clone(&line.head), place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = lock(&self.lines.0);
        if let Some(line) = lines.get_mut(&self.target) {
            line.length -= 1;
            if line.length == 0 {
                lines.remove(&self.target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn target(uuid: &str) -> Target {
        Target::Uuid(rondevu_core::ServiceUuid::new(uuid).unwrap())
    }

    #[test]
    fn those_who_wait_are_served_in_the_order_of_their_coming() {
        let lines = Lines::default();
        let (one, other) = (target("one"), target("other"));
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = pin!(lines.reach_head(&one));
        let Poll::Ready(first) = first.as_mut().poll(&mut cx) else {
            panic!("the first has nobody to wait for");
        };
        let mut second = pin!(lines.reach_head(&one));
        let mut third = Box::pin(lines.reach_head(&one));
        let mut fourth = pin!(lines.reach_head(&one));
        assert!(second.as_mut().poll(&mut cx).is_pending());
        assert!(third.as_mut().poll(&mut cx).is_pending());
        assert!(fourth.as_mut().poll(&mut cx).is_pending());
        assert!(lines.is_forming(&one) && !lines.is_forming(&other));
        drop((first, third));
        assert!(fourth.as_mut().poll(&mut cx).is_pending());
        let Poll::Ready(second) = second.as_mut().poll(&mut cx) else {
            panic!("the second is the first now");
        };
        drop(second);
        let Poll::Ready(fourth) = fourth.as_mut().poll(&mut cx) else {
            panic!("the third has left");
        };
        drop(fourth);
        assert!(!lines.is_forming(&one));
    }
}
