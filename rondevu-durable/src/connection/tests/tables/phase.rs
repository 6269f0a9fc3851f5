//! The state of a connection in words: all that decides what it does next.

use super::*;

/// For instance `reconnecting: suspect link, dialing`.
pub(super) fn of(machine: &ConnectionMachine) -> String {
    let mut parts = Vec::new();
    parts.extend(machine.live.as_ref().map(live));
    parts.extend(machine.attempt.as_ref().map(attempt));
    parts.extend(retry(machine.retry));
    if machine.retry == Retry::Paused && machine.was_never_connected() {
        parts.push("never connected");
    }
    if machine.live.is_none() && machine.peer.durability == Some(Durability::Plain) {
        parts.push("plain peer");
    }
    if machine.close_by.is_some() && !machine.state.is_final() {
        parts.push("closing");
    }
    if machine.resume_by.is_some() && !machine.state.is_final() {
        parts.push("resume window");
    }
    match parts.is_empty() {
        true => machine.state.as_str().into(),
        false => std::format!("{}: {}", machine.state, parts.join(", ")),
    }
}

fn live(live: &LiveLink) -> &'static str {
    match &live.kind {
        LinkKind::Plain { offered: None } => "plain link",
        LinkKind::Plain { offered: Some(_) } => "plain link with the offer's stream",
        LinkKind::Session(session) if session.liveness.is_suspect() => "suspect link",
        LinkKind::Session(session) => match session.confirmed {
            true => "link",
            false => "link that is not confirmed",
        },
    }
}

fn attempt(attempt: &Attempt) -> &'static str {
    match &attempt.stage {
        Stage::Dialing => match (attempt.info, attempt.announced) {
            (None, false) => "dialing",
            (None, true) => "dialing a durable peer",
            (Some(_), false) => "dialed",
            (Some(_), true) => "dialed a durable peer",
        },
        Stage::Greeting(greeting) => match (greeting.purpose, greeting.frozen) {
            (Purpose::Session, None) => "greeting",
            (Purpose::Session, Some(_)) => "greeting with a frozen link",
            (Purpose::NewSession, None) => "greeting anew",
            (Purpose::NewSession, Some(_)) => "greeting anew with a frozen link",
        },
    }
}

fn retry(retry: Retry) -> Option<&'static str> {
    match retry {
        Retry::None => None,
        Retry::At(_) => Some("retry planned"),
        Retry::Paused => Some("paused"),
    }
}
