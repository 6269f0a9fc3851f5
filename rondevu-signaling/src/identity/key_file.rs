//! The file that holds a private key: readable by its owner only, complete or absent.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::KeyError;

/// Reads a key file that nobody but its owner can use.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let is_file = fs::metadata(path).map_err(io_error(path))?.is_file();
    if !is_file {
        // Opening a pipe would wait for a writer.
        return Err(KeyError::NotAKey);
    }
    let file = File::open(path).map_err(io_error(path))?;
    // The open file is asked, not the path: the path may name another file by now.
    if is_open_to_others(&file).map_err(io_error(path))? {
        return Err(KeyError::TooOpen { path: path.into() });
    }
    // Reserved at once: growing would leave copies behind that are not wiped.
    let mut text = Zeroizing::new(String::with_capacity(FILE_LEN_MAX + 1));
    match file.take(FILE_LEN_MAX as u64 + 1).read_to_string(&mut text) {
        Ok(len) if len > FILE_LEN_MAX => Err(KeyError::NotAKey),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(KeyError::NotAKey),
        Err(error) => Err(io_error(path)(error)),
    }
}

/// Writes a key file in place of what is there.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), KeyError> {
    let draft = Draft::write(path, text)?;
    fs::rename(&draft.path, path).map_err(io_error(path))?;
    sync_directory(path);
    Ok(())
}

/// Writes a key file unless there is one; success says that there is one now.
pub(super) fn create_unless_there(path: &Path, text: &str) -> Result<(), KeyError> {
    let draft = Draft::write(path, text)?;
    // Unlike a rename, a hard link does not replace what another process has just put there.
    match fs::hard_link(&draft.path, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        // A file system without hard links.
        Err(_) => fs::rename(&draft.path, path).map_err(io_error(path))?,
    }
    sync_directory(path);
    Ok(())
}

/// The complete file under a name that nobody looks for; removed on drop unless renamed.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn write(target: &Path, text: &str) -> Result<Self, KeyError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|_| KeyError::NoRandomness)?;
        let mut name = target.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{:016x}.tmp", u64::from_ne_bytes(random)));
        let path = target.with_file_name(name);
        let mut file = new_private_file(&path).map_err(io_error(target))?;
        let draft = Self { path };
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all());
        written.map_err(io_error(target))?;
        Ok(draft)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Already renamed if all went well; if not, there is nobody left to tell.
        let _ = fs::remove_file(&self.path);
    }
}

fn new_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn is_open_to_others(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.metadata()?.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_file: &File) -> io::Result<bool> {
    Ok(false)
}

/// Makes the new name survive a power failure, where directories can be synced.
fn sync_directory(path: &Path) {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    if let Ok(directory) = File::open(directory) {
        let _ = directory.sync_all();
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    move |source| KeyError::Io {
        path: path.into(),
        source,
    }
}

/// A key in PEM has about 200 bytes; comments before it may have some more.
const FILE_LEN_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyPair;

    #[test]
    fn a_saved_key_is_loaded_again_and_leaves_no_other_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.pem");
        let keys = KeyPair::generate().unwrap();
        KeyPair::generate().unwrap().save(&path).unwrap();
        keys.save(&path).unwrap();
        assert_eq!(KeyPair::load(&path).unwrap(), keys);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_seed_in_base64_is_loaded_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.seed");
        let keys = KeyPair::generate().unwrap();
        keys.save_seed(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), *keys.seed_base64());
        assert_eq!(KeyPair::load(&path).unwrap(), keys);
        replace(&path, &format!("{}\n", *keys.seed_base64())).unwrap();
        assert_eq!(KeyPair::load(&path).unwrap(), keys);
    }

    #[test]
    fn an_existing_key_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.pem");
        let keys = KeyPair::load_or_generate(&path).unwrap();
        assert_eq!(KeyPair::load_or_generate(&path).unwrap(), keys);
        create_unless_there(&path, "something else").unwrap();
        assert_eq!(KeyPair::load(&path).unwrap(), keys);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_is_private_and_an_open_one_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.pem");
        let keys = KeyPair::generate().unwrap();
        // A file that was open to others does not stay so.
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        for save in [KeyPair::save, KeyPair::save_seed] {
            save(&keys, &path).unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        for open in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            let error = KeyPair::load(&path).unwrap_err();
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let nothing = KeyPair::load(directory.path());
        assert!(matches!(nothing, Err(KeyError::NotAKey)));
        let path = directory.path().join("alice.pem");
        assert!(matches!(KeyPair::load(&path), Err(KeyError::Io { .. })));
        let long = "A".repeat(FILE_LEN_MAX + 1);
        for text in ["", "hello", "-----BEGIN PRIVATE KEY-----", &long] {
            replace(&path, text).unwrap();
            assert!(matches!(KeyPair::load(&path), Err(KeyError::NotAKey)));
        }
    }
}
