//! A service against servers that work, fail, forget and come back, in virtual time.

mod table;

use super::*;

const TTL: Duration = Duration::from_secs(60);

fn at(millis: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(millis))
}

fn keys(keys: impl IntoIterator<Item = u64>) -> Vec<OfferKey> {
    keys.into_iter().map(OfferKey).collect()
}

fn actions(service: &mut ServiceMachine, now: Instant) -> Vec<ServiceAction> {
    service.handle_timeout(now);
    core::iter::from_fn(|| service.poll_action()).collect()
}

fn events(service: &mut ServiceMachine) -> Vec<ServiceEvent> {
    core::iter::from_fn(|| service.poll_event()).collect()
}

fn publish(offer: u64) -> ServiceAction {
    ServiceAction::Publish {
        offer: OfferKey(offer),
    }
}

fn poll() -> ServiceAction {
    ServiceAction::Poll { wait: WAIT }
}

/// The request of a service that does not know whether its server is back.
fn short_poll() -> ServiceAction {
    ServiceAction::Poll {
        wait: Duration::ZERO,
    }
}

fn create(offers: impl IntoIterator<Item = u64>) -> ServiceAction {
    ServiceAction::CreateOffers {
        offers: keys(offers),
    }
}

fn created(service: &mut ServiceMachine, offers: impl IntoIterator<Item = u64>, now: Instant) {
    let offers: Vec<_> = keys(offers).into_iter().map(|key| (key, TTL)).collect();
    service.handle_offers_created(&offers, now);
}

/// A service with a full pool and a poll under way.
fn published(pool_size: usize) -> ServiceMachine {
    let config = ServiceConfig {
        pool_size,
        ..ServiceConfig::default()
    };
    let mut service = ServiceMachine::new(config, 1);
    assert_eq!(actions(&mut service, at(0)), [publish(0)]);
    service.handle_published(OfferKey(0), TTL, at(0));
    assert_eq!(events(&mut service), [ServiceEvent::Published]);
    let size = pool_size as u64;
    if size > 1 {
        let expected = [create(1..size), poll()];
        assert_eq!(actions(&mut service, at(0)), expected);
        created(&mut service, 1..size, at(0));
    } else {
        assert_eq!(actions(&mut service, at(0)), [poll()]);
    }
    assert_eq!(actions(&mut service, at(0)), []);
    service
}

#[test]
fn the_pool_is_filled_with_one_request_and_polls_do_not_overlap() {
    let mut service = published(100);
    assert_eq!(service.open_offers(at(0)), 100);
    assert_eq!(actions(&mut service, at(20_000)), []);
    service.handle_polled(&[], PollEnd::Waited, at(25_000));
    assert_eq!(actions(&mut service, at(25_000)), [poll()]);
}

#[test]
fn answered_offers_are_replaced_at_once_and_together() {
    let mut service = published(4);
    service.handle_polled(&keys([1, 3]), PollEnd::Waited, at(10));
    let expected = [create([4, 5]), poll()];
    assert_eq!(actions(&mut service, at(10)), expected);
    // Another answer while the request is under way waits for its end.
    service.handle_polled(&keys([0]), PollEnd::Waited, at(11));
    assert_eq!(actions(&mut service, at(11)), [poll()]);
    created(&mut service, [4, 5], at(12));
    assert_eq!(actions(&mut service, at(12)), [create([6])]);
}

#[test]
fn it_is_renewed_in_time_and_its_older_offers_are_replaced_and_deleted() {
    let mut service = published(3);
    let renewal = Deadline::new(at(48_000), DeadlineReason::Renewal);
    assert_eq!(service.poll_timeout(), Some(renewal));
    assert_eq!(actions(&mut service, at(47_999)), []);
    assert_eq!(actions(&mut service, at(48_000)), [publish(3)]);
    service.handle_published(OfferKey(3), TTL, at(48_000));
    assert_eq!(events(&mut service), [ServiceEvent::Refreshed]);
    assert_eq!(actions(&mut service, at(48_000)), [create([4, 5])]);
    created(&mut service, [4, 5], at(48_000));
    assert_eq!(actions(&mut service, at(48_000)), []);
    assert_eq!(service.open_offers(at(48_000)), 3);
    let offers = keys(0..3);
    let deleted = [ServiceAction::DeleteOffers { offers }];
    assert_eq!(actions(&mut service, at(53_000)), deleted);
}

#[test]
fn in_another_network_all_offers_are_replaced_at_once() {
    let mut service = published(2);
    service.handle_polled(&keys([0]), PollEnd::Waited, at(10));
    assert_eq!(actions(&mut service, at(10)), [create([2]), poll()]);
    // Both requests hang in the old network, and are made again.
    service.handle_network_change(at(20));
    assert_eq!(actions(&mut service, at(20)), [create([3, 4]), poll()]);
    created(&mut service, [3, 4], at(30));
    assert_eq!(actions(&mut service, at(30)), []);
    assert_eq!(service.open_offers(at(30)), 2);
    let deleted = ServiceAction::DeleteOffers { offers: keys([1]) };
    assert_eq!(actions(&mut service, at(5030)), [deleted]);
}

#[test]
fn another_network_ends_the_pauses_of_a_server_that_fails_but_not_those_it_asks_for() {
    let mut service = published(1);
    service.handle_poll_failed(ServiceRetry::Backoff, at(10));
    assert_eq!(actions(&mut service, at(10)), []);
    service.handle_network_change(at(20));
    assert_eq!(actions(&mut service, at(20)), [create([1]), short_poll()]);
    service.handle_write_failed(ServiceRetry::After(Duration::from_secs(3)), at(30));
    service.handle_network_change(at(40));
    assert_eq!(actions(&mut service, at(40)), [short_poll()]);
    assert_eq!(actions(&mut service, at(3030)), [create([2])]);
}

#[test]
fn the_surplus_of_a_renewal_is_deleted_once_nobody_takes_it_any_more() {
    let mut service = published(1);
    service.handle_polled(&keys([0]), PollEnd::Waited, at(30_000));
    let expected = [create([1]), poll()];
    assert_eq!(actions(&mut service, at(30_000)), expected);
    created(&mut service, [1], at(30_000));
    assert_eq!(actions(&mut service, at(48_000)), [publish(2)]);
    service.handle_published(OfferKey(2), TTL, at(48_000));
    assert_eq!(actions(&mut service, at(48_000)), []);
    // A dialer that has the older offer in its hands may still answer it.
    assert_eq!(actions(&mut service, at(52_999)), []);
    let offers = keys([1]);
    let deleted = [ServiceAction::DeleteOffers { offers }];
    assert_eq!(actions(&mut service, at(53_000)), deleted);
    assert_eq!(service.open_offers(at(53_000)), 1);
}

#[test]
fn a_server_that_answers_at_once_is_asked_eagerly_first_and_then_slowly() {
    let mut service = published(1);
    let mut polls = Vec::new();
    let mut now = at(0);
    while now < at(60_000) {
        service.handle_polled(&[], PollEnd::AtOnce, now);
        loop {
            now = service.poll_timeout().unwrap().at;
            let actions = actions(&mut service, now);
            if let Some(ServiceAction::Publish { offer }) = actions.first() {
                service.handle_published(*offer, TTL, now);
            }
            if actions.contains(&poll()) {
                break;
            }
            if actions.contains(&ServiceAction::Check) {
                service.handle_checked(Presence::Found, now);
            }
        }
        polls.push(now);
    }
    let of = |from, to| {
        polls
            .iter()
            .filter(|p| (at(from)..at(to)).contains(p))
            .count()
    };
    assert_eq!((of(0, 10_000), of(20_000, 40_000)), (39, 10));
}

#[test]
fn an_outage_is_reported_once_and_its_end_once() {
    let mut service = published(1);
    let mut now = at(1000);
    service.handle_poll_failed(ServiceRetry::Backoff, now);
    for _ in 0..4 {
        assert_eq!(actions(&mut service, now), []);
        let retry = service.poll_timeout().unwrap();
        assert_eq!(retry.reason, DeadlineReason::Poll);
        now = retry.at;
        assert_eq!(actions(&mut service, now), [short_poll()]);
        service.handle_poll_failed(ServiceRetry::Backoff, now);
    }
    assert_eq!(events(&mut service), [ServiceEvent::SignalingLost]);
    now = service.poll_timeout().unwrap().at;
    assert_eq!(actions(&mut service, now), [short_poll()]);
    service.handle_polled(&[], PollEnd::AtOnce, now);
    assert_eq!(events(&mut service), [ServiceEvent::SignalingBack]);
}

#[test]
fn a_server_that_fails_at_one_thing_only_is_not_reported_again_and_again() {
    let mut service = published(1);
    assert_eq!(actions(&mut service, at(48_000)), [publish(1)]);
    service.handle_write_failed(ServiceRetry::Backoff, at(48_000));
    for second in 49..60 {
        service.handle_polled(&[], PollEnd::Waited, at(second * 1000));
        let actions = actions(&mut service, at(second * 1000));
        assert!(actions.contains(&poll()), "{actions:?}");
        if let Some(ServiceAction::Publish { .. }) = actions.first() {
            service.handle_write_failed(ServiceRetry::Backoff, at(second * 1000));
        }
    }
    assert_eq!(events(&mut service), [ServiceEvent::SignalingLost]);
}

#[test]
fn after_an_outage_it_looks_whether_the_server_still_has_the_service() {
    let mut service = published(2);
    service.handle_poll_failed(ServiceRetry::Backoff, at(1000));
    let now = service.poll_timeout().unwrap().at;
    assert_eq!(actions(&mut service, now), [short_poll()]);
    service.handle_polled(&[], PollEnd::Waited, now);
    let expected = [poll(), ServiceAction::Check];
    assert_eq!(actions(&mut service, now), expected);
    service.handle_checked(Presence::Missing, now);
    assert_eq!(actions(&mut service, now), [publish(2)]);
    service.handle_published(OfferKey(2), TTL, now);
    assert_eq!(actions(&mut service, now), [create([3])]);
    let expected = [
        ServiceEvent::SignalingLost,
        ServiceEvent::SignalingBack,
        ServiceEvent::Published,
    ];
    assert_eq!(events(&mut service), expected);
}

#[test]
fn with_a_long_time_to_live_it_looks_after_the_service_every_minute() {
    let mut service = ServiceMachine::new(ServiceConfig::default(), 1);
    actions(&mut service, at(0));
    service.handle_published(OfferKey(0), TTL * 60, at(0));
    assert_eq!(actions(&mut service, at(0)), [poll()]);
    assert_eq!(actions(&mut service, at(60_000)), [ServiceAction::Check]);
    service.handle_checked(Presence::Found, at(60_000));
    assert_eq!(actions(&mut service, at(119_999)), []);
    assert_eq!(actions(&mut service, at(120_000)), [ServiceAction::Check]);
}

#[test]
fn a_forgotten_peer_publishes_again_and_its_offers_are_dropped() {
    let mut service = published(2);
    service.handle_poll_failed(ServiceRetry::StartOver, at(1000));
    let offers = keys(0..2);
    let expected = [ServiceAction::DropOffers { offers }, publish(2)];
    assert_eq!(actions(&mut service, at(1000)), expected);
    service.handle_published(OfferKey(2), TTL, at(1000));
    let expected = [create([3]), poll()];
    assert_eq!(actions(&mut service, at(1000)), expected);
    assert_eq!(events(&mut service), [ServiceEvent::Published]);
}

#[test]
fn a_server_that_has_forgotten_the_peer_is_back_all_the_same() {
    let mut service = published(1);
    service.handle_poll_failed(ServiceRetry::Backoff, at(1000));
    let now = service.poll_timeout().unwrap().at;
    assert_eq!(actions(&mut service, now), [short_poll()]);
    service.handle_poll_failed(ServiceRetry::StartOver, now);
    let offers = keys([0]);
    let expected = [ServiceAction::DropOffers { offers }, publish(1)];
    assert_eq!(actions(&mut service, now), expected);
    service.handle_published(OfferKey(1), TTL, now);
    let expected = [
        ServiceEvent::SignalingLost,
        ServiceEvent::SignalingBack,
        ServiceEvent::Published,
    ];
    assert_eq!(events(&mut service), expected);
}

#[test]
fn a_service_that_is_gone_is_published_again_and_answers_to_its_offers_are_still_heard() {
    let mut service = published(2);
    service.handle_polled(&keys([0]), PollEnd::Waited, at(1000));
    let expected = [create([2]), poll()];
    assert_eq!(actions(&mut service, at(1000)), expected);
    service.handle_write_failed(ServiceRetry::Publish, at(1000));
    assert_eq!(actions(&mut service, at(1000)), [publish(3)]);
    service.handle_published(OfferKey(3), TTL, at(1000));
    assert_eq!(actions(&mut service, at(1000)), [create([4])]);
    created(&mut service, [4], at(1000));
    service.handle_polled(&keys([1]), PollEnd::Waited, at(1001));
    assert_eq!(actions(&mut service, at(1001)), [poll()]);
}

#[test]
fn a_server_that_contradicts_itself_is_not_asked_without_end() {
    let mut service = published(2);
    service.handle_polled(&keys([0]), PollEnd::Waited, at(1000));
    let mut requests = 0;
    let mut now = at(1000);
    while now < at(31_000) {
        for action in actions(&mut service, now) {
            match action {
                ServiceAction::Publish { offer } => {
                    requests += 1;
                    service.handle_published(offer, TTL, now);
                }
                ServiceAction::CreateOffers { .. } => {
                    requests += 1;
                    service.handle_write_failed(ServiceRetry::Publish, now);
                }
                ServiceAction::Poll { .. }
                | ServiceAction::Check
                | ServiceAction::DropOffers { .. }
                | ServiceAction::DeleteOffers { .. } => {}
            }
        }
        now = service.poll_timeout().unwrap().at;
    }
    assert!((8..16).contains(&requests), "{requests}");
}

#[test]
fn a_pause_that_the_server_asks_for_is_kept_and_is_no_outage() {
    let mut service = published(1);
    service.handle_poll_failed(ServiceRetry::After(TTL / 2), at(1000));
    assert_eq!(actions(&mut service, at(30_999)), []);
    assert_eq!(actions(&mut service, at(31_000)), [poll()]);
    service.handle_poll_failed(ServiceRetry::After(Duration::ZERO), at(31_000));
    assert_eq!(actions(&mut service, at(31_000)), []);
    assert_eq!(events(&mut service), []);
}

#[test]
fn a_refused_service_asks_for_nothing_more() {
    let mut service = ServiceMachine::new(ServiceConfig::default(), 1);
    actions(&mut service, at(0));
    service.handle_write_failed(ServiceRetry::Never, at(0));
    assert_eq!(actions(&mut service, at(9000)), []);
    assert_eq!(service.poll_timeout(), None);
    assert_eq!(events(&mut service), [ServiceEvent::Refused]);
}

#[test]
fn a_lease_that_ends_in_an_outage_is_wanted_again() {
    let mut service = published(1);
    assert_eq!(actions(&mut service, at(48_000)), [publish(1)]);
    service.handle_write_failed(ServiceRetry::After(TTL), at(48_000));
    assert_eq!(actions(&mut service, at(60_000)), []);
    let offers = keys([0]);
    let dropped = [ServiceAction::DropOffers { offers }];
    assert_eq!(actions(&mut service, at(65_000)), dropped);
    assert_eq!(actions(&mut service, at(108_000)), [publish(2)]);
    service.handle_published(OfferKey(2), TTL, at(108_000));
    assert_eq!(events(&mut service), [ServiceEvent::Published]);
}

#[test]
fn a_server_that_wants_no_more_offers_does_not_end_the_service() {
    let mut service = published(1);
    service.handle_polled(&keys([0]), PollEnd::Waited, at(1000));
    assert_eq!(actions(&mut service, at(1000)), [create([1]), poll()]);
    service.handle_write_failed(ServiceRetry::After(TTL), at(1000));
    assert_eq!(actions(&mut service, at(47_999)), []);
    assert_eq!(actions(&mut service, at(48_000)), [publish(2)]);
    service.handle_published(OfferKey(2), TTL, at(48_000));
    assert_eq!(events(&mut service), [ServiceEvent::Refreshed]);
    service.handle_polled(&keys([2]), PollEnd::Waited, at(50_000));
    assert_eq!(actions(&mut service, at(50_000)), [poll()]);
    let due = service.poll_timeout().map(|deadline| deadline.at);
    assert_eq!(due, Some(at(61_000)));
    assert_eq!(actions(&mut service, at(61_000)), [create([3])]);
}
