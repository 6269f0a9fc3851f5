//! Where the keys of usernames are kept between runs.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rondevu::{KeyPair, KnownKeys, KnownKeysFile, KnownKeysInMemory, Username};

/// The file of a username's key: `$XDG_CONFIG_HOME/rondevu/NAME.pem`, else under `~/.config`.
pub(crate) fn path_of(username: &Username) -> Result<PathBuf> {
    match folder() {
        Some(folder) => Ok(folder.join(format!("{username}.pem"))),
        None => bail!("neither XDG_CONFIG_HOME nor HOME is set: name a file with --key"),
    }
}

/// The keys of others: `known_keys` in the same folder. Without a folder they are forgotten at the
/// end.
pub(crate) fn known_keys() -> Arc<dyn KnownKeys> {
    match folder() {
        Some(folder) => Arc::new(KnownKeysFile::new(folder.join("known_keys"))),
        None => Arc::new(KnownKeysInMemory::default()),
    }
}

fn folder() -> Option<PathBuf> {
    let config = match std::env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => match std::env::var_os("HOME").filter(|dir| !dir.is_empty()) {
            Some(home) => PathBuf::from(home).join(".config"),
            None => return None,
        },
    };
    Some(config.join("rondevu"))
}

/// Loads the key of a username, or makes and stores one that only this user can read.
pub(crate) fn load_or_generate(username: &Username, file: Option<PathBuf>) -> Result<KeyPair> {
    let path = match file {
        Some(file) => file,
        None => path_of(username)?,
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
    }
    KeyPair::load_or_generate(&path).with_context(|| format!("the key file {}", path.display()))
}
