//! Cuts at any point, any number of them.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Send(bool),
    Step(bool),
    Pump,
    Read,
    Cut,
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => any::<bool>().prop_map(Op::Send),
        8 => any::<bool>().prop_map(Op::Step),
        3 => Just(Op::Pump),
        1 => Just(Op::Read),
        1 => Just(Op::Cut),
        1 => (1u64..1500).prop_map(Op::Wait),
    ]
}

/// Of one to four fragments.
fn numbered(n: u32) -> String {
    std::format!("message number {n} {}", "x".repeat(n as usize * 37 % 200))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Links die at any frame of greeting, replay and acknowledgement; both sides keep sending.
    #[test]
    fn every_message_arrives_once_and_in_order_on_both_sides(
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let mut config = ConnectionConfig { window_bytes: 600, ..ConnectionConfig::default() };
        config.backoff.attempts_max = None;
        config.fragment_bytes = 64;
        let mut pair = Pair::connected(config);
        let chat = channel(&mut pair);
        pair.settle();
        let mut sent = [0u32, 0];
        for op in ops {
            match op {
                Op::Send(dialer) => {
                    let side = usize::from(!dialer);
                    let from = if dialer { Role::Dialer } else { Role::Acceptor };
                    let text = numbered(sent[side]);
                    sent[side] += u32::from(pair.send(from, chat, &text));
                }
                Op::Step(dialer) => {
                    pair.pump();
                    if let Some(id) = pair.links.keys().next_back().copied() {
                        if dialer { pair.deliver_to_dialer(id); } else { pair.deliver_to_acceptor(id); }
                    }
                }
                Op::Pump => pair.pump(),
                Op::Read => pair.read(),
                Op::Cut => pair.cut_all(),
                Op::Wait(ms) => pair.wait(Duration::from_millis(ms)),
            }
        }
        pair.wait(Duration::from_secs(40));
        for (role, count) in [(Role::Acceptor, sent[0]), (Role::Dialer, sent[1])] {
            let expected: Vec<_> = (0..count).map(numbered).collect();
            prop_assert_eq!(pair.received(role), expected);
        }
    }
}
