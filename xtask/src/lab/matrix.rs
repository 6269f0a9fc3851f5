//! Who connects with whom: each kind of NAT with each.

use std::path::Path;

use anyhow::{Result, bail};

use super::nat::Nat;
use super::network::{Internet, Side};
use super::peers::Pair;
use super::servers::{IP, Servers};

/// Connects each pair of NATs, prints the table, and fails if one did not connect, or took a relay
/// although it had no need to.
pub(super) fn run(internet: &Internet, _servers: &Servers) -> Result<()> {
    let folder = Path::new("/run/lab");
    println!(
        "\n{:<20}{:<20}{:>8}  path of the dialer",
        "listens behind", "dials behind", "ms"
    );
    let mut wrong = Vec::new();
    let mut number = 0;
    for (index, a) in Nat::ALL.into_iter().enumerate() {
        for b in Nat::ALL.into_iter().skip(index) {
            number += 1;
            internet.side(Side::A, a)?;
            internet.side(Side::B, b)?;
            let verdict = match Pair::connect(folder, number, &words(), &words()) {
                Ok(pair) => {
                    let path = match a.is_direct(b) {
                        true => pair.direct_path()?,
                        false => pair.path.clone(),
                    };
                    println!("{a:<20}{b:<20}{:>8}  {path}", pair.took.as_millis());
                    let relayed = path.contains("relay ");
                    (relayed && a.is_direct(b)).then(|| "relayed without need".to_owned())
                }
                Err(error) => {
                    println!("{a:<20}{b:<20}{:>8}  {error:#}", "-");
                    Some("not connected".to_owned())
                }
            };
            wrong.extend(verdict.map(|what| format!("{a} with {b}: {what}")));
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    println!("{number} of {number} connected");
    Ok(())
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
