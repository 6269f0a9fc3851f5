//! How a Rust file begins, what it is called and how long it may be.

use super::finding::Finding;
use super::tree::TextFile;

/// Every file says first, in a `//!` sentence, what it is for.
pub(crate) fn missing_head(file: &TextFile) -> Option<Finding> {
    if file.text.trim_start().starts_with("//!") {
        return None;
    }
    Some(Finding {
        path: file.path.clone(),
        line: 1,
        wrong: "the file does not begin with `//!`".to_owned(),
        remedy: "say in one sentence what it is for".to_owned(),
    })
}

/// A name says what is inside; the names listed below say nothing, so anything ends up there.
pub(crate) fn meaningless_name(path: &str) -> Option<Finding> {
    let stems = path
        .split('/')
        .map(|part| part.strip_suffix(".rs").unwrap_or(part));
    let name = stems
        .into_iter()
        .find(|stem| MEANINGLESS_NAMES.contains(stem))?;
    Some(Finding {
        path: path.to_owned(),
        line: 1,
        wrong: format!("`{name}` names no concept"),
        remedy: "name the file after the thing that a reader looks for".to_owned(),
    })
}

/// Above this nobody reads a file from the top.
pub(crate) fn too_long(file: &TextFile) -> Option<Finding> {
    length_finding(file, LINES_MAX + 1, usize::MAX)
}

/// A long file that is still allowed.
pub(crate) fn getting_long(file: &TextFile) -> Option<Finding> {
    length_finding(file, LINES_WARNING, LINES_MAX)
}

fn length_finding(file: &TextFile, from: usize, to: usize) -> Option<Finding> {
    let lines = file.text.lines().count();
    if !(from..=to).contains(&lines) {
        return None;
    }
    Some(Finding {
        path: file.path.clone(),
        line: lines,
        wrong: format!("the file has {lines} lines, of {LINES_MAX} allowed"),
        remedy: "move a state or a policy into a file of its own, with its tests".to_owned(),
    })
}

const MEANINGLESS_NAMES: [&str; 5] = ["utils", "helpers", "common", "types", "manager"];

const LINES_MAX: usize = 800;

/// From here on a file is listed, while there is still time to divide it calmly.
const LINES_WARNING: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> TextFile {
        TextFile {
            path: "rondevu/src/pump.rs".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_file_without_a_head_is_found() {
        assert!(missing_head(&file("use std::fmt;\n")).is_some());
        assert!(missing_head(&file("// not this\n")).is_some());
        assert!(missing_head(&file("")).is_some());
        assert_eq!(missing_head(&file("//! Moves things.\n")), None);
    }

    #[test]
    fn a_meaningless_name_is_found_for_files_and_folders() {
        assert!(meaningless_name("rondevu/src/utils.rs").is_some());
        assert!(meaningless_name("rondevu/tests/common/mod.rs").is_some());
        assert_eq!(meaningless_name("rondevu/src/uncommon.rs"), None);
    }

    #[test]
    fn length_is_first_warned_about_then_forbidden() {
        let long = |lines: usize| file(&"x\n".repeat(lines));
        assert_eq!(getting_long(&long(499)), None);
        assert!(getting_long(&long(500)).is_some());
        assert!(getting_long(&long(800)).is_some());
        assert_eq!(too_long(&long(800)), None);
        assert_eq!(getting_long(&long(801)), None);
        assert!(too_long(&long(801)).is_some());
    }
}
