//! A folder as a signaling server: an offer is a file, and so is its answer.
//!
//! ```text
//! alice~com.example.echo@1.0.0~7.offer     an offer that nobody has taken
//! alice~com.example.echo@1.0.0~7.taken     somebody is about to answer it (renamed: only one can)
//! alice~com.example.echo@1.0.0~7.answer    the answer; the service deletes both
//! ```
//!
//! Whoever can write into the folder can be anybody: names are not owned here. The peers find out by
//! their keys.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rondevu::core::{IceCandidate, OfferId, PeerId, ServiceId, SessionDescription};
use rondevu::signaling::{
    ClaimedUsername, CreatedOffer, ListedService, NewOffer, OfferAnswer, OwnOffer, Publication,
    PublishedService, RemoteCandidate, ServiceOffer, Signaling, SignalingError, SignedClaim,
    UnixMillis, UsernameStatus,
};
use rondevu::{ServiceName, ServiceUuid, Username, Visibility};

type Result<T> = std::result::Result<T, SignalingError>;

/// One peer's view of the folder.
pub(crate) struct Folder {
    path: PathBuf,
    /// The offers of this peer.
    own: Mutex<HashSet<String>>,
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            own: Mutex::default(),
        }
    }

    /// The files with this extension that begin with `start`, by what is between the two.
    fn files(&self, start: &str, extension: &str) -> Result<Vec<(String, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(unreachable)? {
            let path = entry.map_err(unreachable)?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let is_one = path.extension().is_some_and(|found| found == extension);
            if let Some(stem) = stem.filter(|stem| is_one && stem.starts_with(start)) {
                found.push((stem.to_owned(), path));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Writes a file that appears at once and whole.
    fn put(&self, name: &str, text: &str) -> Result<()> {
        let part = self.path.join(format!("{name}.part"));
        fs::write(&part, text).map_err(unreachable)?;
        fs::rename(part, self.path.join(name)).map_err(unreachable)
    }

    fn new_offer(&self, service: &str, sdp: &SessionDescription) -> Result<CreatedOffer> {
        let id = {
            let mut own = self.own.lock().expect("no holder panics");
            // An earlier life of this service may have left offers behind.
            let id = format!("{service}~{}-{}", UnixMillis::now().0, own.len());
            own.insert(id.clone());
            id
        };
        self.put(&format!("{id}.offer"), &sdp.sdp)?;
        Ok(CreatedOffer {
            id: OfferId::new(id).map_err(invalid)?,
            peer: PeerId::new("folder").map_err(invalid)?,
            created_at: UnixMillis::now(),
            expires_at: expiry(),
        })
    }
}

/// Nothing expires in a folder; the service renews what it has all the same.
fn expiry() -> UnixMillis {
    UnixMillis::now().saturating_add(Duration::from_secs(3600))
}

fn unreachable(error: io::Error) -> SignalingError {
    let source = Arc::new(error);
    SignalingError::Unreachable { source }
}

fn invalid(error: impl ToString) -> SignalingError {
    let reason = error.to_string();
    SignalingError::Invalid { reason }
}

#[async_trait]
impl Signaling for Folder {
    async fn publish_service(&self, publication: &Publication) -> Result<PublishedService> {
        let id = format!("{}~{}", publication.username, publication.service);
        let offer = self.new_offer(&id, &publication.sdp)?;
        Ok(PublishedService {
            service_id: ServiceId::new(id.as_str()).map_err(invalid)?,
            uuid: ServiceUuid::new(id).map_err(invalid)?,
            offer_id: offer.id,
            expires_at: expiry(),
        })
    }

    async fn create_offers(&self, offers: &[NewOffer]) -> Result<Vec<CreatedOffer>> {
        let create = |offer: &NewOffer| {
            let service = offer.service.as_ref().map_or("", ServiceId::as_str);
            self.new_offer(service, &offer.sdp)
        };
        offers.iter().map(create).collect()
    }

    async fn delete_offer(&self, offer: &OfferId) -> Result<()> {
        let file = self.path.join(format!("{offer}.offer"));
        fs::remove_file(file).map_err(|_| SignalingError::OfferGone)
    }

    /// The offers of a service go with it, one by one.
    async fn unpublish_service(&self, _: &ServiceId, _: &Username) -> Result<()> {
        Ok(())
    }

    async fn find_service(&self, owner: &Username, service: &ServiceName) -> Result<ServiceUuid> {
        ServiceUuid::new(format!("{owner}~{service}")).map_err(invalid)
    }

    async fn take_offer(&self, uuid: &ServiceUuid) -> Result<ServiceOffer> {
        let owned = uuid.as_str().split_once('~');
        let (owner, service) = owned.ok_or(SignalingError::ServiceMoved)?;
        for (id, path) in self.files(&format!("{uuid}~"), "offer")? {
            let taken = path.with_extension("taken");
            // Only one dialer can rename it.
            if fs::rename(path, &taken).is_err() {
                continue;
            }
            let sdp = fs::read_to_string(taken).map_err(unreachable)?;
            return Ok(ServiceOffer {
                service_id: ServiceId::new(uuid.as_str()).map_err(invalid)?,
                username: Username::parse(owner).map_err(invalid)?,
                service: ServiceName::parse(service).map_err(invalid)?,
                offer_id: OfferId::new(id).map_err(invalid)?,
                sdp: SessionDescription::offer(sdp),
                visibility: Visibility::Public,
                metadata: None,
                created_at: UnixMillis::now(),
                expires_at: expiry(),
            });
        }
        Err(SignalingError::NoOffers)
    }

    async fn answer_offer(
        &self,
        offer: &OfferId,
        answer: &SessionDescription,
        _secret: Option<&str>,
    ) -> Result<()> {
        self.put(&format!("{offer}.answer"), &answer.sdp)
    }

    /// Tells each answer once: its files are gone then.
    async fn answers(&self, _: Option<UnixMillis>, wait: Duration) -> Result<Vec<OfferAnswer>> {
        let until = tokio::time::Instant::now() + wait;
        loop {
            let mut answers = Vec::new();
            for (id, path) in self.files("", "answer")? {
                if !self.own.lock().expect("no holder panics").contains(&id) {
                    continue;
                }
                let sdp = fs::read_to_string(&path).map_err(unreachable)?;
                fs::remove_file(path.with_extension("taken")).map_err(unreachable)?;
                fs::remove_file(path).map_err(unreachable)?;
                answers.push(OfferAnswer {
                    offer_id: OfferId::new(id).map_err(invalid)?,
                    answerer: PeerId::new("folder").map_err(invalid)?,
                    answer: SessionDescription::answer(sdp),
                    answered_at: UnixMillis::now(),
                });
            }
            if !answers.is_empty() || tokio::time::Instant::now() >= until {
                return Ok(answers);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn supports_wait(&self) -> Result<bool> {
        Ok(true)
    }

    // Descriptions name all candidates, and the folder keeps no account of names and offers.

    async fn add_candidates(&self, _: &OfferId, _: &[IceCandidate]) -> Result<()> {
        Ok(())
    }

    async fn candidates(
        &self,
        _: &OfferId,
        _: Option<UnixMillis>,
        wait: Duration,
    ) -> Result<Vec<RemoteCandidate>> {
        tokio::time::sleep(wait).await;
        Ok(Vec::new())
    }

    async fn claim_username(&self, claim: &SignedClaim) -> Result<ClaimedUsername> {
        Ok(ClaimedUsername {
            username: claim.username.clone(),
            claimed_at: UnixMillis::now(),
            expires_at: expiry(),
        })
    }

    async fn look_up_username(&self, _: &Username) -> Result<UsernameStatus> {
        Ok(UsernameStatus::Available)
    }

    async fn list_services(&self, _: &Username) -> Result<Vec<ListedService>> {
        Ok(Vec::new())
    }

    async fn list_offers(&self) -> Result<Vec<OwnOffer>> {
        Ok(Vec::new())
    }
}

/// How often the folder is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
