//! How channels and connections end, and what is told of it.

use super::*;

#[test]
fn closing_delivers_what_was_sent_and_tells_the_peer() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.send(Role::Dialer, chat, "last words");
    pair.dialer.close(pair.now);
    pair.settle();
    assert_eq!(pair.received(Role::Acceptor), ["last words"]);
    assert_eq!(pair.dialer.state(), State::Closed);
    assert_eq!(pair.acceptor.as_ref().unwrap().state(), State::Closed);
    let reason = ConnectionClosed::Local;
    let closed = ConnectionEvent::Closed {
        reason,
        unconfirmed: Unconfirmed::default(),
    };
    assert!(pair.events.contains(&closed));
}

/// A last message of the dialer and the end of its channel have reached the acceptor, which has said
/// nothing yet.
fn with_an_end_that_has_arrived() -> (Pair, ChannelId, LinkId) {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.send(Role::Dialer, chat, "bye");
    pair.dialer.channel_mut(chat).unwrap().finish();
    pair.pump();
    let link = pair.dialer.live_link().unwrap();
    while pair.deliver_to_acceptor(link) {}
    (pair, chat, link)
}

fn assert_closed_by_the_acceptor_with_all_confirmed(pair: &Pair) {
    let closed = ConnectionEvent::Closed {
        reason: ConnectionClosed::Remote(ByeReason::Closed),
        unconfirmed: Unconfirmed::default(),
    };
    assert!(pair.events.contains(&closed), "{:?}", pair.events);
}

#[test]
fn who_closes_at_the_end_of_the_peer_answers_it_first() {
    let (mut pair, chat, _) = with_an_end_that_has_arrived();
    // The application hears of the end before the machine has said anything.
    let now = pair.now;
    let acceptor = pair.acceptor.as_mut().unwrap();
    let theirs = acceptor.channel_mut(chat).unwrap();
    assert!(theirs.recv().is_some() && theirs.is_drained());
    acceptor.close(now);
    pair.settle();
    assert_eq!(pair.dialer.state(), State::Closed);
    assert_closed_by_the_acceptor_with_all_confirmed(&pair);
}

#[test]
fn who_aborts_confirms_first_what_has_come_in() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    let link = pair.dialer.live_link().unwrap();
    for text in ["one", "two", "three"] {
        pair.send(Role::Dialer, chat, text);
        pair.pump();
        while pair.deliver_to_acceptor(link) {}
    }
    pair.acceptor.as_mut().unwrap().abort(ByeReason::Closed);
    pair.settle();
    assert_closed_by_the_acceptor_with_all_confirmed(&pair);
}

#[test]
fn a_last_acknowledgement_for_a_closed_channel_costs_nothing() {
    let (mut pair, chat, link) = with_an_end_that_has_arrived();
    pair.pump();
    // The acknowledgement of the message follows 25 ms after that of the end.
    pair.now += Duration::from_millis(30);
    let now = pair.now;
    pair.acceptor.as_mut().unwrap().handle_timeout(now);
    pair.pump();
    assert!(pair.deliver_to_dialer(link));
    pair.pump();
    pair.wait(Duration::from_secs(1));
    let closed = DurableChannelState::Closed;
    assert_eq!(pair.dialer.channel(chat).unwrap().state(), closed);
    assert_eq!(pair.dialer.state(), State::Connected);
    assert_eq!(pair.dialer.generation(), Generation(1));
}

#[test]
fn a_channel_whose_last_confirmation_was_lost_does_no_harm_to_the_next_link() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.send(Role::Acceptor, chat, "hello");
    pair.settle();
    let acceptor = pair.acceptor.as_mut().unwrap();
    acceptor.channel_mut(chat).unwrap().finish();
    pair.pump();
    let link = pair.dialer.live_link().unwrap();
    while pair.deliver_to_dialer(link) {}
    pair.pump();
    while pair.deliver_to_acceptor(link) {}
    pair.pump();
    let closed = DurableChannelState::Closed;
    let acceptor = pair.acceptor.as_ref().unwrap();
    assert_eq!(acceptor.channel(chat).unwrap().state(), closed);
    assert_ne!(pair.dialer.channel(chat).unwrap().state(), closed);
    pair.cut_all();
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.dialer.channel(chat).unwrap().state(), closed);
    assert_eq!(pair.dialer.state(), State::Connected);
    assert_eq!(pair.dialer.generation(), Generation(2));
}

#[test]
fn closing_the_connection_leaves_what_closed_channels_hold() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.send(Role::Dialer, chat, "unread");
    pair.dialer.channel_mut(chat).unwrap().finish();
    pair.settle_without_reading();
    let now = pair.now;
    let acceptor = pair.acceptor.as_mut().unwrap();
    let closed = DurableChannelState::Closed;
    assert_eq!(acceptor.channel(chat).unwrap().state(), closed);
    acceptor.close(now);
    let unread = acceptor.channel_mut(chat).unwrap().recv();
    let message = rondevu_core::Message::from("unread");
    assert_eq!(unread, Some(rondevu_core::Delivery::Message(message)));
}

#[test]
fn the_end_of_a_lossy_channel_may_overtake_its_stream() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let link = pair.dialer.live_link().unwrap();
    let wire = ChannelId(1);
    let mut payload = Vec::new();
    ControlFrame::Finish { channel: wire }.encode(&mut payload);
    let end = LinkEvent::StreamMessage {
        stream: CONTROL,
        kind: MessageKind::Binary,
        payload: payload.into(),
    };
    let opened = LinkEvent::StreamOpened {
        stream: StreamId(9),
        options: StreamOptions {
            reliability: Reliability::MaxRetransmits(0),
            ..StreamOptions::reliable("news", rondevu_core::frame::channel_protocol(wire))
        },
        by: OpenedBy::Remote,
    };
    let now = pair.now;
    pair.dialer.handle_link_event(link, end, now);
    pair.dialer.handle_link_event(link, opened, now);
    assert!(pair.dialer.channel(wire).unwrap().has_peer_finished());
}

#[test]
fn a_channel_closed_across_a_cut_is_closed_on_both_sides() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.send(Role::Dialer, chat, "bye");
    pair.dialer.channel_mut(chat).unwrap().finish();
    pair.pump();
    pair.cut_all();
    pair.wait(Duration::from_secs(3));
    assert_eq!(pair.received(Role::Acceptor), ["bye"]);
    let closed = DurableChannelState::Closed;
    assert_eq!(pair.dialer.channel(chat).unwrap().state(), closed);
    assert_eq!(
        pair.acceptor
            .as_ref()
            .unwrap()
            .channel(chat)
            .unwrap()
            .state(),
        closed
    );
}

#[test]
fn a_close_whose_messages_a_reset_has_dropped_does_not_claim_that_they_arrived() {
    let dropping = ConnectionConfig {
        session_loss: crate::SessionLoss::Drop,
        ..ConnectionConfig::default()
    };
    let mut pair = Pair::connected(dropping);
    let chat = channel(&mut pair);
    pair.settle();
    pair.cut_all();
    pair.send(Role::Dialer, chat, "lost");
    pair.acceptor = None;
    pair.dialer.close(pair.now);
    pair.wait(Duration::from_secs(4));
    let reason = ConnectionClosed::LocalUnconfirmed;
    let closed = |event: &ConnectionEvent| matches!(event, ConnectionEvent::Closed { reason: r, .. } if *r == reason);
    assert!(pair.events.iter().any(closed), "{:?}", pair.events);
}
