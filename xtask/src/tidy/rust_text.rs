//! What of a Rust source is code, and what of the code is only there in tests.

/// `source` with comments, strings and characters replaced by spaces. Lines keep their numbers.
pub(crate) fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        let follows_name = code.ends_with(is_name_char);
        let length = match opaque_length(rest, follows_name) {
            Some(length) => {
                code.push_str(&blank(&rest[..length]));
                length
            }
            None => {
                code.push(next);
                next.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    code
}

/// `code`, from [`code_only`], with the items marked `#[cfg(test)]` replaced by spaces.
pub(crate) fn without_test_items(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(TEST_MARK) {
        let after = start + TEST_MARK.len();
        let end = after + item_length(&rest[after..]);
        kept.push_str(&rest[..start]);
        kept.push_str(&blank(&rest[start..end]));
        rest = &rest[end..];
    }
    kept + rest
}

/// Whether `c` can stand in a name.
pub(crate) fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

const TEST_MARK: &str = "#[cfg(test)]";

/// The length of the comment, string or character that `rest` begins with, if it does.
fn opaque_length(rest: &str, follows_name: bool) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment_length(rest));
    }
    if !follows_name && let Some(length) = raw_string_length(rest) {
        return Some(length);
    }
    if rest.starts_with('"') {
        return Some(quoted_length(rest, '"'));
    }
    is_character(rest).then(|| quoted_length(rest, '\''))
}

/// Block comments nest.
fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let step = &rest.as_bytes()[at..];
        match step {
            [b'/', b'*', ..] => depth += 1,
            [b'*', b'/', ..] => depth -= 1,
            [..] => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// `r"…"`, `br#"…"#` and the like, which know no escapes.
fn raw_string_length(rest: &str) -> Option<usize> {
    let marked = rest
        .strip_prefix(['b', 'c'])
        .unwrap_or(rest)
        .strip_prefix('r')?;
    let inside = marked.trim_start_matches('#').strip_prefix('"')?;
    let hashes = marked.len() - inside.len() - 1;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - inside.len();
    Some(
        inside
            .find(&end)
            .map_or(rest.len(), |found| start + found + end.len()),
    )
}

/// Of two things that begin with a quote, a lifetime is not closed after one character.
fn is_character(rest: &str) -> bool {
    let mut chars = rest.chars();
    chars.next() == Some('\'')
        && match chars.next() {
            Some('\\') => true,
            Some(_) => chars.next() == Some('\''),
            None => false,
        }
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == quote && !is_escaped {
            return at + c.len_utf8();
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    rest.len()
}

fn blank(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\n' { '\n' } else { ' ' })
        .collect()
}

/// The length of the item at the start of `code`: up to its closing brace, or up to a `;` outside of all brackets.
fn item_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 && (c == '}' || c == ';') {
            return at + 1;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    #[test]
    fn comments_are_no_code() {
        let source = "a // b\n/* c /* d */ e */ f\n/// g\nh";
        assert_eq!(words(&code_only(source)), ["a", "f", "h"]);
        assert_eq!(code_only(source).lines().count(), 4);
    }

    #[test]
    fn strings_and_characters_are_no_code() {
        let source = r##"a("b \" c", r#"d " e"#, b"f", '"', '\'', 'g') + h"##;
        let code: String = code_only(source).split_whitespace().collect();
        assert_eq!(code, "a(,,b,,,)+h");
    }

    #[test]
    fn lifetimes_and_raw_names_are_code() {
        let source = "fn f<'a>(x: &'a str, r#type: &'static str) { 'b' }";
        assert_eq!(code_only(source), source.replace("'b'", "   "));
    }

    #[test]
    fn an_unclosed_comment_or_string_ends_with_the_file() {
        assert_eq!(code_only("a /* b").trim(), "a");
        assert_eq!(code_only("a \"b").trim(), "a");
    }

    #[test]
    fn test_items_are_left_out() {
        let code = "a\n#[cfg(test)]\n#[rustfmt::skip]\nmod tests { b { c } }\nd\n#[cfg(test)]\nmod tests;\ne";
        assert_eq!(words(&without_test_items(code)), ["a", "d", "e"]);
        assert_eq!(
            without_test_items(code).lines().count(),
            code.lines().count()
        );
    }

    #[test]
    fn a_semicolon_in_an_array_type_does_not_end_a_test_item() {
        let code = "#[cfg(test)] fn f(x: [u8; 4]) { b } c";
        assert_eq!(words(&without_test_items(code)), ["c"]);
    }
}
