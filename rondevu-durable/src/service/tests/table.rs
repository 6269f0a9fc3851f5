//! Each state of a published service against each fact.
//!
//! The table stands in [`service.txt`](service.txt). An arrow leads to the next state; behind it stands
//! what the service asks for and tells at once.

use std::collections::BTreeSet;
use std::format;
use std::string::String;

use super::*;
use crate::state_table;

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum Fact {
    Published,
    OffersCreated,
    WriteFailed(ServiceRetry),
    Polled(Answers),
    Answered,
    PollFailed(ServiceRetry),
    Checked(Presence),
    CheckFailed(ServiceRetry),
    NetworkChanged,
    /// The earliest deadline has come.
    Timeout,
}

/// How many answers a request brought.
#[derive(Clone, Copy, Debug)]
enum Answers {
    None,
    One,
}

impl Fact {
    const fn method(self) -> &'static str {
        match self {
            Self::Published => "handle_published",
            Self::OffersCreated => "handle_offers_created",
            Self::WriteFailed(_) => "handle_write_failed",
            Self::Polled(_) => "handle_polled",
            Self::Answered => "handle_answered",
            Self::PollFailed(_) => "handle_poll_failed",
            Self::Checked(_) => "handle_checked",
            Self::CheckFailed(_) => "handle_check_failed",
            Self::NetworkChanged => "handle_network_change",
            Self::Timeout => "handle_timeout",
        }
    }
}

const RETRIES: [(&str, ServiceRetry); 5] = [
    ("never again", ServiceRetry::Never),
    ("after 3 s", ServiceRetry::After(Duration::from_secs(3))),
    ("the server fails", ServiceRetry::Backoff),
    ("unknown service", ServiceRetry::Publish),
    ("unknown peer", ServiceRetry::StartOver),
];

fn facts() -> Vec<(&'static str, Fact)> {
    let mut facts = Vec::from([
        ("published", Fact::Published),
        ("offers created", Fact::OffersCreated),
        ("polled: nothing", Fact::Polled(Answers::None)),
        ("polled: an answer", Fact::Polled(Answers::One)),
        ("answered", Fact::Answered),
        ("checked: found", Fact::Checked(Presence::Found)),
        ("checked: missing", Fact::Checked(Presence::Missing)),
        ("the network changes", Fact::NetworkChanged),
        ("the deadline comes", Fact::Timeout),
    ]);
    for (name, retry) in RETRIES {
        let named = |what: &str| -> &'static str { String::leak(format!("{what} failed: {name}")) };
        facts.push((named("write"), Fact::WriteFailed(retry)));
        facts.push((named("poll"), Fact::PollFailed(retry)));
        facts.push((named("check"), Fact::CheckFailed(retry)));
    }
    facts
}

/// What stands between two facts: everything is done that was due.
fn settled(mut service: ServiceMachine, now: Instant) -> ServiceMachine {
    actions(&mut service, now);
    events(&mut service);
    service
}

const TEN: u64 = 10_000;

fn states() -> [fn() -> ServiceMachine; 7] {
    [
        || settled(ServiceMachine::new(ServiceConfig::default(), 1), at(TEN)),
        || {
            let mut service = settled(ServiceMachine::new(ServiceConfig::default(), 1), at(TEN));
            service.handle_write_failed(ServiceRetry::Backoff, at(TEN));
            settled(service, at(TEN))
        },
        || settled(published(1), at(TEN)),
        || {
            let mut service = published(1);
            service.handle_polled(&[OfferKey(0)], PollEnd::Waited, at(TEN));
            settled(service, at(TEN))
        },
        || {
            let mut service = published(1);
            service.handle_poll_failed(ServiceRetry::Backoff, at(TEN));
            settled(service, at(TEN))
        },
        || settled(checking(), at(TEN)),
        || {
            let mut service = published(1);
            service.handle_poll_failed(ServiceRetry::Never, at(TEN));
            settled(service, at(TEN))
        },
    ]
}

/// A service that has just heard again from its server and wonders whether that still knows it.
fn checking() -> ServiceMachine {
    let mut service = published(1);
    service.handle_poll_failed(ServiceRetry::Backoff, at(5000));
    actions(&mut service, at(9000));
    service.handle_polled(&[], PollEnd::Waited, at(TEN));
    service
}

/// The state in words.
fn phase(service: &ServiceMachine) -> String {
    let lease = match service.lease {
        Lease::Wanted => "not published",
        Lease::Held { .. } => "published",
        Lease::Refused => "refused",
    };
    let offers = match service.open_offers(at(TEN)) {
        0 => "no offer",
        1 => "an offer",
        _ => "offers",
    };
    let requests = [
        (&service.writing, "write"),
        (&service.asking, "poll"),
        (&service.checking, "check"),
    ];
    let requests = requests.into_iter().filter_map(|(request, name)| {
        let under_way = request.ready_at().is_none();
        match (under_way, request.is_failing()) {
            (true, false) => Some(format!("{name} under way")),
            (true, true) => Some(format!("{name} under way again")),
            (false, true) => Some(format!("{name} failing")),
            (false, false) => None,
        }
    });
    let mut parts = Vec::from([String::from(lease), offers.into()]);
    parts.extend(requests);
    parts.join(", ")
}

/// Does a fact and what is due then; what came of it. Requests end only where they are under way.
fn effect(mut service: ServiceMachine, fact: Fact) -> Option<String> {
    let before = phase(&service);
    let mut now = at(TEN);
    let is_over = service.is_over();
    let waits = |request: &Request| (is_over || request.ready_at().is_none()).then_some(());
    match fact {
        Fact::Published => {
            waits(&service.writing)?;
            service.handle_published(OfferKey(70), TTL, now);
        }
        Fact::OffersCreated => {
            waits(&service.writing)?;
            created(&mut service, [70], now);
        }
        Fact::WriteFailed(retry) => {
            waits(&service.writing)?;
            service.handle_write_failed(retry, now);
        }
        Fact::Polled(answers) => {
            waits(&service.asking)?;
            let answered = match answers {
                Answers::None => Vec::new(),
                Answers::One => keys([0]),
            };
            service.handle_polled(&answered, PollEnd::Waited, now);
        }
        Fact::Answered => service.handle_answered(OfferKey(0)),
        Fact::PollFailed(retry) => {
            waits(&service.asking)?;
            service.handle_poll_failed(retry, now);
        }
        Fact::Checked(presence) => {
            waits(&service.checking)?;
            service.handle_checked(presence, now);
        }
        Fact::CheckFailed(retry) => {
            waits(&service.checking)?;
            service.handle_check_failed(retry, now);
        }
        Fact::NetworkChanged => service.handle_network_change(now),
        Fact::Timeout => now = service.poll_timeout()?.at,
    }
    let wanted = actions(&mut service, now);
    let mut effects = Vec::new();
    if phase(&service) != before {
        effects.push(format!("→ {}", phase(&service)));
    }
    effects.extend(wanted.iter().map(asks));
    effects.extend(events(&mut service).iter().map(|event| {
        let name = match event {
            ServiceEvent::Published => "Published",
            ServiceEvent::Refreshed => "Refreshed",
            ServiceEvent::SignalingLost => "SignalingLost",
            ServiceEvent::SignalingBack => "SignalingBack",
            ServiceEvent::Refused => "Refused",
        };
        format!("tells {name}")
    }));
    Some(effects.join("; "))
}

fn asks(action: &ServiceAction) -> String {
    match action {
        ServiceAction::Publish { .. } => "publishes".into(),
        ServiceAction::CreateOffers { offers } => format!("creates {} offer", offers.len()),
        ServiceAction::DropOffers { offers } => format!("drops {} offer", offers.len()),
        ServiceAction::DeleteOffers { offers } => format!("deletes {} offer", offers.len()),
        ServiceAction::Poll { wait: WAIT } => "polls".into(),
        ServiceAction::Poll { .. } => "polls without waiting".into(),
        ServiceAction::Check => "checks".into(),
    }
}

#[test]
fn each_state_against_each_fact() {
    let mut names = BTreeSet::new();
    let states = states().map(|make| {
        let name = phase(&make());
        assert!(names.insert(name.clone()), "{name} stands there twice");
        (&*String::leak(name), make)
    });
    let written = state_table::write(&states, &facts(), |make, fact| effect(make(), fact));
    state_table::check(&written, include_str!("service.txt"));
}

#[test]
fn every_fact_of_the_source_is_in_the_table() {
    let mut expected = state_table::commands_in(include_str!("../../service.rs"));
    expected.retain(|name| !name.starts_with("poll_"));
    let mut covered: Vec<&str> = facts().iter().map(|(_, fact)| fact.method()).collect();
    covered.sort_unstable();
    covered.dedup();
    assert_eq!(covered, expected);
}
