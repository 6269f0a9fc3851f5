//! What the original server knows, and its rules, faults included.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rondevu_core::{SDP_LEN_MAX, ServiceName, Username};
use serde_json::{Value, json};

use super::offers::Offer;
use super::routes::Problem;
use crate::protocol_limits::USERNAME_LIFETIME;
use crate::registry::Entropy;
use crate::{PublicKey, Signature, SignedClaim, SignedPublish, UnixMillis};

/// Everything; gone with a restart that forgets everything.
#[derive(Debug)]
pub(super) struct State {
    ahead: Duration,
    entropy: Entropy,
    secrets: HashMap<String, String>,
    names: HashMap<String, Name>,
    services: Vec<Service>,
    pub(super) offers: Vec<Offer>,
    requests: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Name {
    key: PublicKey,
    claimed_at: u64,
    expires_at: u64,
}

#[derive(Debug)]
struct Service {
    id: String,
    uuid: String,
    peer: String,
    owner: String,
    fqn: String,
    is_public: bool,
    metadata: Option<Value>,
    created_at: u64,
    expires_at: u64,
}

pub(super) type Reply = Result<Value, Problem>;

impl Default for State {
    fn default() -> Self {
        Self {
            ahead: Duration::ZERO,
            entropy: Entropy::System,
            secrets: HashMap::new(),
            names: HashMap::new(),
            services: Vec::new(),
            offers: Vec::new(),
            requests: BTreeMap::new(),
        }
    }
}

impl State {
    pub(super) fn advance(&mut self, by: Duration) {
        self.ahead += by;
    }

    pub(super) fn forget_credentials(&mut self) {
        self.secrets.clear();
    }

    pub(super) fn count(&mut self, endpoint: String) {
        *self.requests.entry(endpoint).or_default() += 1;
    }

    pub(super) fn requests(&self, endpoint: &str) -> usize {
        self.requests.get(endpoint).copied().unwrap_or(0)
    }

    pub(super) fn now(&self) -> u64 {
        UnixMillis::now().saturating_add(self.ahead).0
    }

    pub(super) fn register(&mut self) -> Reply {
        let (peer, secret) = (self.random()?.replace('-', ""), self.random()?);
        self.secrets.insert(peer.clone(), secret.clone());
        Ok(json!({ "peerId": peer, "secret": secret }))
    }

    /// The peer of an `Authorization` header.
    pub(super) fn peer(&self, header: Option<&str>) -> Result<String, Problem> {
        let wrong = |text: &'static str| Problem::new(401, text);
        let header = header.ok_or_else(|| wrong("Missing Authorization header"))?;
        let (peer, secret) = header
            .strip_prefix("Bearer ")
            .ok_or_else(|| {
                wrong("Invalid Authorization header format. Expected: Bearer {peerId}:{secret}")
            })?
            .split_once(':')
            .ok_or_else(|| wrong("Invalid credentials format. Expected: {peerId}:{secret}"))?;
        match self.secrets.get(peer).is_some_and(|own| own == secret) {
            true => Ok(peer.into()),
            false => Err(wrong("Invalid credentials")),
        }
    }

    pub(super) fn claim(&mut self, body: &Value) -> Reply {
        const MISSING: &str =
            "Missing required parameters: username, publicKey, signature, message";
        let username = text(body, "username", MISSING)?;
        let key: PublicKey = parse(text(body, "publicKey", MISSING)?, "Invalid public key")?;
        let signature: Signature = parse(text(body, "signature", MISSING)?, "Invalid signature")?;
        let message = text(body, "message", MISSING)?;
        let name: Username = parse(username, "Invalid username")?;
        let signed_at = self
            .fresh_time(message)
            .filter(|at| SignedClaim::message_for(&name, *at) == message);
        let is_right = key.verify(message.as_bytes(), signature.as_bytes()).is_ok();
        if signed_at.is_none() || !is_right {
            return Err(Problem::new(400, "Invalid signature"));
        }
        let now = self.now();
        let taken = self.live_name(username).filter(|name| name.key != key);
        if taken.is_some() {
            let text = "Username already claimed by different public key";
            return Err(Problem::new(409, text));
        }
        let claimed_at = self.live_name(username).map_or(now, |name| name.claimed_at);
        let expires_at = now + USERNAME_LIFETIME.as_millis() as u64;
        let name = Name {
            key,
            claimed_at,
            expires_at,
        };
        self.names.insert(username.into(), name);
        Ok(json!({ "username": username, "claimedAt": claimed_at, "expiresAt": expires_at }))
    }

    pub(super) fn name(&self, username: &str) -> Reply {
        Ok(match self.live_name(username) {
            None => json!({ "username": username, "available": true }),
            Some(name) => json!({
                "username": username,
                "available": false,
                "claimedAt": name.claimed_at,
                "expiresAt": name.expires_at,
                "publicKey": name.key.to_string(),
            }),
        })
    }

    pub(super) fn services_of(&self, username: &str) -> Reply {
        let own = self.services.iter().rev();
        let own = own.filter(|s| s.owner == username && s.expires_at > self.now());
        let services: Vec<_> = own
            .map(|service| match service.is_public {
                true => json!({
                    "uuid": service.uuid,
                    "isPublic": true,
                    "serviceFqn": service.fqn,
                    "metadata": service.metadata.as_ref().map(Value::to_string),
                }),
                false => json!({ "uuid": service.uuid, "isPublic": false }),
            })
            .collect();
        Ok(json!({ "username": username, "services": services }))
    }

    pub(super) fn publish(&mut self, peer: &str, body: &Value) -> Reply {
        const MISSING: &str = "Missing required parameters: username, serviceFqn, sdp";
        const MISSING_SIGNATURE: &str = "Missing required parameters: signature, message";
        let username = text(body, "username", MISSING)?;
        let fqn = text(body, "serviceFqn", MISSING)?;
        let sdp = text(body, "sdp", MISSING)?;
        let owner: Username = parse(username, "Invalid username")?;
        let service: ServiceName = parse(fqn, "Invalid service FQN")?;
        let signature = text(body, "signature", MISSING_SIGNATURE)?;
        let message = text(body, "message", MISSING_SIGNATURE)?;
        let name = self.live_name(username);
        let name = name.ok_or_else(|| Problem::new(404, "Username not claimed"))?;
        let refused = || Problem::new(403, "Invalid signature for username");
        let signature: Signature = signature.parse().map_err(|_| refused())?;
        self.fresh_time(message)
            .filter(|at| SignedPublish::message_for(&owner, &service, *at) == message)
            .ok_or_else(refused)?;
        name.key
            .verify(message.as_bytes(), signature.as_bytes())
            .map_err(|_| refused())?;

        // The old service goes before it is known whether there will be a new one.
        self.services
            .retain(|s| s.owner != username || s.fqn != fqn);
        check_sdp(sdp)?;
        let (id, uuid) = (self.random()?, self.random()?);
        let (offer_id, _, expires_at) = self.put_offer(peer, body)?;
        let now = self.now();
        if let Some(name) = self.names.get_mut(username) {
            name.expires_at = now + USERNAME_LIFETIME.as_millis() as u64;
        }
        let reply = json!({
            "serviceId": id, "uuid": uuid, "offerId": offer_id, "expiresAt": expires_at,
        });
        self.services.push(Service {
            id,
            uuid,
            peer: peer.into(),
            owner: username.into(),
            fqn: fqn.into(),
            is_public: body["isPublic"] == true,
            metadata: body.get("metadata").filter(|m| !m.is_null()).cloned(),
            created_at: now,
            expires_at,
        });
        Ok(reply)
    }

    /// Hands out the newest open offer of the service's peer, and reserves nothing.
    pub(super) fn take(&self, uuid: &str) -> Reply {
        let now = self.now();
        let mut services = self.services.iter();
        let service = services.find(|s| s.uuid == uuid && s.expires_at > now);
        let service = service.ok_or_else(|| Problem::new(404, "Service not found"))?;
        let offers = self.offers.iter().rev();
        let mut open = offers.filter(|o| o.answer.is_none() && o.expires_at > now);
        let Some(offer) = open.find(|offer| offer.peer == service.peer) else {
            return Err(Problem::with_message(
                503,
                "No available offers",
                "All offers from this service are currently in use. Please try again later.",
            ));
        };
        let mut reply = json!({
            "serviceId": service.id,
            "username": service.owner,
            "serviceFqn": service.fqn,
            "offerId": offer.id,
            "sdp": offer.sdp,
            "isPublic": service.is_public,
            "createdAt": service.created_at,
            "expiresAt": service.expires_at,
        });
        if let Some(metadata) = &service.metadata {
            reply["metadata"] = metadata.clone();
        }
        Ok(reply)
    }

    /// Whoever names the owner deletes the service.
    pub(super) fn unpublish(&mut self, id: &str, body: &Value) -> Reply {
        let owner = text(body, "username", "Missing required parameter: username")?;
        let before = self.services.len();
        self.services.retain(|s| s.id != id || s.owner != owner);
        match self.services.len() < before {
            true => Ok(json!({ "success": true })),
            false => Err(Problem::new(
                404,
                "Service not found or not owned by this username",
            )),
        }
    }

    pub(super) fn query(&self, username: &str, body: &Value) -> Reply {
        let fqn = text(body, "serviceFqn", "Missing required parameter: serviceFqn")?;
        let mut services = self.services.iter();
        let found =
            services.find(|s| s.owner == username && s.fqn == fqn && s.expires_at > self.now());
        match found {
            Some(service) => Ok(json!({ "uuid": service.uuid, "allowed": true })),
            None => Err(Problem::new(404, "Service not found")),
        }
    }

    fn live_name(&self, username: &str) -> Option<&Name> {
        let name = self.names.get(username);
        name.filter(|name| name.expires_at > self.now())
    }

    /// The time at the end of a signed message, if it is near enough.
    fn fresh_time(&self, message: &str) -> Option<UnixMillis> {
        let (_, millis) = message.rsplit_once(':')?;
        let at: u64 = millis.parse().ok()?;
        let skew_max = SignedClaim::CLOCK_SKEW_MAX.as_millis() as u64;
        (at.abs_diff(self.now()) <= skew_max).then_some(UnixMillis(at))
    }

    fn random(&self) -> Result<String, Problem> {
        let id = self.entropy.service_uuid();
        let id = id.map_err(|_| Problem::new(500, "Internal server error"))?;
        Ok(id.as_str().to_owned())
    }
}

pub(super) fn check_sdp(sdp: &str) -> Result<(), Problem> {
    match sdp.len() > SDP_LEN_MAX {
        true => Err(Problem::new(400, "SDP too large (max 64KB)")),
        false => Ok(()),
    }
}

pub(super) fn text<'a>(
    body: &'a Value,
    field: &str,
    missing: &'static str,
) -> Result<&'a str, Problem> {
    let found = body[field].as_str().filter(|text| !text.is_empty());
    found.ok_or_else(|| Problem::new(400, missing))
}

fn parse<T: core::str::FromStr>(text: &str, problem: &'static str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::new(400, problem))
}
