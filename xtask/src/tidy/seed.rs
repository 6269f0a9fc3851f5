//! The table of the TypeScript client's types names items and tests that exist.

use super::finding::Finding;
use super::tree::{TextFile, Tree};

/// The rows of `docs/SEED.md` that name an item or a test which no source file has.
pub(crate) fn unknown_names(tree: &Tree) -> Vec<Finding> {
    let sources: Vec<&TextFile> = tree.with_extension("rs").collect();
    let has = |text: &str| sources.iter().any(|file| file.text.contains(text));
    let tables = tree.files.iter().filter(|file| file.path == PATH);
    tables.flat_map(|table| unknown_in(table, &has)).collect()
}

fn unknown_in(table: &TextFile, has: &impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in table.text.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, _, rust, .., test, _] = &cells[..] else {
            continue;
        };
        let items = quoted(rust).filter_map(|item| item.rsplit_once("::"));
        let items = items.filter(|(_, member)| !is_there(member, has));
        let missing = items.map(|(owner, member)| format!("no item `{owner}::{member}`"));
        let tests = quoted(test).filter(|name| !has(&format!("fn {name}(")));
        for wrong in missing.chain(tests.map(|name| format!("no test `{name}`"))) {
            findings.push(Finding {
                path: table.path.clone(),
                line: index + 1,
                wrong: format!("there is {wrong}"),
                remedy: "correct the row; every name of the TypeScript client stays usable"
                    .to_owned(),
            });
        }
    }
    findings
}

/// As a function, a field or a variant.
fn is_there(member: &str, has: &impl Fn(&str) -> bool) -> bool {
    [
        "pub fn X(",
        "pub async fn X(",
        "pub X:",
        "    X {",
        "    X(",
        "    X,",
        "pub fn X<",
        "pub async fn X<",
    ]
    .iter()
    .any(|shape| has(&shape.replace('X', member)))
}

fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

const PATH: &str = "docs/SEED.md";

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(row: &str) -> Vec<String> {
        let table = TextFile {
            path: PATH.to_owned(),
            text: format!("| TypeScript | Rust | test |\n| --- | --- | --- |\n{row}\n"),
        };
        let source = "    pub fn events(&self)\n    Closed {\n#[test]\nfn closing() {";
        let found = unknown_in(&table, &|text: &str| source.contains(text));
        found
            .iter()
            .map(|one| format!("{}: {}", one.line, one.wrong))
            .collect()
    }

    #[test]
    fn rows_whose_names_exist_are_right() {
        let row = "| `'close'()` | `Events::Closed`, `X::events` and words | `closing` |";
        assert_eq!(unknown(row), Vec::<String>::new());
    }

    #[test]
    fn a_name_that_is_gone_is_found() {
        let row = "| `'close'()` | `Event::Ended` | `closing` |";
        assert_eq!(unknown(row), ["3: there is no item `Event::Ended`"]);
        let row = "| `'close'()` | `Event::Closed` | `ending` |";
        assert_eq!(unknown(row), ["3: there is no test `ending`"]);
    }
}
