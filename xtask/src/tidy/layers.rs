//! Who may depend on whom.
//!
//! ```text
//!             core
//!        /     |     \
//! signaling transport durable     none of them sees another
//!        \     |     /
//!           rondevu           laws (of the four above)
//! ```

use super::finding::Finding;
use super::manifests;
use crate::workspace::{Dependency, DependencyKind, Member};

/// One crate's place in the picture.
struct Layer {
    name: &'static str,
    /// The crates of ours it may depend on, be it only in tests.
    ours: &'static [&'static str],
    /// The crates of others that it and its build script must do without.
    forbidden: &'static [&'static [&'static str]],
}

const LAYERS: &[Layer] = &[
    Layer {
        name: "rondevu-core",
        ours: &[],
        forbidden: &[RUNTIME, WEB, ENGINE],
    },
    Layer {
        name: "rondevu-signaling",
        ours: &["rondevu-core"],
        forbidden: &[ENGINE],
    },
    Layer {
        name: "rondevu-transport",
        ours: &["rondevu-core"],
        forbidden: &[RUNTIME, WEB],
    },
    Layer {
        name: "rondevu-durable",
        ours: &["rondevu-core"],
        forbidden: &[RUNTIME, WEB, ENGINE],
    },
    Layer {
        name: "rondevu",
        ours: &[
            "rondevu-core",
            "rondevu-signaling",
            "rondevu-transport",
            "rondevu-durable",
        ],
        forbidden: &[],
    },
    Layer {
        name: "rondevu-laws",
        ours: &[
            "rondevu-core",
            "rondevu-signaling",
            "rondevu-transport",
            "rondevu-durable",
        ],
        forbidden: &[],
    },
    Layer {
        name: "xtask",
        ours: &[],
        forbidden: &[],
    },
];

/// Whoever runs tasks, sockets or threads, or fetches randomness, cannot be run at any speed and repeated.
const RUNTIME: &[&str] = &[
    "async-io",
    "async-std",
    "futures-executor",
    "getrandom",
    "mio",
    "quinn-udp",
    "rand",
    "smol",
    "socket2",
    "tokio",
    "tokio-util",
];

/// What only the signaling and the facade have to do with.
const WEB: &[&str] = &["async-trait", "axum", "hyper", "reqwest"];

/// Only the transport knows the WebRTC engines; they take minutes to build.
const ENGINE: &[&str] = &["dimpl", "is", "rtc-sctp", "rtc-shared", "str0m"];

/// The dependencies that `member` must not have. `manifest` is the text of its `Cargo.toml`.
pub(crate) fn forbidden_dependencies(member: &Member, manifest: &str) -> Vec<Finding> {
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == member.name) else {
        return vec![unknown_member(member)];
    };
    let dependencies = member.dependencies.iter();
    let wrong = dependencies.filter_map(|one| Some((one, objection(layer, one)?)));
    wrong
        .map(|(one, objection)| finding(member, manifest, one, objection))
        .collect()
}

fn unknown_member(member: &Member) -> Finding {
    Finding {
        path: member.manifest.clone(),
        line: 1,
        wrong: format!(
            "`{}` has no place in the picture of the crates",
            member.name
        ),
        remedy: "draw it in docs/ARCHITECTURE.md and add it to xtask/src/tidy/layers.rs".to_owned(),
    }
}

/// What to do instead of having `dependency`; nothing when it is allowed.
fn objection(layer: &Layer, dependency: &Dependency) -> Option<&'static str> {
    let name = dependency.name.as_str();
    // A crate may use itself with other features in its tests.
    let is_itself = name == layer.name && dependency.kind == DependencyKind::Dev;
    let is_ours = LAYERS.iter().any(|other| other.name == name);
    if is_ours && !is_itself && !layer.ours.contains(&name) {
        return Some("speak to it through values of rondevu-core, or join the two in rondevu");
    }
    let is_forbidden = layer.forbidden.iter().any(|list| list.contains(&name));
    if is_forbidden && dependency.kind != DependencyKind::Dev {
        return Some(
            "take what it would give as an argument, and use it in a crate nearer to the user",
        );
    }
    None
}

fn finding(member: &Member, manifest: &str, dependency: &Dependency, remedy: &str) -> Finding {
    Finding {
        path: member.manifest.clone(),
        line: manifests::line_of_dependency(manifest, &dependency.name),
        wrong: format!("`{}` must not depend on `{}`", member.name, dependency.name),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(crate_name: &str, dependency: &str, kind: DependencyKind) -> Vec<String> {
        let member = Member {
            name: crate_name.to_owned(),
            version: "0.1.0".to_owned(),
            manifest: format!("{crate_name}/Cargo.toml"),
            features: Vec::new(),
            is_published: true,
            dependencies: vec![Dependency {
                name: dependency.to_owned(),
                kind,
            }],
        };
        let manifest = format!("[package]\n\n[dependencies]\n{dependency}.workspace = true\n");
        let findings = forbidden_dependencies(&member, &manifest);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn tokio_in_durable_is_found() {
        let findings = found("rondevu-durable", "tokio", DependencyKind::Normal);
        assert_eq!(findings.len(), 1);
        let expected =
            "rondevu-durable/Cargo.toml:4: `rondevu-durable` must not depend on `tokio`; ";
        assert!(findings[0].starts_with(expected), "{findings:?}");
    }

    #[test]
    fn core_depends_on_none_of_ours() {
        for name in [
            "rondevu-signaling",
            "rondevu-transport",
            "rondevu-durable",
            "rondevu",
        ] {
            assert_eq!(
                found("rondevu-core", name, DependencyKind::Normal).len(),
                1,
                "{name}"
            );
        }
    }

    #[test]
    fn siblings_do_not_see_each_other_even_in_tests() {
        let siblings = ["rondevu-signaling", "rondevu-transport", "rondevu-durable"];
        for (one, other) in siblings.iter().flat_map(|a| siblings.map(|b| (*a, b))) {
            let allowed = one == other;
            let findings = found(one, other, DependencyKind::Dev);
            assert_eq!(findings.is_empty(), allowed, "{one} on {other}");
        }
    }

    #[test]
    fn the_facade_may_use_all_and_the_task_runner_none() {
        for layer in LAYERS
            .iter()
            .filter(|layer| !["rondevu", "rondevu-laws", "xtask"].contains(&layer.name))
        {
            assert!(found("rondevu", layer.name, DependencyKind::Normal).is_empty());
            assert_eq!(found("xtask", layer.name, DependencyKind::Build).len(), 1);
        }
        assert!(found("rondevu", "tokio", DependencyKind::Normal).is_empty());
    }

    #[test]
    fn the_engine_belongs_to_the_transport_alone() {
        assert!(found("rondevu-transport", "str0m", DependencyKind::Normal).is_empty());
        assert_eq!(
            found("rondevu-signaling", "str0m", DependencyKind::Normal).len(),
            1
        );
        assert_eq!(
            found("rondevu-transport", "reqwest", DependencyKind::Build).len(),
            1
        );
    }

    #[test]
    fn a_new_member_must_be_drawn_first() {
        assert_eq!(
            found("rondevu-extra", "bytes", DependencyKind::Normal).len(),
            1
        );
    }
}
