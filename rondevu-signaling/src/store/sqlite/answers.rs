//! Answers and candidates in a file: what the two peers of an offer say to each other.

use rondevu_core::{OfferId, PeerId};
use rusqlite::{OptionalExtension, Row};

use super::columns::{Column, get, get_some};
use super::database::Database;
use super::offers::within;
use crate::UnixMillis;
use crate::protocol_limits::{BrokenLimit, CANDIDATES_MAX};
use crate::registry::{Capacity, Refusal};
use crate::store::cost::CANDIDATE_COST;
use crate::store::{AnswerRecord, CandidateRecord, Digest, POSTERS_MAX};

/// The two peers of a living offer, as far as they are known.
struct Pair {
    number: i64,
    owner: PeerId,
    answerer: Option<PeerId>,
    secret: Option<Digest>,
}

impl Database {
    pub(super) fn answer(
        &self,
        peer: &PeerId,
        id: &OfferId,
        sdp: &str,
        secret: Option<&Digest>,
        now: UnixMillis,
    ) -> Result<PeerId, Refusal> {
        self.check_room(sdp.len(), now)?;
        let pair = self.pair(id, now)?.ok_or(Refusal::OfferToAnswerGone)?;
        if let Some(wanted) = &pair.secret
            && !secret.is_some_and(|given| wanted.matches(given))
        {
            return Err(Refusal::Secret);
        }
        if pair.answerer.is_some() {
            return Err(Refusal::AlreadyAnswered);
        }
        let at = self.next_cursor(&pair.owner, now)?;
        let mut update = self.connection.prepare_cached(
            "UPDATE offers SET answerer = ?2, answered_at = ?3, answer = ?4, cost = cost + ?5
            WHERE number = ?1",
        )?;
        update.execute((pair.number, Column(peer), Column(at), sdp, sdp.len()))?;
        let mut delete = self.connection.prepare_cached(
            "DELETE FROM candidates WHERE offer = ?1 AND poster <> ?2 AND poster <> ?3",
        )?;
        delete.execute((pair.number, Column(&pair.owner), Column(peer)))?;
        let mut delete = self
            .connection
            .prepare_cached("DELETE FROM holds WHERE offer = ?1")?;
        delete.execute([pair.number])?;
        Ok(pair.owner)
    }

    /// A time for the next answer to `peer`, which no earlier one has.
    fn next_cursor(&self, peer: &PeerId, now: UnixMillis) -> Result<UnixMillis, Refusal> {
        let mut upsert = self.connection.prepare_cached(
            "INSERT INTO cursors VALUES (?1, ?2) ON CONFLICT (peer) DO UPDATE
            SET last_answered = max(last_answered + 1, ?2) RETURNING last_answered",
        )?;
        let key = (Column(peer), Column(now));
        Ok(upsert.query_row(key, |row| get(row, "last_answered"))?)
    }

    fn pair(&self, id: &OfferId, now: UnixMillis) -> Result<Option<Pair>, Refusal> {
        let mut select = self.connection.prepare_cached(
            "SELECT number, peer, answerer, secret FROM offers WHERE id = ?1 AND expires_at > ?2",
        )?;
        let found = select.query_row((Column(id), Column(now)), |row| {
            Ok(Pair {
                number: row.get("number")?,
                owner: get(row, "peer")?,
                answerer: get_some(row, "answerer")?,
                secret: get_some(row, "secret")?,
            })
        });
        Ok(found.optional()?)
    }

    pub(super) fn answers(
        &self,
        peer: &PeerId,
        since: Option<UnixMillis>,
        bytes_max: usize,
        now: UnixMillis,
    ) -> Result<Vec<AnswerRecord>, Refusal> {
        let (sql, since_or_0) = match since {
            None => (ANSWERS_NEWEST_FIRST, UnixMillis(0)),
            Some(since) => (ANSWERS_OLDEST_FIRST, since),
        };
        let mut select = self.connection.prepare_cached(sql)?;
        let key = (Column(peer), Column(since_or_0), Column(now));
        let found = select.query_map(key, answer_record)?;
        let mut answers = within(bytes_max, found, |answer| answer.sdp.len())?;
        if since.is_some() {
            answers.reverse();
        }
        Ok(answers)
    }

    pub(super) fn add_candidates(
        &self,
        peer: &PeerId,
        id: &OfferId,
        candidates: &[String],
        now: UnixMillis,
    ) -> Result<Option<PeerId>, Refusal> {
        let bytes = candidates.iter().map(|c| CANDIDATE_COST + c.len()).sum();
        self.check_room(bytes, now)?;
        let pair = self.pair(id, now)?.ok_or(Refusal::OfferNotFound)?;
        let reader = match &pair.answerer {
            // An early dialer's candidates are readable once it has answered.
            None => None,
            Some(answerer) if pair.owner == *peer => Some(answerer.clone()),
            Some(answerer) if answerer == peer => Some(pair.owner.clone()),
            Some(_) => return Err(Refusal::OfferNotFound),
        };
        self.check_candidate_count(&pair, peer, candidates.len())?;
        let mut stamp = self.last_stamp(&pair)?;
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO candidates VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for candidate in candidates {
            stamp = now.max(UnixMillis(stamp.0.saturating_add(1)));
            let cost = CANDIDATE_COST + candidate.len();
            insert.execute((pair.number, Column(peer), Column(stamp), candidate, cost))?;
        }
        Ok(reader)
    }

    fn check_candidate_count(
        &self,
        pair: &Pair,
        poster: &PeerId,
        new: usize,
    ) -> Result<(), Refusal> {
        let mut select = self
            .connection
            .prepare_cached("SELECT count(*) FROM candidates WHERE offer = ?1 AND poster = ?2")?;
        let before: usize = select.query_row((pair.number, Column(poster)), |row| row.get(0))?;
        if before == 0 && self.poster_count(pair)? >= POSTERS_MAX {
            return Err(Capacity::PostersPerOffer.into());
        }
        match before + new > CANDIDATES_MAX {
            true => Err(BrokenLimit::TooManyCandidates.into()),
            false => Ok(()),
        }
    }

    fn poster_count(&self, pair: &Pair) -> Result<usize, Refusal> {
        let mut select = self
            .connection
            .prepare_cached("SELECT count(DISTINCT poster) FROM candidates WHERE offer = ?1")?;
        Ok(select.query_row([pair.number], |row| row.get(0))?)
    }

    /// The latest stamp of the offer's candidates: the next one is later, so that a cursor loses
    /// nothing.
    fn last_stamp(&self, pair: &Pair) -> Result<UnixMillis, Refusal> {
        let mut select = self.connection.prepare_cached(
            "SELECT coalesce(max(stamp), 0) AS last FROM candidates WHERE offer = ?1",
        )?;
        Ok(select.query_row([pair.number], |row| get(row, "last"))?)
    }

    pub(super) fn candidates(
        &self,
        peer: &PeerId,
        id: &OfferId,
        since: UnixMillis,
        now: UnixMillis,
    ) -> Result<Vec<CandidateRecord>, Refusal> {
        let pair = self.pair(id, now)?.ok_or(Refusal::OfferNotFound)?;
        let poster = match &pair.answerer {
            None => return Ok(Vec::new()),
            Some(answerer) if pair.owner == *peer && answerer == peer => return Ok(Vec::new()),
            Some(answerer) if pair.owner == *peer => answerer,
            Some(answerer) if answerer == peer => &pair.owner,
            Some(_) => return Err(Refusal::OfferNotFound),
        };
        let mut select = self.connection.prepare_cached(
            "SELECT candidate, stamp FROM candidates
            WHERE offer = ?1 AND poster = ?2 AND stamp > ?3 ORDER BY stamp",
        )?;
        let key = (pair.number, Column(poster), Column(since));
        let found = select.query_map(key, |row| {
            Ok(CandidateRecord {
                candidate: row.get("candidate")?,
                created_at: get(row, "stamp")?,
            })
        })?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }
}

fn answer_record(row: &Row<'_>) -> rusqlite::Result<AnswerRecord> {
    Ok(AnswerRecord {
        offer: get(row, "id")?,
        answerer: get(row, "answerer")?,
        sdp: row.get("answer")?,
        answered_at: get(row, "answered_at")?,
    })
}

const ANSWERS_NEWEST_FIRST: &str = "SELECT id, answerer, answer, answered_at FROM offers
    WHERE peer = ?1 AND answered_at > ?2 AND expires_at > ?3 ORDER BY answered_at DESC";

const ANSWERS_OLDEST_FIRST: &str = "SELECT id, answerer, answer, answered_at FROM offers
    WHERE peer = ?1 AND answered_at > ?2 AND expires_at > ?3 ORDER BY answered_at";
