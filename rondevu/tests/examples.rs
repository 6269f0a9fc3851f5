//! Runs every example, so that none of them rots.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

use std::path::Path;

#[path = "../examples/browser_chat/main.rs"]
mod browser_chat;
#[path = "../examples/chat.rs"]
mod chat;
#[path = "../examples/echo.rs"]
mod echo;
#[path = "../examples/embedded_core.rs"]
mod embedded_core;
#[path = "../examples/file_transfer.rs"]
mod file_transfer;
#[path = "../examples/folder_signaling/main.rs"]
mod folder_signaling;
#[path = "../examples/game.rs"]
mod game;
#[path = "../examples/lan_only.rs"]
mod lan_only;
#[path = "../examples/own_transport/main.rs"]
mod own_transport;
#[path = "../examples/pinned_key.rs"]
mod pinned_key;
#[path = "../examples/rpc.rs"]
mod rpc;

#[test]
fn chat_for_many() {
    chat::main().unwrap();
}

#[test]
fn a_chat_in_the_browser() {
    browser_chat::main().unwrap();
}

#[test]
fn an_echo() {
    echo::main().unwrap();
}

#[test]
fn the_machines_without_tokio() {
    embedded_core::main().unwrap();
}

#[test]
fn a_file_transfer() {
    file_transfer::main().unwrap();
}

#[test]
fn signaling_over_a_folder() {
    folder_signaling::main().unwrap();
}

#[test]
fn a_game() {
    game::main().unwrap();
}

#[test]
fn a_local_network() {
    lan_only::main().unwrap();
}

#[test]
fn a_transport_of_ones_own() {
    own_transport::main().unwrap();
}

#[test]
fn a_pinned_key() {
    pinned_key::main().unwrap();
}

#[test]
fn remote_procedure_calls() {
    rpc::main().unwrap();
}

#[test]
fn no_example_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let this = include_str!("examples.rs");
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_run = this.contains(&format!("\nmod {name};\n"));
        // `cargo xtask bench` runs what measures.
        let elsewhere = RUN_ELSEWHERE.contains(&name) || name.ends_with("_bench");
        assert!(is_run != elsewhere, "{name} is run by no test, or by two");
        let lines = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
        if is_run && path.is_file() && !IS_LONGER.contains(&name) {
            assert!(
                lines(&path) < 100,
                "{name} is too long to be read at a glance"
            );
        }
    }
}

/// Examples that other commands run: `cargo xtask browser` and `cargo xtask soak`.
const RUN_ELSEWHERE: &[&str] = &["browser_peer", "soak"];

/// Those that show how to do what the crate does otherwise.
const IS_LONGER: &[&str] = &["embedded_core"];
