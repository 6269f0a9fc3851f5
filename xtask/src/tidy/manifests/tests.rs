//! Manifests that inherit, and manifests that decide for themselves.

use super::*;

const HEAD: &str = "[package]\nname = \"x\"\nversion.workspace = true\nedition.workspace = true\n\n\
                    [lints]\nworkspace = true\n\n";

fn found(rest: &str) -> Vec<String> {
    let findings = settings_not_inherited("x/Cargo.toml", &format!("{HEAD}{rest}"));
    findings
        .iter()
        .map(|finding| format!("{}: {}", finding.line, finding.wrong))
        .collect()
}

#[test]
fn every_way_to_inherit_a_dependency_is_known() {
    let rest = r#"
[dependencies]
bytes.workspace = true
serde = { workspace = true, optional = true }
tokio = { workspace = true, features = [ # several
    "net",
    "time",
] }

[dev-dependencies.proptest]
workspace = true

[target.'cfg(unix)'.dependencies]
url = { features = ["serde"], workspace = true }
tracing = { workspace = true }
"#;
    assert_eq!(found(rest), Vec::<String>::new());
}

#[test]
fn a_version_of_its_own_is_found_in_every_kind_of_table() {
    for table in [
        "dependencies",
        "dev-dependencies",
        "build-dependencies",
        "target.'cfg(unix)'.dependencies",
    ] {
        let findings = found(&format!("[{table}]\nbytes = \"1\"\n"));
        assert_eq!(
            findings,
            ["10: the dependency `bytes` does not come from the root manifest"],
            "{table}"
        );
    }
}

#[test]
fn a_table_for_one_dependency_is_reported_once() {
    let findings = found("[dependencies.bytes]\nversion = \"1\"\ndefault-features = false\n");
    assert_eq!(findings.len(), 1, "{findings:?}");
}

#[test]
fn a_version_after_a_long_value_is_found() {
    let findings =
        found("[dependencies]\na = { workspace = true, features = [\n  \"x\",\n] }\nb = \"1\"\n");
    assert_eq!(
        findings,
        ["13: the dependency `b` does not come from the root manifest"]
    );
}

#[test]
fn features_are_no_dependencies() {
    assert_eq!(
        found("[features]\ndefault = [\"std\"]\nstd = []\n"),
        Vec::<String>::new()
    );
}

#[test]
fn missing_lints_version_and_edition_are_found() {
    let manifest = "[package]\nname = \"x\"\nversion = \"1.0.0\"\nedition = { workspace = true }\n";
    let findings = settings_not_inherited("x/Cargo.toml", manifest);
    let wrong: Vec<&str> = findings
        .iter()
        .map(|finding| finding.wrong.as_str())
        .collect();
    assert_eq!(
        wrong,
        [
            "`package.version` does not come from the root manifest",
            "`lints` does not come from the root manifest",
        ]
    );
}

#[test]
fn lints_of_its_own_do_not_pass_for_inherited() {
    let manifest = "[package]\nversion.workspace = true\nedition.workspace = true\n\
                    [lints.rust]\nmissing_docs = \"allow\"\n";
    assert_eq!(settings_not_inherited("x/Cargo.toml", manifest).len(), 1);
}

#[test]
fn the_line_of_a_dependency_is_known_under_any_name() {
    let manifest = "[package]\nname = \"tokio\"\n\n[dependencies]\nrt = { package = \"tokio\" }\n\n\
                    [build-dependencies.cc]\nworkspace = true\n";
    assert_eq!(line_of_dependency(manifest, "tokio"), 5);
    assert_eq!(line_of_dependency(manifest, "cc"), 8);
    assert_eq!(line_of_dependency(manifest, "absent"), 1);
}
