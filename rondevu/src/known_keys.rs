//! Which key belongs to which username, remembered on this side, as ssh does with its hosts.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rondevu_core::Username;
use rondevu_signaling::PublicKey;

use crate::shared::lock;

/// Whom a dialer takes for the owner of a username.
///
/// A signaling server says where a service is; it could also put itself in between. What finds it
/// out is a key that this side knows: the service signs each link with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KeyPolicy {
    /// Whoever answers. Nothing is signed and nothing is checked.
    Off,
    /// Who proves the key that was proved at the first time; that is remembered in the
    /// [`KnownKeys`]. A peer that proves no key at the first time is taken too.
    #[default]
    TrustOnFirstUse,
    /// Who proves a key that was pinned before, with [`Rondevu::pin_key`](crate::Rondevu::pin_key).
    PinnedOnly,
}

/// A store of the keys of others.
///
/// Calls happen while connecting and must not take long.
pub trait KnownKeys: Send + Sync + fmt::Debug {
    /// The key that is known for a username.
    ///
    /// # Errors
    ///
    /// If the store cannot be read. The connection is not made then.
    fn key_of(&self, username: &Username) -> io::Result<Option<PublicKey>>;

    /// Remembers a key, in place of another that was known.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    fn remember(&self, username: &Username, key: PublicKey) -> io::Result<()>;

    /// Forgets the key of a username.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    fn forget(&self, username: &Username) -> io::Result<()>;
}

/// Remembers the key that a peer proves at the first time.
#[derive(Debug)]
pub(crate) struct FirstUse {
    username: Username,
    known_keys: Arc<dyn KnownKeys>,
}

impl FirstUse {
    pub(crate) fn new(username: Username, known_keys: Arc<dyn KnownKeys>) -> Self {
        Self {
            username,
            known_keys,
        }
    }

    /// Remembers `key`, unless one is known: that was required, so it is the same.
    pub(crate) fn remember(self, key: PublicKey) {
        if !matches!(self.known_keys.key_of(&self.username), Ok(None)) {
            return;
        }
        if let Err(error) = self.known_keys.remember(&self.username, key) {
            tracing::warn!(%error, "the key of a peer cannot be remembered");
        }
    }
}

/// Keys that are known until the client is gone. The default.
#[derive(Debug, Default)]
pub struct KnownKeysInMemory(Mutex<BTreeMap<String, PublicKey>>);

impl KnownKeys for KnownKeysInMemory {
    fn key_of(&self, username: &Username) -> io::Result<Option<PublicKey>> {
        Ok(lock(&self.0).get(username.as_str()).copied())
    }

    fn remember(&self, username: &Username, key: PublicKey) -> io::Result<()> {
        lock(&self.0).insert(username.as_str().to_owned(), key);
        Ok(())
    }

    fn forget(&self, username: &Username) -> io::Result<()> {
        lock(&self.0).remove(username.as_str());
        Ok(())
    }
}

/// Keys in a text file: on each line a username, a space, and the key in base64. Lines that begin
/// with `#` are comments.
///
/// The file is read at each use, so several programs can share it; changes replace it in one step.
#[derive(Debug)]
pub struct KnownKeysFile {
    path: PathBuf,
    /// Changes of this process happen one after another.
    writing: Mutex<()>,
}

impl KnownKeysFile {
    /// The file at `path`; made, with its folder, when the first key is remembered.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            writing: Mutex::new(()),
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self) -> io::Result<String> {
        match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            text => text,
        }
    }

    /// Replaces the lines of `username` by `line`.
    fn replace(&self, username: &Username, line: Option<String>) -> io::Result<()> {
        let _one_at_a_time = lock(&self.writing);
        let text = self.read()?;
        let others = text
            .lines()
            .filter(|line| line.split_whitespace().next() != Some(username.as_str()));
        let mut lines: Vec<&str> = others.collect();
        lines.extend(line.as_deref());
        let mut text = lines.join("\n");
        text.push('\n');
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let fresh = self.path.with_file_name(name);
        let mut file = fs::File::create(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)
    }
}

impl KnownKeys for KnownKeysFile {
    fn key_of(&self, username: &Username) -> io::Result<Option<PublicKey>> {
        let text = self.read()?;
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            if words.next() != Some(username.as_str()) {
                continue;
            }
            let key = words.next().and_then(|word| word.parse().ok());
            // A damaged line must not look like a name that was never seen.
            return key.map(Some).ok_or_else(|| {
                let path = self.path.display();
                let line = number + 1;
                let what = format!("{path}, line {line}: expected a username and a key in base64");
                io::Error::new(io::ErrorKind::InvalidData, what)
            });
        }
        Ok(None)
    }

    fn remember(&self, username: &Username, key: PublicKey) -> io::Result<()> {
        self.replace(username, Some(format!("{username} {key}")))
    }

    fn forget(&self, username: &Username) -> io::Result<()> {
        self.replace(username, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Username {
        Username::parse(text).unwrap()
    }

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32])
    }

    #[test]
    fn a_file_keeps_keys_between_runs_and_leaves_comments_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("known_keys");
        let file = KnownKeysFile::new(&path);
        assert_eq!(file.key_of(&name("alice")).unwrap(), None);
        file.remember(&name("alice"), key(1)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("# friends\n{text}")).unwrap();
        file.remember(&name("bob"), key(2)).unwrap();
        file.remember(&name("alice"), key(3)).unwrap();
        let later = KnownKeysFile::new(&path);
        assert_eq!(later.key_of(&name("alice")).unwrap(), Some(key(3)));
        assert_eq!(later.key_of(&name("bob")).unwrap(), Some(key(2)));
        later.forget(&name("bob")).unwrap();
        assert_eq!(later.key_of(&name("bob")).unwrap(), None);
        assert!(
            fs::read_to_string(&path)
                .unwrap()
                .starts_with("# friends\n")
        );
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_line_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_keys");
        fs::write(&path, "bob AAAA\nalice nonsense\n").unwrap();
        let file = KnownKeysFile::new(&path);
        let error = file.key_of(&name("alice")).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
