//! What becomes of a session: resumed, forgotten by one side, begun anew.

use super::*;

#[test]
fn an_acceptor_that_lost_its_memory_gets_everything_unconfirmed_in_a_new_session() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.cut_all();
    pair.send(Role::Dialer, chat, "first");
    pair.send(Role::Dialer, chat, "second");
    pair.acceptor = None;
    pair.wait(Duration::from_secs(3));
    assert_eq!(pair.dialer.state(), State::Connected);
    assert_eq!(pair.received(Role::Acceptor), ["first", "second"]);
    let unconfirmed = Unconfirmed {
        undelivered: 2,
        maybe_delivered: 0,
    };
    assert!(
        pair.events
            .contains(&ConnectionEvent::SessionReset { unconfirmed })
    );
}

#[test]
fn the_resume_window_ends_to_the_second() {
    for (away, resumed) in [(299, true), (301, false)] {
        let mut config = ConnectionConfig::default();
        config.backoff.attempts_max = None;
        let mut pair = Pair::connected(config);
        let chat = channel(&mut pair);
        pair.settle();
        pair.network_up = false;
        pair.cut_all();
        pair.wait(Duration::from_secs(away));
        let open = pair.acceptor.as_ref().unwrap().state() == State::Disconnected;
        assert_eq!(open, resumed, "after {away} s");
        pair.network_up = true;
        pair.send(Role::Dialer, chat, "back");
        pair.wait(Duration::from_secs(40));
        assert_eq!(pair.received(Role::Acceptor), ["back"]);
    }
}

#[test]
fn a_message_that_a_reset_drops_after_it_left_may_have_arrived() {
    let mut pair = Pair::connected(ConnectionConfig {
        session_loss: crate::SessionLoss::Drop,
        ..ConnectionConfig::default()
    });
    let chat = channel(&mut pair);
    pair.settle();
    let now = pair.now;
    let channel = pair.dialer.channel_mut(chat).unwrap();
    let number = channel.send_watched("x".into(), now).unwrap();
    pair.pump();
    pair.acceptor = None;
    pair.cut_all();
    pair.wait(Duration::from_secs(3));
    assert_eq!(pair.dialer.state(), State::Connected);
    let channel = pair.dialer.channel_mut(chat).unwrap();
    let outcome = channel.take_outcome(number);
    assert_eq!(outcome, Some(Outcome::Unknown));
}

#[test]
fn a_channel_that_ends_with_its_session_says_what_may_have_arrived() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let news = acceptors_channel(&mut pair);
    pair.settle();
    pair.send(Role::Dialer, news, "on its way");
    pair.pump();
    pair.acceptor = None;
    pair.cut_all();
    pair.wait(Duration::from_secs(2));
    let channel = pair.dialer.channel_mut(news).unwrap();
    let events: Vec<_> = core::iter::from_fn(|| channel.poll_event()).collect();
    let unconfirmed = Unconfirmed {
        undelivered: 0,
        maybe_delivered: 1,
    };
    let closed = crate::ChannelEvent::Closed {
        unconfirmed,
        unread: 0,
    };
    assert_eq!(events.last(), Some(&closed));
}

#[test]
fn a_restarted_acceptor_can_use_its_ids_again_while_the_old_channels_are_still_held() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let old = acceptors_channel(&mut pair);
    pair.settle();
    for restarts in 1..4 {
        pair.acceptor = None;
        pair.cut_all();
        pair.wait(Duration::from_secs(20));
        let news = acceptors_channel(&mut pair);
        assert_eq!(news, old, "it knows nothing of the one before");
        pair.send(Role::Acceptor, news, "again");
        pair.settle();
        assert_eq!(pair.received(Role::Dialer).len(), restarts);
    }
    assert_eq!(
        pair.dialer.channels().count(),
        4,
        "each has a machine of its own"
    );
    pair.cut_all();
    pair.wait(Duration::from_secs(20));
    pair.send(Role::Acceptor, old, "resumed");
    pair.settle();
    assert_eq!(pair.received(Role::Dialer).last(), Some(&"resumed"));
}

#[test]
fn an_older_generation_is_refused_and_changes_nothing() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let arrival = arrival(pair.info(Role::Acceptor));
    let acceptor = pair.acceptor.as_mut().unwrap();
    let refused = acceptor.handle_hello(arrival, hello(), pair.now);
    assert_eq!(refused, Err(rondevu_core::RejectReason::Superseded));
    assert_eq!(acceptor.state(), State::Connected);
}

#[test]
fn a_peer_that_acknowledges_and_then_breaks_the_protocol_has_shown_that_it_knows_the_channel() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let news = acceptors_channel(&mut pair);
    pair.send(Role::Acceptor, news, "headline");
    pair.pump();
    pair.pump();
    let now = pair.now;
    let info = pair.info(Role::Acceptor);
    let acceptor = pair.acceptor.as_mut().unwrap();
    let link = acceptor.live_link().unwrap();
    let stream = acceptor.channel(news).unwrap().stream().unwrap();
    // An acknowledgement of the message, and a frame that does not exist.
    let payload = Bytes::from_static(&[2, 1, 100, 99]);
    let kind = MessageKind::Binary;
    let event = LinkEvent::StreamMessage {
        stream,
        kind,
        payload,
    };
    acceptor.handle_link_event(link, event, now);
    assert_eq!(acceptor.state(), State::Disconnected);
    let hello = Hello {
        generation: Generation(9),
        ..hello()
    };
    acceptor.handle_hello(arrival(info), hello, now).unwrap();
    let state = acceptor.channel(news).unwrap().state();
    assert_eq!(state, DurableChannelState::Closed, "it is not mentioned");
}
