//! No clock, randomness, socket, thread or runtime in the crates that hold machines.

use super::finding::Finding;
use super::rust_text::{code_only, is_name_char, without_test_items};
use super::tree::TextFile;

/// What must not stand in code.
struct Word {
    text: &'static str,
    end: End,
    place: Place,
    remedy: &'static str,
}

/// What may follow the text of a word for the word to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Anything: `tokio` is found in `tokio_util`.
    Open,
    /// Nothing that can stand in a name.
    Whole,
    /// A small letter, as in the name of a function; a type is allowed.
    Function,
}

/// Where a word is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Everywhere,
    /// Tests may have it: the first `now` of a run must come from somewhere.
    OutsideTests,
}

const FOLDERS: [&str; 3] = [
    "rondevu-core/src/",
    "rondevu-transport/src/",
    "rondevu-durable/src/",
];

const TIME: &str = "take `now` as the last argument";
const RUNTIME: &str = "return what is to be done; the facade does it";
const RANDOMNESS: &str = "take a seed in `new` and use a generator of your own";

const WORDS: &[Word] = &[
    Word {
        text: "Instant::now",
        end: End::Whole,
        place: Place::OutsideTests,
        remedy: TIME,
    },
    Word {
        text: "SystemTime::now",
        end: End::Whole,
        place: Place::OutsideTests,
        remedy: TIME,
    },
    Word {
        text: ".elapsed()",
        end: End::Open,
        place: Place::OutsideTests,
        remedy: TIME,
    },
    Word {
        text: "tokio",
        end: End::Open,
        place: Place::Everywhere,
        remedy: RUNTIME,
    },
    Word {
        text: "UdpSocket",
        end: End::Whole,
        place: Place::Everywhere,
        remedy: RUNTIME,
    },
    Word {
        text: "TcpStream",
        end: End::Whole,
        place: Place::Everywhere,
        remedy: RUNTIME,
    },
    Word {
        text: "thread::spawn",
        end: End::Whole,
        place: Place::Everywhere,
        remedy: RUNTIME,
    },
    Word {
        text: "thread::sleep",
        end: End::Whole,
        place: Place::Everywhere,
        remedy: RUNTIME,
    },
    Word {
        text: "rand::",
        end: End::Open,
        place: Place::Everywhere,
        remedy: RANDOMNESS,
    },
    Word {
        text: "getrandom",
        end: End::Open,
        place: Place::Everywhere,
        remedy: RANDOMNESS,
    },
    Word {
        text: "fastrand::",
        end: End::Function,
        place: Place::Everywhere,
        remedy: RANDOMNESS,
    },
    // These two take their seed from the system.
    Word {
        text: "Rng::new()",
        end: End::Open,
        place: Place::Everywhere,
        remedy: RANDOMNESS,
    },
    Word {
        text: "Rng::default()",
        end: End::Open,
        place: Place::Everywhere,
        remedy: RANDOMNESS,
    },
];

/// The forbidden words in `file`, which may lie in any crate.
pub(crate) fn forbidden_words(file: &TextFile) -> Vec<Finding> {
    if !FOLDERS.iter().any(|folder| file.path.starts_with(folder)) {
        return Vec::new();
    }
    let code = code_only(&file.text);
    let untested = if is_test_file(&file.path) {
        String::new()
    } else {
        without_test_items(&code)
    };
    let everywhere = words_in(&file.path, &code, Place::Everywhere);
    let outside = words_in(&file.path, &untested, Place::OutsideTests);
    let mut findings: Vec<Finding> = everywhere.chain(outside).collect();
    findings.sort_by_key(|finding| finding.line);
    findings
}

fn is_test_file(path: &str) -> bool {
    path.split('/')
        .any(|part| part == "tests.rs" || part == "tests")
}

fn words_in(path: &str, code: &str, place: Place) -> impl Iterator<Item = Finding> {
    let lines = code.lines().enumerate();
    lines.flat_map(move |(index, line)| {
        let words = WORDS
            .iter()
            .filter(move |word| word.place == place && is_in(word, line));
        words.map(move |word| Finding {
            path: path.to_owned(),
            line: index + 1,
            wrong: format!("`{}` has no place in a machine", word.text),
            remedy: word.remedy.to_owned(),
        })
    })
}

fn is_in(word: &Word, line: &str) -> bool {
    line.match_indices(word.text).any(|(at, text)| {
        let continues_name = text.starts_with(is_name_char) && line[..at].ends_with(is_name_char);
        !continues_name && fits_end(word.end, &line[at + text.len()..])
    })
}

fn fits_end(end: End, after: &str) -> bool {
    match end {
        End::Open => true,
        End::Whole => !after.starts_with(is_name_char),
        End::Function => after.starts_with(|c: char| c.is_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_in(path: &str, text: &str) -> Vec<String> {
        let file = TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        forbidden_words(&file)
            .iter()
            .map(|one| format!("{}: {}", one.line, one.wrong))
            .collect()
    }

    fn found(text: &str) -> Vec<String> {
        found_in("rondevu-durable/src/channel.rs", text)
    }

    #[test]
    fn every_word_is_found() {
        for code in [
            "let now = Instant::now();",
            "let now = std::time::SystemTime::now();",
            "start.elapsed()",
            "use tokio_util::codec;",
            "UdpSocket::bind(x)",
            "std::net::TcpStream",
            "std::thread::spawn(f)",
            "thread::sleep(x)",
            "rand::random()",
            "getrandom::fill(&mut x)",
            "fastrand::u64(..)",
            "fastrand::shuffle(&mut x)",
            "fastrand::Rng::new()",
        ] {
            assert_eq!(found(&format!("//! Head.\n{code}\n")).len(), 1, "{code}");
        }
    }

    #[test]
    fn the_line_is_given() {
        assert_eq!(
            found("\n\nInstant::now()"),
            ["3: `Instant::now` has no place in a machine"]
        );
    }

    #[test]
    fn similar_words_are_no_findings() {
        for code in [
            "// Instant::now is left to the facade",
            "let why = \"no tokio here\";",
            "MyInstant::now_or_never()",
            "fastrand::Rng::with_seed(seed)",
            "my_tokio",
            "struct UdpSocketAddress;",
        ] {
            assert_eq!(found(code), Vec::<String>::new(), "{code}");
        }
    }

    #[test]
    fn tests_may_look_at_the_clock_but_not_run_threads() {
        let text = "#[cfg(test)]\nmod tests {\n    fn f() { Instant::now(); }\n}\n";
        assert_eq!(found(text), Vec::<String>::new());
        assert_eq!(
            found_in("rondevu-core/src/queue/tests.rs", "Instant::now()"),
            Vec::<String>::new()
        );
        assert_eq!(
            found_in("rondevu-core/src/queue/tests.rs", "thread::spawn(f)").len(),
            1
        );
    }

    #[test]
    fn code_after_the_tests_is_code() {
        assert_eq!(
            found("#[cfg(test)]\nmod tests { }\nInstant::now()\n").len(),
            1
        );
    }

    #[test]
    fn other_crates_may_do_as_they_like() {
        assert_eq!(
            found_in("rondevu/src/driver.rs", "tokio::spawn(x)"),
            Vec::<String>::new()
        );
    }
}
