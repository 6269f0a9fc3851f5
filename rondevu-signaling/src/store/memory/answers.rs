//! Answers and candidates in the memory store: what the two peers of an offer say to each other.

use rondevu_core::{OfferId, PeerId};

use super::offers::{Offer, within};
use super::state::State;
use crate::UnixMillis;
use crate::registry::Refusal;
use crate::store::cost::CANDIDATE_COST;
use crate::store::{AnswerRecord, CandidateRecord, Digest};

impl State {
    pub(super) fn answer(
        &mut self,
        peer: &PeerId,
        id: &OfferId,
        sdp: &str,
        secret: Option<Digest>,
        now: UnixMillis,
    ) -> Result<PeerId, Refusal> {
        self.check_room(sdp.len(), now)?;
        let offer = self.offers.get_mut(id);
        let offer = offer.filter(|offer| offer.record.expires_at > now);
        let offer = offer.ok_or(Refusal::OfferToAnswerGone)?;
        if let Some(wanted) = &offer.record.secret
            && !secret.is_some_and(|given| wanted.matches(&given))
        {
            return Err(Refusal::Secret);
        }
        if offer.answer.is_some() {
            return Err(Refusal::AlreadyAnswered);
        }
        let (owner, number) = (offer.record.peer.clone(), offer.number);
        let shelf = self.shelves.entry(owner.clone()).or_default();
        let at = now.max(UnixMillis(shelf.last_answered.0.saturating_add(1)));
        shelf.last_answered = at;
        shelf.answered.insert(at, id.clone());
        shelf.open.remove(&number);
        offer.answer = Some((at, sdp.into()));
        offer.record.answerer = Some(peer.clone());
        let freed = offer.trickle.keep_only(&owner, peer);
        offer.cost = offer.cost + sdp.len() - freed;
        self.bytes = self.bytes + sdp.len() - freed;
        self.withdraw(&owner, number);
        Ok(owner)
    }

    pub(super) fn answers(
        &self,
        peer: &PeerId,
        since: Option<UnixMillis>,
        bytes_max: usize,
        now: UnixMillis,
    ) -> Vec<AnswerRecord> {
        let Some(shelf) = self.shelves.get(peer) else {
            return Vec::new();
        };
        let first = since.map_or(0, |since| since.0.saturating_add(1));
        let ids = shelf.answered.range(UnixMillis(first)..).map(|(_, id)| id);
        let oldest_first = ids.filter_map(|id| answer_record(self.live_offer(id, now)?));
        let size = |answer: &AnswerRecord| answer.sdp.len();
        match since {
            None => within(bytes_max, oldest_first.rev(), size).collect(),
            Some(_) => {
                let mut answers: Vec<_> = within(bytes_max, oldest_first, size).collect();
                answers.reverse();
                answers
            }
        }
    }

    pub(super) fn add_candidates(
        &mut self,
        peer: &PeerId,
        id: &OfferId,
        candidates: Vec<String>,
        now: UnixMillis,
    ) -> Result<Option<PeerId>, Refusal> {
        let bytes = candidates.iter().map(|c| CANDIDATE_COST + c.len()).sum();
        self.check_room(bytes, now)?;
        let offer = self.offers.get_mut(id);
        let offer = offer.filter(|offer| offer.record.expires_at > now);
        let offer = offer.ok_or(Refusal::OfferNotFound)?;
        let reader = match &offer.record.answerer {
            // An early dialer's candidates are readable once it has answered.
            None => None,
            Some(answerer) if offer.record.peer == *peer => Some(answerer.clone()),
            Some(answerer) if answerer == peer => Some(offer.record.peer.clone()),
            Some(_) => return Err(Refusal::OfferNotFound),
        };
        offer.trickle.add(peer, candidates, now)?;
        offer.cost += bytes;
        self.bytes += bytes;
        Ok(reader)
    }

    pub(super) fn candidates(
        &self,
        peer: &PeerId,
        id: &OfferId,
        since: UnixMillis,
        now: UnixMillis,
    ) -> Result<Vec<CandidateRecord>, Refusal> {
        let offer = self.live_offer(id, now).ok_or(Refusal::OfferNotFound)?;
        match &offer.record.answerer {
            None => Ok(Vec::new()),
            Some(answerer) if offer.record.peer == *peer && answerer == peer => Ok(Vec::new()),
            Some(answerer) if offer.record.peer == *peer => {
                Ok(offer.trickle.posted_by(answerer, since))
            }
            Some(answerer) if answerer == peer => {
                Ok(offer.trickle.posted_by(&offer.record.peer, since))
            }
            Some(_) => Err(Refusal::OfferNotFound),
        }
    }
}

fn answer_record(offer: &Offer) -> Option<AnswerRecord> {
    let (answered_at, sdp) = offer.answer.as_ref()?;
    Some(AnswerRecord {
        offer: offer.record.id.clone(),
        answerer: offer.record.answerer.clone()?,
        sdp: sdp.clone(),
        answered_at: *answered_at,
    })
}
