//! `cargo xtask tidy`: the rules of this workspace that no compiler knows.
//!
//! Each rule is a function from texts to findings. All findings are printed before the task fails.

mod file_shape;
mod finding;
mod layers;
mod links;
mod manifests;
pub(crate) mod rust_text;
mod seed;
mod tree;
mod words;

use std::path::Path;

use anyhow::{Result, bail};

use crate::outcome::Outcome;
use crate::workspace::Workspace;
use finding::{Finding, Report};
use tree::{TextFile, Tree};

/// Checks all rules.
pub(crate) fn run() -> Result<Outcome> {
    let tree = Tree::load(Path::new("."))?;
    let workspace = Workspace::load()?;
    let mut report = Report::default();
    report.violations.extend(check_workspace(&workspace, &tree));
    report.violations.extend(seed::unknown_names(&tree));
    for file in tree.with_extension("rs") {
        check_rust_file(file, &mut report);
    }
    for file in tree.with_extension("md") {
        report
            .violations
            .extend(links::broken_links(file, |path| Path::new(path).exists()));
    }
    finish(&report, tree.files.len())
}

fn check_workspace(workspace: &Workspace, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in &workspace.members {
        let manifest = tree.text(&member.manifest);
        findings.extend(layers::forbidden_dependencies(member, manifest));
        findings.extend(manifests::settings_not_inherited(
            &member.manifest,
            manifest,
        ));
    }
    findings
}

fn check_rust_file(file: &TextFile, report: &mut Report) {
    report.violations.extend(file_shape::missing_head(file));
    report
        .violations
        .extend(file_shape::meaningless_name(&file.path));
    report.violations.extend(file_shape::too_long(file));
    report.warnings.extend(file_shape::getting_long(file));
    report.violations.extend(words::forbidden_words(file));
}

fn finish(report: &Report, files: usize) -> Result<Outcome> {
    for warning in &report.warnings {
        println!("warning: {warning}");
    }
    for violation in &report.violations {
        println!("{violation}");
    }
    let count = report.violations.len();
    if count > 0 {
        bail!(
            "{count} violation(s) of the rules of this workspace; each line above says what to do"
        );
    }
    println!("{files} files follow the rules");
    Ok(Outcome::Done)
}
