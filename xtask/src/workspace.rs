//! The members of the workspace, their features and dependencies, as cargo sees them.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::Invocation;

/// All members, in cargo's order.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) members: Vec<Member>,
}

/// One package of the workspace.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The path of its `Cargo.toml`, relative to the root of the workspace.
    pub(crate) manifest: String,
    /// Features by name, `default` left out.
    pub(crate) features: Vec<String>,
    /// Whether it may go to a registry.
    pub(crate) is_published: bool,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency as written in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: DependencyKind,
}

/// When a dependency is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DependencyKind {
    /// By the crate itself.
    Normal,
    /// By its build script.
    Build,
    /// By its tests, examples and benchmarks alone.
    Dev,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Self> {
        Self::parse(&read_metadata()?)
    }

    /// Reads the output of `cargo metadata --format-version 1 --no-deps`.
    pub(crate) fn parse(metadata: &str) -> Result<Self> {
        let metadata = parse_metadata(metadata)?;
        let root = text(&metadata, "workspace_root")?;
        let members = list(&metadata, "packages")?
            .iter()
            .map(|package| parse_member(package, root));
        Ok(Self {
            members: members.collect::<Result<_>>()?,
        })
    }

    /// The members that are meant for a registry.
    pub(crate) fn published(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_published)
    }
}

/// The path of what cargo has built, `release/rondevu` for example: users may keep the target folder
/// elsewhere.
pub(crate) fn built(file: &str) -> Result<String> {
    let metadata = parse_metadata(&read_metadata()?)?;
    Ok(format!("{}/{file}", text(&metadata, "target_directory")?))
}

/// Builds all programs; the path of one of them, `rondevu` or `examples/soak` for example.
pub(crate) fn build_program(name: &str) -> Result<String> {
    build_programs()?;
    built(&format!("debug/{name}"))
}

/// Builds each program and example as the tests are built: any other choice of packages and features
/// would build the engines once more, which takes minutes. The task runner is running and stays as it is.
pub(crate) fn build_programs() -> Result<()> {
    Invocation::cargo("build --workspace --exclude xtask --all-features --bins --examples").run()
}

fn read_metadata() -> Result<String> {
    Invocation::cargo("metadata --format-version 1 --no-deps").read()
}

fn parse_metadata(metadata: &str) -> Result<Value> {
    serde_json::from_str(metadata).context("cargo metadata is no JSON")
}

fn parse_member(package: &Value, root: &str) -> Result<Member> {
    let manifest = text(package, "manifest_path")?;
    let features = package["features"]
        .as_object()
        .context("cargo metadata lacks `features`")?;
    let dependencies = list(package, "dependencies")?.iter().map(parse_dependency);
    Ok(Member {
        name: text(package, "name")?.to_owned(),
        version: text(package, "version")?.to_owned(),
        manifest: manifest
            .trim_start_matches(root)
            .trim_start_matches(['/', '\\'])
            .to_owned(),
        features: features
            .keys()
            .filter(|name| *name != "default")
            .cloned()
            .collect(),
        // An empty list of registries is `publish = false`.
        is_published: package["publish"]
            .as_array()
            .is_none_or(|list| !list.is_empty()),
        dependencies: dependencies.collect::<Result<_>>()?,
    })
}

fn parse_dependency(dependency: &Value) -> Result<Dependency> {
    let kind = match dependency["kind"].as_str() {
        Some("dev") => DependencyKind::Dev,
        Some("build") => DependencyKind::Build,
        Some(_) | None => DependencyKind::Normal,
    };
    Ok(Dependency {
        name: text(dependency, "name")?.to_owned(),
        kind,
    })
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field]
        .as_str()
        .with_context(|| format!("cargo metadata lacks the text `{field}`"))
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>> {
    value[field]
        .as_array()
        .with_context(|| format!("cargo metadata lacks the list `{field}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_features_and_dependencies_are_read() {
        let metadata = r#"{ "workspace_root": "/somewhere", "packages": [{
            "name": "rondevu-durable",
            "version": "0.1.0",
            "manifest_path": "/somewhere/rondevu-durable/Cargo.toml",
            "features": { "default": ["extra"], "extra": [] },
            "dependencies": [
                { "name": "bytes", "kind": null },
                { "name": "proptest", "kind": "dev" },
                { "name": "cc", "kind": "build" }
            ]
        }]}"#;
        let workspace = Workspace::parse(metadata).unwrap();
        let member = &workspace.members[0];
        assert_eq!(member.manifest, "rondevu-durable/Cargo.toml");
        assert_eq!(member.features, ["extra"]);
        let kinds: Vec<DependencyKind> = member.dependencies.iter().map(|one| one.kind).collect();
        assert_eq!(
            kinds,
            [
                DependencyKind::Normal,
                DependencyKind::Dev,
                DependencyKind::Build
            ]
        );
    }
}
