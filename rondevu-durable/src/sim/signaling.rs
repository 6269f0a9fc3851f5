//! The signaling server of a simulated world, with its moods.

use std::vec::Vec;

use core::time::Duration;

use rondevu_core::{Instant, LinkId};

use super::fabric::{Description, EndId};
use super::op::Server;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// The service in its present life.
    Service { life: u32 },
    /// An attempt of a dialer's connection.
    Attempt { conn: u32, link: LinkId },
    /// A stranger, by the number of its path.
    Stranger { number: u8 },
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Publish { offer: EndId },
    CreateOffers { offers: Vec<EndId> },
    DeleteOffers { offers: Vec<EndId> },
    Poll { since: usize },
    Check,
    Take,
    Answer { offer: usize, answer: EndId },
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Response {
    Published {
        offer: EndId,
        granted: Duration,
    },
    OffersCreated {
        offers: Vec<EndId>,
        granted: Duration,
    },
    OffersDeleted,
    Checked {
        found: bool,
    },
    Answers {
        answers: Vec<(EndId, Description)>,
        seen: usize,
    },
    Taken {
        offer: usize,
        description: Description,
    },
    Answered,
    Failed {
        request: Request,
        why: Refusal,
    },
}

/// Why a request came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Down,
    NotFound,
    NoOffers,
    NextOffer,
}

#[derive(Debug)]
struct Offer {
    end: EndId,
    life: u32,
    ends_at: Instant,
    held_until: Instant,
    answered: bool,
}

#[derive(Debug)]
struct Errand {
    due: Instant,
    asker: Asker,
    what: Errands,
}

#[derive(Debug)]
enum Errands {
    Arrive(Request),
    Return(Response),
    /// A request for answers that waits for one.
    Wait {
        since: usize,
    },
}

/// The emulated server: it knows one service.
#[derive(Debug)]
pub(super) struct Signaling {
    pub(super) mood: Server,
    rng: fastrand::Rng,
    latency: Duration,
    ttl: Duration,
    published: Option<(u32, Instant)>,
    offers: Vec<Offer>,
    answers: Vec<(EndId, u32, Description)>,
    errands: Vec<Errand>,
}

impl Signaling {
    pub(super) fn new(seed: u64, latency: Duration, ttl: Duration) -> Self {
        Self {
            mood: Server::Up,
            rng: fastrand::Rng::with_seed(seed ^ 0x51_6a1),
            latency,
            ttl,
            published: None,
            offers: Vec::new(),
            answers: Vec::new(),
            errands: Vec::new(),
        }
    }

    pub(super) fn ask(&mut self, asker: Asker, request: Request, now: Instant) {
        let due = now + self.travel_time();
        self.errands.push(Errand {
            due,
            asker,
            what: Errands::Arrive(request),
        });
    }

    /// Tells it again later: whoever asked sleeps.
    pub(super) fn put_back(&mut self, asker: Asker, response: Response, due: Instant) {
        let what = Errands::Return(response);
        self.errands.push(Errand { due, asker, what });
    }

    /// The attempt is over: whatever it asked for interests nobody.
    pub(super) fn withdraw(&mut self, asker: Asker) {
        // What is on its way to the server still happens there.
        self.errands
            .retain(|errand| errand.asker != asker || matches!(errand.what, Errands::Arrive(_)));
    }

    pub(super) fn set_mood(&mut self, mood: Server, now: Instant) {
        match mood {
            Server::Forgetful => {
                self.published = None;
                self.offers.iter_mut().for_each(|offer| offer.ends_at = now);
                self.mood = Server::Up;
                // Its connections break; who asks again learns that nobody knows it.
                for errand in &mut self.errands {
                    if let Errands::Wait { since } = errand.what {
                        errand.what = Errands::Arrive(Request::Poll { since });
                        errand.due = now + self.latency;
                    }
                }
            }
            Server::Up | Server::Down | Server::Slow | Server::Lying | Server::Replaying => {
                self.mood = mood
            }
        }
    }

    /// The server works, everything that is slow is quick again, and offers of the dead are gone.
    pub(super) fn heal(&mut self, life: u32, now: Instant) {
        self.mood = Server::Up;
        let soon = now + self.latency;
        for errand in &mut self.errands {
            if !matches!(errand.what, Errands::Wait { .. }) {
                errand.due = errand.due.min(soon);
            }
        }
        for offer in self.offers.iter_mut().filter(|offer| offer.life != life) {
            offer.ends_at = now;
        }
    }

    fn travel_time(&mut self) -> Duration {
        match self.mood {
            Server::Slow => Duration::from_millis(self.rng.u64(1000..8000)),
            Server::Up | Server::Down | Server::Lying | Server::Replaying | Server::Forgetful => {
                self.latency
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.errands.iter().map(|errand| errand.due).min()
    }

    /// The next answer that has arrived by `now`.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(Asker, Response)> {
        loop {
            let errands = self.errands.iter().enumerate();
            let due = errands.filter(|(_, errand)| errand.due <= now);
            let (index, _) = due.min_by_key(|(index, errand)| (errand.due, *index))?;
            let Errand { asker, what, .. } = self.errands.remove(index);
            let response = match what {
                Errands::Return(response) => return Some((asker, self.or_lost(response))),
                Errands::Wait { since } => self.answers_since(since, asker),
                Errands::Arrive(Request::Poll { since }) => {
                    match self.serve(asker, &Request::Poll { since }, now) {
                        Response::Answers { answers, .. } if answers.is_empty() => {
                            self.errands.push(Errand {
                                due: now + WAIT,
                                asker,
                                what: Errands::Wait { since },
                            });
                            continue;
                        }
                        response => response,
                    }
                }
                Errands::Arrive(request) => self.serve(asker, &request, now),
            };
            let due = now + self.travel_time();
            let what = Errands::Return(response);
            self.errands.push(Errand { due, asker, what });
        }
    }

    /// What the server did may be done, and its answer lost.
    fn or_lost(&self, response: Response) -> Response {
        let request = match &response {
            Response::Failed { .. } => return response,
            _ if self.mood != Server::Down => return response,
            Response::Published { offer, .. } => Request::Publish { offer: *offer },
            Response::OffersCreated { offers, .. } => Request::CreateOffers {
                offers: offers.clone(),
            },
            Response::OffersDeleted => Request::DeleteOffers { offers: Vec::new() },
            Response::Checked { .. } => Request::Check,
            Response::Answers { .. } => Request::Poll { since: 0 },
            Response::Taken { .. } => Request::Take,
            Response::Answered => Request::Answer {
                offer: 0,
                answer: EndId(0),
            },
        };
        let why = Refusal::Down;
        Response::Failed { request, why }
    }

    fn serve(&mut self, asker: Asker, request: &Request, now: Instant) -> Response {
        let failed = |why| Response::Failed {
            request: request.clone(),
            why,
        };
        if self.mood == Server::Down {
            return failed(Refusal::Down);
        }
        let life = match asker {
            Asker::Service { life } => life,
            Asker::Attempt { .. } | Asker::Stranger { .. } => 0,
        };
        let is_published = self.published.is_some_and(|(_, until)| until > now);
        match request.clone() {
            Request::Publish { offer } => {
                self.published = Some((life, now + self.ttl));
                self.add_offer(offer, life, now);
                let granted = self.ttl;
                Response::Published { offer, granted }
            }
            Request::CreateOffers { .. } if !is_published => failed(Refusal::NotFound),
            Request::CreateOffers { offers } => {
                for offer in &offers {
                    self.add_offer(*offer, life, now);
                }
                let granted = self.ttl;
                Response::OffersCreated { offers, granted }
            }
            Request::DeleteOffers { offers } => {
                let deleted = |offer: &&mut Offer| offers.contains(&offer.end);
                for offer in self.offers.iter_mut().filter(deleted) {
                    offer.ends_at = now;
                }
                Response::OffersDeleted
            }
            Request::Check => Response::Checked {
                found: is_published,
            },
            Request::Poll { .. } if self.published.is_none() => failed(Refusal::NotFound),
            Request::Poll { since } => self.answers_since(since, asker),
            Request::Take if !is_published => failed(Refusal::NotFound),
            Request::Take => match self.take(now) {
                Some(offer) => Response::Taken {
                    offer,
                    description: self.describe(offer),
                },
                None => failed(Refusal::NoOffers),
            },
            Request::Answer { offer, answer } => match self.answer(offer, answer, now) {
                Ok(()) => Response::Answered,
                Err(why) => failed(why),
            },
        }
    }

    fn add_offer(&mut self, end: EndId, life: u32, now: Instant) {
        self.offers.push(Offer {
            end,
            life,
            ends_at: now + self.ttl,
            held_until: Instant::ORIGIN,
            answered: false,
        });
    }

    fn take(&mut self, now: Instant) -> Option<usize> {
        if self.mood == Server::Lying && self.rng.bool() {
            return (!self.offers.is_empty()).then(|| self.rng.usize(..self.offers.len()));
        }
        let open = |offer: &Offer| !offer.answered && offer.ends_at > now;
        let offers = self.offers.iter().enumerate();
        let open = offers.filter(|(_, offer)| open(offer));
        // The newest that nobody holds, else the one that was handed out first.
        let (index, _) = open.max_by_key(|(index, offer)| {
            let free = offer.held_until <= now;
            (
                free,
                if free { *index } else { 0 },
                core::cmp::Reverse(offer.held_until),
            )
        })?;
        self.offers[index].held_until = now + HOLD;
        Some(index)
    }

    fn describe(&mut self, offer: usize) -> Description {
        let honest = Description(self.offers[offer].end);
        if self.mood == Server::Lying && self.rng.u8(..4) == 0 && !self.answers.is_empty() {
            return self.answers[self.rng.usize(..self.answers.len())].2;
        }
        honest
    }

    fn answer(&mut self, offer: usize, answer: EndId, now: Instant) -> Result<(), Refusal> {
        let mut target = offer;
        if self.mood == Server::Lying {
            match self.rng.u8(..4) {
                0 => return Ok(()),
                1 => target = self.rng.usize(..self.offers.len()),
                _ => {}
            }
        }
        let record = self.offers.get_mut(target).ok_or(Refusal::NextOffer)?;
        if record.answered || record.ends_at <= now {
            return Err(Refusal::NextOffer);
        }
        record.answered = true;
        self.answers
            .push((record.end, record.life, Description(answer)));
        for errand in &mut self.errands {
            if matches!(errand.what, Errands::Wait { .. }) {
                errand.due = now;
            }
        }
        Ok(())
    }

    fn answers_since(&mut self, since: usize, asker: Asker) -> Response {
        let Asker::Service { life } = asker else {
            return Response::Answered;
        };
        let seen = self.answers.len();
        let fresh = self.answers.iter().skip(since);
        // A process that was started again is another peer, unless the server mixes them up.
        let mine = |one: &&(EndId, u32, Description)| one.1 == life || self.mood != Server::Up;
        let mut answers: Vec<_> = fresh.filter(mine).map(|a| (a.0, a.2)).collect();
        if self.mood == Server::Replaying && seen > 0 {
            for _ in 0..self.rng.usize(..3) {
                let (end, _, answer) = self.answers[self.rng.usize(..seen)];
                answers.push((end, answer));
            }
        }
        Response::Answers { answers, seen }
    }
}

/// How long a request for answers waits for one.
const WAIT: Duration = Duration::from_secs(25);
/// How long an offer that was handed out is kept from others.
const HOLD: Duration = Duration::from_secs(5);
