//! Who connects with whom: each kind of NAT with each.

use std::path::Path;

use anyhow::{Result, bail};

use super::nat::Nat;
use super::network::{Internet, Side};
use super::peers::Pair;
use super::servers::{IP, Servers};

/// Connects each pair of NATs, prints the table, and fails if one did not connect, or took a relay
/// two times although it had no need to: on a busy machine ICE may settle before the check of the
/// direct path has come through.
pub(super) fn run(internet: &Internet, servers: &Servers) -> Result<()> {
    println!(
        "\n{:<20}{:<20}{:>8}  path of the dialer",
        "listens behind", "dials behind", "ms"
    );
    let mut wrong = Vec::new();
    let (mut number, mut connected) = (0, 0);
    for (index, a) in Nat::ALL.into_iter().enumerate() {
        for b in Nat::ALL.into_iter().skip(index) {
            number += 1;
            internet.side(Side::A, a)?;
            internet.side(Side::B, b)?;
            let mut verdict = try_pair(servers, number, a, b)?;
            if verdict == Verdict::Relayed {
                number += 1;
                verdict = try_pair(servers, number, a, b)?;
            }
            match verdict {
                Verdict::Right => connected += 1,
                Verdict::Relayed => wrong.push(format!("{a} with {b}: relayed without need")),
                Verdict::Failed => wrong.push(format!("{a} with {b}: not connected")),
            }
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    println!("all {connected} pairs connected");
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Right,
    /// Although there is a direct path.
    Relayed,
    Failed,
}

/// Connects once and prints a line of the table.
fn try_pair(servers: &Servers, number: usize, a: Nat, b: Nat) -> Result<Verdict> {
    let (program, folder) = (&servers.program, Path::new("/run/lab"));
    let pair = match Pair::connect(program, folder, number, &words(), &words()) {
        Ok(pair) => pair,
        Err(error) => {
            println!("{a:<20}{b:<20}{:>8}  {error:#}", "-");
            return Ok(Verdict::Failed);
        }
    };
    let path = match a.is_direct(b) {
        true => pair.direct_path()?,
        false => pair.path.clone(),
    };
    println!("{a:<20}{b:<20}{:>8}  {path}", pair.took.as_millis());
    Ok(match path.contains("relay ") && a.is_direct(b) {
        true => Verdict::Relayed,
        false => Verdict::Right,
    })
}

/// The servers, as everybody names them here.
fn words() -> Vec<&'static str> {
    // One address literal serves all three.
    debug_assert_eq!(IP, "203.0.113.10");
    vec![
        "--ice-server",
        "turn:203.0.113.10",
        "--ice-server",
        "turn:203.0.113.10?transport=tcp",
    ]
}
