//! Versions and lints stand in the root manifest alone; members inherit them.
//!
//! Reads manifests line by line: enough for `cargo`-style TOML, and every finding knows its line.

use super::finding::Finding;

/// Everything that `manifest`, the text of a member's `Cargo.toml` at `path`, decides by itself though it
/// must come from the root.
pub(crate) fn settings_not_inherited(path: &str, manifest: &str) -> Vec<Finding> {
    let entries = entries(manifest);
    let mut findings = Vec::new();
    for table in ["version", "edition"] {
        findings.extend(missing_inheritance(path, &entries, "package", table));
    }
    findings.extend(missing_inheritance(path, &entries, "lints", ""));
    findings.extend(own_versions(path, &entries));
    findings
}

/// The line that names the dependency `name`; 1 when there is none.
pub(crate) fn line_of_dependency(manifest: &str, name: &str) -> usize {
    let entries = entries(manifest);
    let of_dependency = |entry: &&Entry| {
        dependency_name(entry) == Some(name) || entry.value.contains(&format!("package=\"{name}\""))
    };
    entries
        .iter()
        .find(of_dependency)
        .map_or(1, |entry| entry.line)
}

/// `key = value` in the table `table`. A dotted key is split: `a.b = 1` in `[t]` is `b = 1` in `[t.a]`.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    line: usize,
    table: String,
    key: String,
    /// Without white space, on one line.
    value: String,
}

fn entries(manifest: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut table = String::new();
    let mut depth = 0;
    for (index, line) in manifest.lines().enumerate() {
        let line: String = without_comment(line).split_whitespace().collect();
        if depth > 0 {
            // The rest of a value that spans lines.
            if let Some(entry) = entries.last_mut() {
                entry.value.push_str(&line);
            }
        } else if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).to_owned();
            continue;
        } else if let Some((key, value)) = line.split_once('=') {
            entries.push(entry(index + 1, &table, key, value));
        }
        depth += bracket_balance(&line);
    }
    entries
}

fn entry(line: usize, table: &str, key: &str, value: &str) -> Entry {
    let (table, key) = match key.rsplit_once('.') {
        Some((outer, key)) => (format!("{table}.{outer}"), key),
        None => (table.to_owned(), key),
    };
    Entry {
        line,
        table,
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

/// Good enough for manifests: a `#` inside of a string stands there only in addresses.
fn without_comment(line: &str) -> &str {
    match line
        .find(" #")
        .or_else(|| line.starts_with('#').then_some(0))
    {
        Some(start) => &line[..start],
        None => line,
    }
}

fn bracket_balance(line: &str) -> i32 {
    line.chars()
        .map(|c| {
            if "[{".contains(c) {
                1
            } else if "]}".contains(c) {
                -1
            } else {
                0
            }
        })
        .sum()
}

fn missing_inheritance(path: &str, entries: &[Entry], table: &str, key: &str) -> Option<Finding> {
    let dotted = if key.is_empty() {
        table.to_owned()
    } else {
        format!("{table}.{key}")
    };
    let is_inherited = entries.iter().any(|entry| {
        (entry.table == dotted && entry.key == "workspace" && entry.value == "true")
            || (entry.table == table && entry.key == key && inherits(&entry.value))
    });
    if is_inherited {
        return None;
    }
    let place = entries.iter().find(|entry| entry.table.starts_with(table));
    Some(Finding {
        path: path.to_owned(),
        line: place.map_or(1, |entry| entry.line),
        wrong: format!("`{dotted}` does not come from the root manifest"),
        remedy: match key {
            "" => format!("write `workspace = true` below `[{table}]`"),
            key => format!("write `{key}.workspace = true` below `[{table}]`"),
        },
    })
}

fn inherits(value: &str) -> bool {
    value
        .split(['{', ',', '}'])
        .any(|part| part == "workspace=true")
}

fn own_versions(path: &str, entries: &[Entry]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry in entries {
        let Some(name) = dependency_name(entry) else {
            continue;
        };
        let is_first = !findings
            .iter()
            .any(|(known, _)| *known == (&entry.table, name));
        if is_first && !is_dependency_inherited(entries, entry) {
            findings.push(((&entry.table, name), own_version(path, entry.line, name)));
        }
    }
    findings.into_iter().map(|(_, finding)| finding).collect()
}

fn own_version(path: &str, line: usize, name: &str) -> Finding {
    Finding {
        path: path.to_owned(),
        line,
        wrong: format!("the dependency `{name}` does not come from the root manifest"),
        remedy: format!(
            "put it into `[workspace.dependencies]` of the root and write `{name}.workspace = true`"
        ),
    }
}

fn is_dependency_inherited(entries: &[Entry], entry: &Entry) -> bool {
    if is_dependency_list(&entry.table) {
        return inherits(&entry.value);
    }
    let same = entries.iter().filter(|other| other.table == entry.table);
    same.into_iter()
        .any(|other| other.key == "workspace" && other.value == "true")
}

/// The dependency that `entry` is about: `name = …` in `[dependencies]`, or anything in `[dependencies.name]`.
fn dependency_name(entry: &Entry) -> Option<&str> {
    if is_dependency_list(&entry.table) {
        return Some(&entry.key);
    }
    let (list, name) = entry.table.rsplit_once('.')?;
    is_dependency_list(list).then_some(name)
}

fn is_dependency_list(table: &str) -> bool {
    let last = table.rsplit('.').next().unwrap_or(table);
    ["dependencies", "dev-dependencies", "build-dependencies"].contains(&last)
}

#[cfg(test)]
mod tests;
