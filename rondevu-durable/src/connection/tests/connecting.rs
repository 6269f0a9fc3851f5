//! The first connection: one attempt for all who wait, its phases, and its end.

use super::*;

#[test]
fn a_second_connect_joins_the_attempt_that_is_under_way() {
    let mut pair = Pair::new(ConnectionConfig::default());
    pair.dialer.connect(pair.now);
    let dials = |machine: &mut ConnectionMachine| {
        std::iter::from_fn(|| machine.poll_action())
            .filter(|action| matches!(action, Action::Dial { .. }))
            .count()
    };
    assert_eq!(dials(&mut pair.dialer), 1);
    pair.dialer.connect_in_background(pair.now);
    assert_eq!(dials(&mut pair.dialer), 0);
}

#[test]
fn a_first_connection_that_fails_stops_and_raises_no_reconnecting() {
    let mut pair = Pair::new(ConnectionConfig::default());
    pair.dialer.poll_action();
    // Each attempt is lost on its way.
    for _ in 0..100 {
        let Some(deadline) = pair.dialer.poll_timeout() else {
            break;
        };
        pair.dialer.handle_timeout(deadline.at);
        pair.now = deadline.at;
    }
    assert_eq!(pair.dialer.state(), State::Failed);
    assert_eq!(pair.now, Instant::ORIGIN + Duration::from_secs(30));
    let events: Vec<_> = std::iter::from_fn(|| pair.dialer.poll_event()).collect();
    let reconnecting =
        |event: &ConnectionEvent| matches!(event, ConnectionEvent::Reconnecting { .. });
    assert!(!events.iter().any(reconnecting), "{events:?}");
}

#[test]
fn connecting_in_the_background_goes_on_beyond_the_time_out() {
    let mut pair = Pair::new(ConnectionConfig::default());
    pair.network_up = false;
    pair.dialer.connect_in_background(pair.now);
    pair.wait(Duration::from_secs(60));
    assert_eq!(pair.dialer.state(), State::Connecting);
    let reconnecting =
        |event: &ConnectionEvent| matches!(event, ConnectionEvent::Reconnecting { .. });
    assert!(pair.events.iter().any(reconnecting));
    pair.network_up = true;
    pair.wait(Duration::from_secs(40));
    assert_eq!(pair.dialer.state(), State::Connected);
}

#[test]
fn what_was_begun_in_the_background_survives_a_pause() {
    let mut pair = Pair::new(ConnectionConfig::default());
    pair.network_up = false;
    pair.dialer.connect_in_background(pair.now);
    pair.dialer.pause(pair.now);
    pair.dialer.resume(pair.now);
    pair.wait(Duration::from_secs(60));
    assert_eq!(pair.dialer.state(), State::Connecting);
}

#[test]
fn a_cancelled_attempt_stops_and_connecting_can_begin_anew() {
    let mut pair = Pair::new(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.pump();
    // As far as the greeting: its answer is on the way.
    for _ in 0..3 {
        pair.deliver_some();
    }
    pair.dialer.cancel_connect();
    pair.wait(Duration::from_secs(100));
    assert_eq!(pair.dialer.state(), State::Connecting);
    assert!(pair.dialer.poll_timeout().is_none_or(|d| d.at > pair.now));
    pair.send(Role::Dialer, chat, "waits");
    pair.dialer.connect(pair.now);
    pair.wait(Duration::from_secs(1));
    assert_eq!(pair.dialer.state(), State::Connected);
    assert_eq!(pair.received(Role::Acceptor), ["waits"]);
}

#[test]
fn cancelling_changes_nothing_once_a_link_has_carried_the_session() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    pair.dialer.cancel_connect();
    assert_eq!(pair.dialer.state(), State::Connected);
    pair.cut_all();
    pair.dialer.cancel_connect();
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.dialer.state(), State::Connected);
    assert_eq!(pair.dialer.generation(), Generation(2));
}

#[test]
fn a_greeting_without_an_answer_ends_the_attempt_at_its_own_time_out() {
    let mut machine = dialer();
    let now = Instant::ORIGIN + Duration::from_secs(1);
    machine.connect(Instant::ORIGIN);
    let Some(Action::Dial { link }) = machine.poll_action() else {
        panic!("dials")
    };
    machine.handle_link_event(link, LinkEvent::Connected(LinkInfo::UNKNOWN), now);
    let opened = LinkEvent::StreamOpened {
        stream: CONTROL,
        options: StreamOptions::reliable(CONTROL_LABEL, CONTROL_PROTOCOL),
        by: OpenedBy::Remote,
    };
    machine.handle_link_event(link, opened, now);
    let greeted_by = now + Duration::from_secs(5);
    assert_eq!(
        machine.poll_timeout().map(|deadline| deadline.at),
        Some(greeted_by)
    );
    machine.handle_timeout(greeted_by);
    assert_eq!(
        machine.last_failure,
        "the peer did not answer the greeting in time"
    );
}

#[test]
fn an_unknown_name_fails_the_first_attempt_at_once() {
    let mut dialer = dialer();
    dialer.connect(Instant::ORIGIN);
    let Some(Action::Dial { link }) = dialer.poll_action() else {
        panic!("dials")
    };
    let failure = DialFailure {
        reason: "no such user".into(),
        retry: DialRetry::Never,
    };
    dialer.handle_dial_failed(link, failure, Instant::ORIGIN);
    assert_eq!(dialer.state(), State::Failed);
}
