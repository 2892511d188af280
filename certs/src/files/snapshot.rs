//! Reading several files of one directory as they were at one moment.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A chain of certificates has some kilobytes. Somebody who mounts something else gets an error
/// and not a process without memory.
const LONGEST: u64 = 1024 * 1024;

/// How often a read is begun anew because the directory was swapped under it. A swap takes
/// microseconds and the kubelet makes one a minute; this many in a row is no kubelet.
const ATTEMPTS: usize = 16;

/// Contents of a file. Overwritten in memory when dropped, as it may be a key.
pub(crate) type Contents = Zeroizing<Vec<u8>>;

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}", path = .path.display())]
pub(crate) struct Unreadable {
    path: PathBuf,
    error: io::Error,
}

/// Reads all of `paths` as they stood at one moment.
///
/// Kubernetes replaces the files of a volume all at once by renaming one symlink, `..data`. Between
/// two reads that swap may happen, and the second file is of another generation. So the real paths
/// are looked up before and after; where they differ the read is begun anew. Files that are no
/// symlinks have no generations; for those it is a plain read.
pub(crate) fn read<const N: usize>(paths: [&Path; N]) -> Result<[Contents; N], Unreadable> {
    let mut read = attempt(paths);
    for _ in 1..ATTEMPTS {
        match read {
            Ok((contents, true)) => return Ok(contents),
            // A file that is away may only be away because its directory was.
            Ok((_, false)) | Err(_) => read = attempt(paths),
        }
    }
    // What belongs together is checked by whoever uses it.
    read.map(|(contents, _)| contents)
}

/// The contents, and whether they are all of one generation.
fn attempt<const N: usize>(paths: [&Path; N]) -> Result<([Contents; N], bool), Unreadable> {
    let before = real(paths)?;
    let mut contents: [Contents; N] = [(); N].map(|()| Zeroizing::default());
    for (contents, path) in contents.iter_mut().zip(paths) {
        *contents = contents_of(path).map_err(|error| unreadable(path, error))?;
    }
    Ok((contents, before == real(paths)?))
}

fn real<const N: usize>(paths: [&Path; N]) -> Result<Vec<PathBuf>, Unreadable> {
    let real = |path: &Path| path.canonicalize().map_err(|error| unreadable(path, error));
    paths.into_iter().map(real).collect()
}

fn contents_of(path: &Path) -> io::Result<Contents> {
    let mut contents = Zeroizing::new(Vec::new());
    let read = File::open(path)?
        .take(LONGEST + 1)
        .read_to_end(&mut contents)?;
    if u64::try_from(read).is_ok_and(|read| read > LONGEST) {
        return Err(io::Error::other(format!("longer than {LONGEST} bytes")));
    }
    Ok(contents)
}

fn unreadable(path: &Path, error: io::Error) -> Unreadable {
    Unreadable {
        path: path.to_owned(),
        error,
    }
}
