//! The texts of the working tree that the rules look at.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// All Rust sources, manifests and Markdown files, sorted by path; build products and hidden folders left out.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) files: Vec<TextFile>,
}

/// One file.
#[derive(Debug)]
pub(crate) struct TextFile {
    /// Relative to the root of the workspace, with `/` between the parts.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Tree {
    /// Reads the tree below `root`.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        read_folder(root, "", &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    /// The files whose names end in `.extension`.
    pub(crate) fn with_extension(&self, extension: &str) -> impl Iterator<Item = &TextFile> {
        self.files
            .iter()
            .filter(move |file| has_extension(&file.path, extension))
    }

    /// The text of the file at `path`; empty when there is none.
    pub(crate) fn text(&self, path: &str) -> &str {
        self.files
            .iter()
            .find(|file| file.path == path)
            .map_or("", |file| file.text.as_str())
    }
}

fn read_folder(root: &Path, folder: &str, files: &mut Vec<TextFile>) -> Result<()> {
    let full = root.join(folder);
    let entries = fs::read_dir(&full).with_context(|| format!("cannot list {}", full.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        let kind = entry.file_type()?;
        if kind.is_dir() && !is_left_out(&name) {
            read_folder(root, &path, files)?;
        } else if kind.is_file() && is_looked_at(&path) {
            let full = entry.path();
            let text = fs::read_to_string(&full);
            let text = text.with_context(|| format!("cannot read {}", full.display()))?;
            files.push(TextFile { path, text });
        }
    }
    Ok(())
}

fn is_left_out(folder: &str) -> bool {
    folder.starts_with('.') || folder == "target"
}

fn is_looked_at(path: &str) -> bool {
    ["rs", "md", "toml"]
        .iter()
        .any(|extension| has_extension(path, extension))
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|found| found == extension)
}
