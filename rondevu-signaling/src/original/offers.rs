//! Offers on the original server: their ids, answers and candidates, faults included.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::routes::Problem;
use super::state::{Reply, State, check_sdp, text};
use crate::protocol_limits::{OFFERS_PER_REQUEST_MAX, lifetime};

#[derive(Debug)]
pub(super) struct Offer {
    pub(super) id: String,
    pub(super) peer: String,
    pub(super) sdp: String,
    pub(super) secret: Option<String>,
    pub(super) created_at: u64,
    pub(super) expires_at: u64,
    pub(super) answer: Option<Answer>,
    pub(super) candidates: Vec<Candidate>,
}

#[derive(Debug)]
pub(super) struct Answer {
    peer: String,
    sdp: String,
    at: u64,
}

#[derive(Debug)]
pub(super) struct Candidate {
    from: Role,
    json: Value,
    at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Offerer,
    Answerer,
}

impl State {
    pub(super) fn create_offers(&mut self, peer: &str, body: &Value) -> Reply {
        let offers = body["offers"].as_array();
        let offers = offers.filter(|offers| !offers.is_empty());
        let offers = offers
            .ok_or_else(|| Problem::new(400, "Missing or invalid required parameter: offers"))?;
        if offers.len() > OFFERS_PER_REQUEST_MAX {
            return Err(Problem::new(400, "Too many offers (max 100 per request)"));
        }
        for offer in offers {
            check_sdp(text(offer, "sdp", "Missing required parameter: sdp")?)?;
        }
        let created = offers.iter().map(|offer| {
            let (id, created_at, expires_at) = self.put_offer(peer, offer)?;
            Ok(json!({
                "id": id,
                "peerId": peer,
                "createdAt": created_at,
                "expiresAt": expires_at,
                "hasSecret": offer["secret"].is_string(),
            }))
        });
        let created = created.collect::<Result<Vec<_>, Problem>>()?;
        Ok(json!({ "offers": created }))
    }

    /// Inserts an offer; its id is the hash of its description, whoever made it.
    pub(super) fn put_offer(
        &mut self,
        peer: &str,
        body: &Value,
    ) -> Result<(String, u64, u64), Problem> {
        let now = self.now();
        self.offers.retain(|offer| offer.expires_at > now);
        let sdp = text(body, "sdp", "Missing required parameter: sdp")?;
        let hash = Sha256::digest(sdp.as_bytes());
        let id: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.offers.iter().any(|offer| offer.id == id) {
            // What its database says of a second row with the same key.
            return Err(Problem::new(500, "Internal server error"));
        }
        let ttl = body["ttl"].as_f64().filter(|ttl| *ttl > 0.0);
        let ttl = lifetime(ttl.map(|millis| Duration::from_millis(millis as u64)));
        let expires_at = now + ttl.as_millis() as u64;
        self.offers.push(Offer {
            id: id.clone(),
            peer: peer.into(),
            sdp: sdp.into(),
            secret: body["secret"].as_str().map(Into::into),
            created_at: now,
            expires_at,
            answer: None,
            candidates: Vec::new(),
        });
        Ok((id, now, expires_at))
    }

    pub(super) fn own_offers(&self, peer: &str) -> Reply {
        let now = self.now();
        let own = self.offers.iter().rev();
        let own = own.filter(|offer| offer.peer == peer && offer.expires_at > now);
        let offers: Vec<_> = own
            .map(|offer| {
                let mut reply = json!({
                    "id": offer.id,
                    "sdp": offer.sdp,
                    "createdAt": offer.created_at,
                    "expiresAt": offer.expires_at,
                    "lastSeen": offer.created_at,
                    "hasSecret": offer.secret.is_some(),
                    "answered": offer.answer.is_some(),
                });
                if let Some(answer) = &offer.answer {
                    reply["answererPeerId"] = answer.peer.as_str().into();
                }
                reply
            })
            .collect();
        Ok(json!({ "peerId": peer, "offers": offers }))
    }

    pub(super) fn delete_offer(&mut self, peer: &str, id: &str) -> Reply {
        let before = self.offers.len();
        self.offers
            .retain(|offer| offer.id != id || offer.peer != peer);
        match self.offers.len() < before {
            true => Ok(json!({ "success": true })),
            false => Err(Problem::new(
                404,
                "Offer not found or not owned by this peer",
            )),
        }
    }

    pub(super) fn answer(&mut self, peer: &str, id: &str, body: &Value) -> Reply {
        let sdp = text(body, "sdp", "Missing required parameter: sdp")?;
        check_sdp(sdp)?;
        let now = self.now();
        let offer = self.live_offer(id);
        let offer = offer.ok_or_else(|| Problem::new(400, "Offer not found or expired"))?;
        if offer.secret.is_some() && offer.secret.as_deref() != body["secret"].as_str() {
            return Err(Problem::new(400, "Invalid or missing secret"));
        }
        if offer.answer.is_some() {
            return Err(Problem::new(400, "Offer already answered"));
        }
        offer.answer = Some(Answer {
            peer: peer.into(),
            sdp: sdp.into(),
            at: now,
        });
        Ok(json!({ "success": true }))
    }

    pub(super) fn answers(&self, peer: &str) -> Reply {
        let now = self.now();
        let own = self.offers.iter();
        let own = own.filter(|offer| offer.peer == peer && offer.expires_at > now);
        let mut answered: Vec<_> = own.filter_map(|o| Some((o, o.answer.as_ref()?))).collect();
        answered.sort_by_key(|(_, answer)| std::cmp::Reverse(answer.at));
        let answers: Vec<_> = answered
            .into_iter()
            .map(|(offer, answer)| {
                json!({
                    "offerId": offer.id,
                    "answererId": answer.peer,
                    "sdp": answer.sdp,
                    "answeredAt": answer.at,
                    "topics": [],
                })
            })
            .collect();
        Ok(json!({ "answers": answers }))
    }

    pub(super) fn add_candidates(&mut self, peer: &str, id: &str, body: &Value) -> Reply {
        let candidates = body["candidates"].as_array();
        let candidates = candidates.filter(|candidates| !candidates.is_empty());
        let missing = || Problem::new(400, "Missing or invalid required parameter: candidates");
        let candidates = candidates.ok_or_else(missing)?;
        let now = self.now();
        let offer = self.live_offer(id).ok_or_else(offer_not_found)?;
        let from = offer.role_of(peer);
        for (json, nth) in candidates.iter().zip(0..) {
            // Ahead of the clock, so that they are in order: the next batch may begin before this
            // one's end.
            offer.candidates.push(Candidate {
                from,
                json: json.clone(),
                at: now + nth,
            });
        }
        Ok(json!({ "count": candidates.len() }))
    }

    pub(super) fn candidates(&mut self, peer: &str, id: &str, since: Option<u64>) -> Reply {
        let offer = self.live_offer(id).ok_or_else(offer_not_found)?;
        let own = offer.role_of(peer);
        let from_other = offer.candidates.iter().filter(|c| c.from != own);
        let mut new: Vec<_> = from_other
            .filter(|candidate| since.is_none_or(|since| candidate.at > since))
            .collect();
        new.sort_by_key(|candidate| candidate.at);
        let candidates: Vec<_> = new
            .into_iter()
            .map(|c| json!({ "candidate": c.json, "createdAt": c.at }))
            .collect();
        Ok(json!({ "candidates": candidates }))
    }

    fn live_offer(&mut self, id: &str) -> Option<&mut Offer> {
        let now = self.now();
        let mut offers = self.offers.iter_mut();
        offers.find(|offer| offer.id == id && offer.expires_at > now)
    }
}

impl Offer {
    /// Whoever is not the owner counts as the answerer.
    fn role_of(&self, peer: &str) -> Role {
        match self.peer == peer {
            true => Role::Offerer,
            false => Role::Answerer,
        }
    }
}

fn offer_not_found() -> Problem {
    Problem::new(404, "Offer not found")
}
