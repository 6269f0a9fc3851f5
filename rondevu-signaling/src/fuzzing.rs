//! The bodies of the signaling protocol, for the fuzzer.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire;

/// A body that is read as one of the replies can be written and is read as the same again.
pub fn bodies(body: &[u8]) {
    reads_what_it_writes::<wire::ErrorBody>(body);
    reads_what_it_writes::<wire::ServerInfo>(body);
    reads_what_it_writes::<wire::Registration>(body);
    reads_what_it_writes::<wire::ClaimReply>(body);
    reads_what_it_writes::<wire::UsernameReply>(body);
    reads_what_it_writes::<wire::ServiceList>(body);
    reads_what_it_writes::<wire::PublishReply>(body);
    reads_what_it_writes::<wire::ServiceReply>(body);
    reads_what_it_writes::<wire::QueryReply>(body);
    reads_what_it_writes::<wire::CreatedOffers>(body);
    reads_what_it_writes::<wire::OwnOffers>(body);
    reads_what_it_writes::<wire::Answers>(body);
    reads_what_it_writes::<wire::Candidates>(body);
}

fn reads_what_it_writes<T: Serialize + DeserializeOwned>(body: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(body) else {
        return;
    };
    let written = serde_json::to_string(&read).expect("what was read can be written");
    let again: T = serde_json::from_str(&written).expect("what was written can be read");
    let rewritten = serde_json::to_string(&again).expect("what was read can be written");
    assert_eq!(written, rewritten);
}
