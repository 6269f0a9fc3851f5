//! `cargo xtask api`: the public items of each crate, beside the list in `docs/api` that a change must update.
//!
//! The workspace warns of `pub` items that cannot be reached, so what is `pub` in a source is public. The lists are
//! made from the sources, formatted as `cargo fmt` does: no other tool and no other compiler is needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;
use crate::tidy::rust_text::{code_only, without_test_items};
use crate::workspace::Workspace;

/// What to do with the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Fail where they differ from the sources.
    Check,
    /// Write them anew.
    Update,
}

/// Compares, as one step of `cargo xtask ci`.
pub(crate) fn check() -> Result<Outcome> {
    run(Mode::Check)
}

/// Compares the lists with the sources, or writes them.
pub(crate) fn run(mode: Mode) -> Result<Outcome> {
    let mut changes = 0;
    for library in Workspace::load()?.published() {
        let mut items = BTreeSet::new();
        collect(&Path::new(&library.name).join("src"), &mut items)?;
        let list = Path::new("docs/api").join(format!("{}.txt", library.name));
        if mode == Mode::Update {
            let text: String = items.iter().map(|item| format!("{item}\n")).collect();
            fs::create_dir_all("docs/api")?;
            fs::write(&list, text)?;
            continue;
        }
        let known = fs::read_to_string(&list).with_context(|| {
            format!(
                "cannot read {}; `cargo xtask api --update` makes it",
                list.display()
            )
        })?;
        let known: BTreeSet<String> = known.lines().map(str::to_owned).collect();
        for gone in known.difference(&items) {
            println!("{}: - {gone}", library.name);
        }
        for new in items.difference(&known) {
            println!("{}: + {new}", library.name);
        }
        changes += known.symmetric_difference(&items).count();
    }
    if changes > 0 {
        bail!(
            "{changes} public items changed; if that is meant, run `cargo xtask api --update` and add a line to CHANGELOG.md"
        );
    }
    Ok(Outcome::Done)
}

fn collect(folder: &Path, items: &mut BTreeSet<String>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        match path.is_dir() {
            true if !["bin", "tests"].contains(&name) => collect(&path, items)?,
            false if name.ends_with(".rs") && name != "tests.rs" => {
                let code = without_test_items(&code_only(&fs::read_to_string(&path)?));
                items.extend(public_items(&code));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The public items in formatted code, each on one line with the block that it stands in.
fn public_items(code: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut blocks: Vec<Block> = Vec::new();
    let mut head = String::new();
    for line in code.lines() {
        let text = line.trim();
        if text.is_empty() || text.starts_with("#[") || text.starts_with("#![") {
            continue;
        }
        if !head.is_empty() {
            head.push(' ');
        }
        head.push_str(text);
        let is_whole = text.ends_with(['{', ';', '}', ',']) && balanced(&head);
        if !is_whole {
            continue;
        }
        let whole = std::mem::take(&mut head);
        let closes = whole.starts_with('}');
        if closes {
            blocks.pop();
        }
        let kind = blocks.last().map_or(Inside::Module, |block| block.inside);
        let is_item = match kind {
            Inside::Module | Inside::Implementation => whole.starts_with("pub "),
            Inside::Interface => ["pub ", "fn ", "async fn "]
                .iter()
                .any(|start| whole.starts_with(start)),
            Inside::Enumeration => !closes,
            Inside::Code => false,
        };
        if is_item {
            let place: String = blocks
                .iter()
                .map(|block| format!("{}: ", block.name))
                .collect();
            items.push(format!("{place}{}", signature(&whole)));
        }
        for c in whole.chars().skip(usize::from(closes)) {
            match c {
                '{' => blocks.push(Block::of(&whole, kind)),
                '}' => drop(blocks.pop()),
                _ => {}
            }
        }
    }
    items
}

#[derive(Debug)]
struct Block {
    name: String,
    inside: Inside,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// Modules and structures: what is public says so.
    Module,
    Implementation,
    /// A public trait or variant: all that is in it is public.
    Interface,
    /// A public enumeration.
    Enumeration,
    /// Whatever is not public.
    Code,
}

impl Block {
    fn of(head: &str, around: Inside) -> Self {
        let inside = match head {
            _ if around == Inside::Code => Inside::Code,
            _ if around == Inside::Enumeration => Inside::Enumeration,
            _ if head.starts_with("pub enum ") => Inside::Enumeration,
            _ if head.starts_with("pub trait ") => Inside::Interface,
            _ if head.starts_with("pub struct ") || head.starts_with("pub mod ") => Inside::Module,
            // The methods of a trait are known by the trait.
            _ if head.starts_with("impl") && !head.contains(" for ") => Inside::Implementation,
            _ => Inside::Code,
        };
        let name = head.trim_end_matches('{').trim();
        Self {
            name: name.trim_start_matches("pub ").to_owned(),
            inside,
        }
    }
}

/// Without a body.
fn signature(whole: &str) -> &str {
    whole.trim_end_matches(['{', ';', ',']).trim()
}

/// Whether all brackets but a last `{` are closed.
fn balanced(text: &str) -> bool {
    let count = |open: char, close: char| {
        let of = |which: char| text.chars().filter(|c| *c == which).count();
        of(open) == of(close)
    };
    count('(', ')') && count('[', ']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_public_is_listed_with_its_place() {
        let code = "pub struct Cable {\n    pub length: u32,\n    hidden: u8,\n}\nimpl Cable {\n    pub fn cut(\n        &self,\n    ) -> bool {\n        let pub_x = 1;\n        true\n    }\n    fn heal(&self) {\n    }\n}\n\
            pub enum End {\n    Here,\n    There {\n        at: u32,\n    },\n}\npub(crate) fn no() {\n}\npub trait Plug {\n    fn pull(&self);\n}\nimpl Plug for Cable {\n    fn pull(&self) {\n    }\n}\n";
        assert_eq!(
            public_items(code),
            [
                "pub struct Cable",
                "struct Cable: pub length: u32",
                "impl Cable: pub fn cut( &self, ) -> bool",
                "pub enum End",
                "enum End: Here",
                "enum End: There",
                "enum End: There: at: u32",
                "pub trait Plug",
                "trait Plug: fn pull(&self)",
            ]
        );
    }
}
