//! What an implementation of the transport traits must do, as checks that any can be put to.

mod pair;

pub use pair::{Pair, Side};
