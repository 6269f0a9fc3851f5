//! Relative links in Markdown files point to files that exist.

use super::finding::Finding;
use super::tree::TextFile;

/// The links of `file` whose target, asked for by its path from the root of the workspace, does not exist.
pub(crate) fn broken_links(file: &TextFile, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, target) in relative_links(&file.text) {
        let path = resolve(&file.path, &target);
        if !path.as_deref().is_some_and(&exists) {
            findings.push(Finding {
                path: file.path.clone(),
                line,
                wrong: format!("the link to `{target}` leads nowhere"),
                remedy: "correct the path, or add the file".to_owned(),
            });
        }
    }
    findings
}

/// The relative targets in `markdown` without their fragments, with their lines.
fn relative_links(markdown: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut is_fenced = false;
    for (index, line) in markdown.lines().enumerate() {
        let start = line.trim_start();
        if start.starts_with("```") || start.starts_with("~~~") {
            is_fenced = !is_fenced;
        }
        if !is_fenced {
            let targets = targets(line)
                .into_iter()
                .filter_map(|target| relative_path(&target));
            links.extend(targets.map(|target| (index + 1, target)));
        }
    }
    links
}

/// The targets of `[text](target)` and `[label]: target` in one line.
fn targets(line: &str) -> Vec<String> {
    let line = without_code(line);
    let mut targets: Vec<String> = line.split("](").skip(1).map(inline_target).collect();
    let definition = line
        .trim_start()
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]:"));
    if let Some((label, target)) = definition
        && !label.starts_with('^')
    {
        targets.extend(target.split_whitespace().next().map(str::to_owned));
    }
    targets
}

fn inline_target(after_bracket: &str) -> String {
    let end = after_bracket
        .find([')', ' '])
        .unwrap_or(after_bracket.len());
    after_bracket[..end].to_owned()
}

/// Every second part between back-quotes is code.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

fn relative_path(target: &str) -> Option<String> {
    let target = target.trim_matches(['<', '>']);
    let path = target.split('#').next().unwrap_or_default();
    let is_address = target.contains("://") || target.starts_with("mailto:");
    (!path.is_empty() && !is_address).then(|| path.to_owned())
}

/// `target` as seen from the root of the workspace; nothing when it leaves the workspace.
fn resolve(file: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    if target.starts_with('/') {
        parts.clear();
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    match parts.is_empty() {
        true => Some(".".to_owned()),
        false => Some(parts.join("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(text: &str) -> Vec<String> {
        let file = TextFile {
            path: "docs/GUIDE.md".to_owned(),
            text: text.to_owned(),
        };
        let exists = |path: &str| ["README.md", "docs/PROTOCOL.md", "docs"].contains(&path);
        broken_links(&file, exists)
            .iter()
            .map(|one| format!("{}: {}", one.line, one.wrong))
            .collect()
    }

    #[test]
    fn a_link_to_a_missing_file_is_found() {
        assert_eq!(
            broken("a\n[b](GONE.md) c"),
            ["2: the link to `GONE.md` leads nowhere"]
        );
        assert_eq!(
            broken("[b]: ../gone/GONE.md"),
            ["1: the link to `../gone/GONE.md` leads nowhere"]
        );
        assert_eq!(
            broken("[a](PROTOCOL.md) and [b](GONE.md#x \"title\")").len(),
            1
        );
    }

    #[test]
    fn links_are_relative_to_their_file() {
        let text = "[a](PROTOCOL.md#frames) [b](../README.md) [c](./PROTOCOL.md) [d](/README.md) [e](../docs/)";
        assert_eq!(broken(text), Vec::<String>::new());
        assert_eq!(broken("[a](README.md)").len(), 1);
    }

    #[test]
    fn a_link_out_of_the_workspace_is_broken() {
        assert_eq!(broken("[a](../../README.md)").len(), 1);
    }

    #[test]
    fn addresses_anchors_and_code_are_not_looked_at() {
        let text = "[a](https://example.org/x) [b](#below) [c](mailto:x@example.org) `[d](GONE.md)`\n\
                    ```text\n[e](GONE.md)\n```\n[^1]: A footnote.";
        assert_eq!(broken(text), Vec::<String>::new());
    }
}
