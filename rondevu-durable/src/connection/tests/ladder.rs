//! Pauses, refusals, and many dialers at once.

use rondevu_core::{LinkClosed, RejectReason};

use super::*;

#[test]
fn a_paused_dialer_makes_no_attempt_and_comes_back_with_what_waited() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.dialer.pause(pair.now);
    assert_eq!(pair.dialer.state(), State::Disconnected);
    pair.send(Role::Dialer, chat, "waits");
    pair.wait(Duration::from_secs(30));
    assert_eq!(pair.dialer.state(), State::Disconnected);
    assert!(pair.links.is_empty());
    pair.dialer.resume(pair.now);
    pair.settle();
    assert_eq!(pair.received(Role::Acceptor), ["waits"]);
    assert_eq!(pair.dialer.generation(), Generation(2));
}

#[test]
fn a_dialer_that_is_paused_before_it_ever_connected_connects_later() {
    let mut pair = Pair::new(ConnectionConfig::default());
    pair.dialer.pause(pair.now);
    pair.wait(Duration::from_secs(60));
    assert_eq!(pair.dialer.state(), State::Disconnected, "no time-out runs");
    pair.dialer.resume(pair.now);
    pair.settle();
    assert_eq!(pair.dialer.state(), State::Connected);
}

/// When dialers of a service that goes make their next attempt.
fn next_attempts(reason: LinkClosed, dialers: u64) -> Vec<Duration> {
    let attempt = |n: u64| {
        let mut pair = Pair::connected(ConnectionConfig::default());
        pair.dialer.rng = fastrand::Rng::with_seed(n);
        let link = pair.dialer.live_link().unwrap();
        let closed = LinkEvent::Closed {
            reason: reason.clone(),
        };
        pair.dialer.handle_link_event(link, closed, pair.now);
        let at = pair.dialer.poll_timeout().unwrap().at;
        at - pair.now
    };
    (0..dialers).map(attempt).collect()
}

#[test]
fn ten_thousand_dialers_of_a_service_that_restarts_do_not_come_in_one_instant() {
    for (reason, spread) in [(LinkClosed::Remote, 1000), (LinkClosed::NoPath, 250)] {
        let attempts = next_attempts(reason, 10_000);
        let mut per_share = [0u32; 10];
        for delay in attempts {
            let share = delay.as_millis() as usize * 10 / spread;
            per_share[share.min(9)] += 1;
        }
        // Evenly, within five standard deviations (30 each).
        assert!(
            per_share.iter().all(|n| (850..1150).contains(n)),
            "{per_share:?}"
        );
    }
}

#[test]
fn who_is_told_again_and_again_to_come_back_soon_waits_longer_and_longer() {
    let mut config = ConnectionConfig::default();
    config.backoff.jitter = 0.0;
    let mut pair = Pair::connected(config);
    pair.cut_all();
    let mut waits = Vec::new();
    for _ in 0..12 {
        let at = pair.dialer.poll_timeout().unwrap().at;
        waits.push((at - pair.now).as_millis());
        pair.now = at;
        pair.dialer.handle_timeout(at);
        let Some(Action::Dial { link }) = pair.dialer.actions.pop_back() else {
            panic!("dials")
        };
        let failure = DialFailure {
            reason: "no offers".into(),
            retry: DialRetry::After(Duration::from_millis(100)),
        };
        pair.dialer.handle_dial_failed(link, failure, at);
    }
    assert!(waits[1] < 130, "{waits:?}");
    assert!(waits[5..].iter().all(|wait| *wait >= 1000), "{waits:?}");
}

#[test]
fn a_session_is_given_up_only_when_the_peer_welcomes_a_new_one() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.cut_all();
    pair.send(Role::Dialer, chat, "kept");
    // Somebody answers who knows nothing, and goes away again.
    let (session, acceptor) = (pair.dialer.session(), pair.acceptor.take());
    let at = pair.dialer.poll_timeout().unwrap().at;
    pair.now = at;
    pair.dialer.handle_timeout(at);
    pair.pump();
    let id = *pair.links.keys().next_back().unwrap();
    while pair.deliver_to_dialer(id) {}
    pair.pump();
    let mut refusal = Vec::new();
    let reason = RejectReason::UnknownSession;
    ControlFrame::Reject { reason }.encode(&mut refusal);
    let refusal = pair::Flying::Message(CONTROL, MessageKind::Binary, refusal.into());
    pair.links
        .get_mut(&id)
        .unwrap()
        .to_dialer
        .push_back(refusal);
    pair.deliver_to_dialer(id);
    pair.cut_all();
    pair.acceptor = acceptor;
    pair.wait(Duration::from_secs(5));
    assert_eq!(pair.dialer.session(), session);
    assert_eq!(pair.received(Role::Acceptor), ["kept"]);
    let reset = |event: &ConnectionEvent| matches!(event, ConnectionEvent::SessionReset { .. });
    assert!(!pair.events.iter().any(reset));
}

#[test]
fn a_violation_in_a_resuming_hello_leaves_the_session_waiting_for_the_next() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.send(Role::Dialer, chat, "one");
    pair.wait(Duration::from_millis(100));
    let acceptor = pair.acceptor.as_mut().unwrap();
    let mut cursor = acceptor.channel_mut(chat).unwrap().cursor(chat);
    cursor.recv_next = rondevu_core::Seq(99);
    let hello = Hello {
        generation: Generation(7),
        channels: [cursor].into(),
        ..hello()
    };
    let arrival = arrival(pair.info(Role::Acceptor));
    let acceptor = pair.acceptor.as_mut().unwrap();
    assert_eq!(acceptor.handle_hello(arrival, hello, pair.now), Ok(()));
    assert_eq!(acceptor.state(), State::Disconnected);
    let abandoned = core::iter::from_fn(|| acceptor.poll_action());
    let link = OTHER_LINK;
    assert!(
        abandoned
            .into_iter()
            .any(|action| action == Action::AbandonLink { link })
    );
}

#[test]
fn an_idle_link_that_healed_becomes_stable_like_any_other() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    pair.wait(Duration::from_secs(1));
    pair.dialer.handle_network_change(pair.now);
    assert_eq!(pair.dialer.state(), State::Reconnecting);
    // The acceptor's heartbeat comes over the old link before there is a new one.
    let link = pair.dialer.live_link().unwrap();
    let mut payload = Vec::new();
    ControlFrame::Ping { id: 9 }.encode(&mut payload);
    let ping = LinkEvent::StreamMessage {
        stream: CONTROL,
        kind: MessageKind::Binary,
        payload: payload.into(),
    };
    pair.dialer.handle_link_event(link, ping, pair.now);
    assert_eq!(pair.dialer.state(), State::Connected);
    pair.wait(Duration::from_secs(11));
    assert!(pair.dialer.reconnector.is_stable());
}

#[test]
fn attempts_back_off_and_end_in_failure() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    pair.network_up = false;
    pair.cut_all();
    pair.wait(Duration::from_secs(600));
    assert_eq!(pair.dialer.state(), State::Failed);
    let delays: Vec<u64> = pair
        .events
        .iter()
        .filter_map(|event| match event {
            ConnectionEvent::Reconnecting { delay, .. } => Some(delay.as_secs_f64().round() as u64),
            _ => None,
        })
        .collect();
    assert_eq!(delays.len(), 10);
    assert!(delays.iter().all(|delay| *delay <= 36), "{delays:?}");
    assert_eq!(
        pair.acceptor.as_ref().unwrap().state(),
        State::Closed,
        "the session expired"
    );
}

#[test]
fn a_silent_link_is_suspected_and_a_new_one_found_beside_it() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.wait(Duration::from_secs(1));
    // A black hole: the link swallows everything and nobody is told.
    let dead = *pair.links.keys().next().unwrap();
    pair.links.remove(&dead);
    pair.send(Role::Dialer, chat, "into the hole");
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.dialer.state(), State::Connected);
    assert_eq!(pair.received(Role::Acceptor), ["into the hole"]);
    assert_ne!(pair.dialer.live_link(), Some(dead));
}

#[test]
fn a_sign_of_life_below_the_messages_hastens_the_attempt_once() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    // The first replacement starts soon; the link that it brings is not stable yet.
    pair.cut_all();
    pair.wait(Duration::from_secs(1));
    let dead = *pair.links.keys().next().unwrap();
    pair.links.remove(&dead);
    pair.send(Role::Dialer, chat, "x");
    pair.wait(Duration::from_millis(510));
    assert_eq!(pair.dialer.state(), State::Reconnecting);
    pair.dialer.handle_path_activity(dead, pair.now);
    pair.settle();
    assert_eq!(pair.received(Role::Acceptor), ["x"]);
}
