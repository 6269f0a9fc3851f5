//! Runs other programs and prints each command line, so that it can be repeated by hand.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A command line, not yet run. Programs get no standard input: none may wait for an answer.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, &'static str)>,
}

impl Invocation {
    /// Runs `program`, found through `PATH`.
    pub(crate) fn new(program: &str) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Runs cargo with the words of `line` as its first arguments.
    pub(crate) fn cargo(line: &str) -> Self {
        Self::new("cargo").args(line.split_whitespace())
    }

    /// Adds arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|one| one.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// Runs to the end with the output on the terminal. An exit code other than 0 is an error.
    pub(crate) fn run(&self) -> Result<()> {
        let mut child = self.start()?;
        let status = child
            .wait()
            .with_context(|| format!("cannot wait for `{self}`"))?;
        self.check(status)
    }

    /// As [`run`](Self::run), but a program still running after `limit` is killed, which is an error.
    pub(crate) fn run_within(&self, limit: Duration) -> Result<()> {
        let mut child = self.start()?;
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(status) = child.try_wait()? {
                return self.check(status);
            }
            thread::sleep(POLL_INTERVAL);
        }
        child
            .kill()
            .with_context(|| format!("cannot end `{self}`"))?;
        child.wait()?;
        bail!(
            "`{self}` was still running after {} s and was killed",
            limit.as_secs()
        )
    }

    /// Runs quietly and returns what the program printed. An exit code other than 0 is an error.
    pub(crate) fn read(&self) -> Result<String> {
        let output = self
            .command()
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start `{self}`"))?;
        self.check(output.status)?;
        String::from_utf8(output.stdout).with_context(|| format!("`{self}` printed no UTF-8"))
    }

    /// Runs quietly and returns what the program printed, if it exists and succeeds.
    pub(crate) fn read_if_any(&self) -> Option<String> {
        let output = self.command().stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then_some(text)
    }

    /// Runs quietly and returns what the program printed and how it ended, whatever that was.
    pub(crate) fn output(&self) -> Result<Output> {
        self.command()
            .output()
            .with_context(|| format!("cannot start `{self}`"))
    }

    /// Whether the program exists and succeeds; prints nothing.
    pub(crate) fn succeeds(&self) -> bool {
        let status = self
            .command()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    }

    fn start(&self) -> Result<Child> {
        println!("\n$ {self}");
        self.command()
            .spawn()
            .with_context(|| format!("cannot start `{self}`; is it installed?"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(name, _)| describes_this_package(name)) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().copied());
        command
    }

    fn check(&self, status: ExitStatus) -> Result<()> {
        if !status.success() {
            bail!("`{self}` failed ({status})");
        }
        Ok(())
    }
}

impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={} ", quoted(value))?;
        }
        write!(f, "{}", quoted(&self.program.to_string_lossy()))?;
        for argument in &self.arguments {
            write!(f, " {}", quoted(&argument.to_string_lossy()))?;
        }
        Ok(())
    }
}

/// Makes the root of the workspace the current directory, wherever in the tree the command was typed.
pub(crate) fn enter_workspace_root() -> Result<()> {
    let manifest = Invocation::cargo("locate-project --workspace --message-format plain").read()?;
    let manifest = Path::new(manifest.trim());
    let root = manifest
        .parent()
        .context("the path of the root Cargo.toml has no parent")?;
    std::env::set_current_dir(root).with_context(|| format!("cannot enter {}", root.display()))
}

/// `cargo run` tells the task runner about the task runner's own package. Passed on, these variables
/// make build scripts that watch them run again at every change between `cargo xtask` and plain `cargo`.
fn describes_this_package(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// `word` as a POSIX shell would need it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// How often a program with a time limit is looked at: short against any limit in use.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_line_can_be_pasted_into_a_shell() {
        let line = Invocation::cargo("doc --workspace").env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            line.to_string(),
            "RUSTDOCFLAGS='-D warnings' cargo doc --workspace"
        );
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_missing_program_does_not_succeed() {
        assert!(!Invocation::new("no-such-program-anywhere").succeeds());
    }

    #[test]
    fn a_failing_program_is_named_in_the_error() {
        let error = Invocation::cargo("no-such-command-anywhere")
            .read()
            .unwrap_err();
        assert!(
            error.to_string().contains("cargo no-such-command-anywhere"),
            "{error}"
        );
    }
}
