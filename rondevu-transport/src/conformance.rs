//! What an implementation of the transport traits must do, as checks that any can be put to.
//!
//! Each check is a function that takes a factory and panics if the links that it makes misbehave.
//! All run in virtual time over an emulated network; none reads a clock or opens a socket.
//! [`transport_conformance!`](crate::transport_conformance) makes a test of each.

mod closing;
mod hostile;
mod messages;
mod moving;
mod opening;
mod pair;

pub use closing::*;
pub use hostile::*;
pub use messages::*;
pub use moving::*;
pub use opening::*;
pub use pair::{Pair, Side};

/// Makes a test of each conformance check for the factory that an expression gives; with `moving`
/// before it, of those for links whose ends get, lose and hide addresses, which not every transport
/// can.
///
/// ```
/// # // A doctest is not built with cfg(test), so these tests are only expanded, not run.
/// use rondevu_transport::loopback::LoopbackFactory;
///
/// rondevu_transport::transport_conformance!(LoopbackFactory::new(1));
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! transport_conformance {
    ($factory:expr) => {
        $crate::transport_conformance! {
            @each $factory;
            both_sides_open_the_first_stream
            streams_open_from_both_sides_with_their_options
            each_side_knows_both_certificates
            an_open_offer_is_idle
            an_answer_is_taken_once
            unusable_descriptions_and_addresses_are_refused
            a_network_that_comes_back_is_found_soon
            a_peer_that_never_answers_is_given_up
            text_and_binary_arrive_in_order
            the_largest_message_passes_and_a_larger_one_is_refused
            a_full_buffer_refuses_and_calls_again
            a_stream_that_is_not_open_yet_refuses_and_calls_again
            a_link_that_has_rested_is_as_fast_as_before
            messages_survive_loss
            messages_survive_repetition_and_reordering
            an_outage_delays_messages_and_loses_none
            closing_a_stream_is_seen_by_the_peer_after_its_messages
            a_stream_closed_before_it_opened_never_opens
            closing_the_link_is_seen_by_the_peer
            a_closed_link_does_nothing
            an_offer_can_be_withdrawn
            strangers_change_nothing
            garbage_from_the_peers_address_changes_nothing
            corrupted_datagrams_end_one_link_at_most
            candidates_are_read_or_refused
        }
    };
    (moving $factory:expr) => {
        $crate::transport_conformance! {
            @each $factory;
            a_service_that_moves_keeps_its_link
            a_forger_cannot_hold_a_link_back
            an_address_that_is_found_later_is_told_and_used
            a_name_in_place_of_an_address_is_for_the_embedder
        }
    };
    (@each $factory:expr; $($check:ident)*) => {
        $(
            #[test]
            fn $check() {
                $crate::conformance::$check(&$factory);
            }
        )*
    };
}
