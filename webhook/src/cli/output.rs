//! Where results go: standard output, the files themselves, or a diff. All or nothing.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::diff::{self, ColourArgs};
use super::exit::{Exit, Failure};
use super::input::Manifest;
use crate::manifest::Format;

/// Where a command writes what it made.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct OutputArgs {
    /// Change the files themselves; each is replaced at once, or not at all
    #[arg(short, long)]
    in_place: bool,

    /// Show what would change, and change nothing
    #[arg(long, conflicts_with = "in_place")]
    diff: bool,

    #[command(flatten)]
    colour: ColourArgs,
}

impl OutputArgs {
    /// Writes `texts`, one for each of `manifests`.
    ///
    /// # Errors
    /// What cannot be written. No file has been changed then, unless the fault came between the
    /// renaming of two of them, and the message says which were.
    pub(super) fn write(self, manifests: &[Manifest], texts: &[String]) -> Result<(), Failure> {
        if self.in_place {
            return replace_files(manifests, texts);
        }
        let mut out = io::stdout().lock();
        let written = if self.diff {
            let changed = manifests
                .iter()
                .zip(texts)
                .filter(|(m, text)| m.text != **text);
            let mut changed = changed.peekable();
            let colour = self.colour.on();
            changed.try_for_each(|(manifest, text)| {
                out.write_all(
                    diff::unified(&manifest.name, &manifest.text, text, colour).as_bytes(),
                )
            })
        } else {
            out.write_all(join(manifests, texts).as_bytes())
        };
        match written.and_then(|()| out.flush()) {
            // Whoever closed the pipe has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Failure::new(
                Exit::Write,
                format!("standard output: {error}"),
            )),
            Ok(()) => Ok(()),
        }
    }
}

/// One text is given as it is; between several goes `---`, where they are not JSON.
fn join(manifests: &[Manifest], texts: &[String]) -> String {
    let mut out = String::new();
    for (manifest, text) in manifests.iter().zip(texts) {
        if manifest.documents.is_empty() && manifests.len() > 1 {
            continue;
        }
        if !out.is_empty() {
            if !out.ends_with('\n') {
                out.push('\n');
            }
            let json = manifest.documents.iter().all(|d| d.format == Format::Json);
            // A directive stands before the `---` of its own document, behind the end of the last.
            let directive = text.trim_start_matches('\u{feff}').starts_with('%');
            if directive {
                out.push_str("...\n");
            } else if !text.trim_start_matches('\u{feff}').starts_with("---") || json {
                out.push_str("---\n");
            }
        }
        let first = out.is_empty();
        out.push_str(if first {
            text
        } else {
            text.trim_start_matches('\u{feff}')
        });
    }
    out
}

/// Writes beside each file first; renames when all of that went well.
fn replace_files(manifests: &[Manifest], texts: &[String]) -> Result<(), Failure> {
    let fault = |path: &Path, error: &io::Error| {
        Failure::new(Exit::Write, format!("{}: {error}", path.display()))
    };
    let mut ready = Vec::new();
    for (manifest, text) in manifests.iter().zip(texts) {
        let Some(path) = &manifest.path else {
            let message = "standard input cannot be changed in place; name the files";
            return Err(Failure::new(Exit::Usage, message));
        };
        if manifest.text == *text {
            continue;
        }
        // A link stays a link: the file that it leads to is replaced.
        let path = path.canonicalize().map_err(|error| fault(path, &error))?;
        let file = write_beside(&path, text).map_err(|error| fault(&path, &error))?;
        ready.push((path, file));
    }
    let mut done: Vec<String> = Vec::new();
    for (path, file) in ready {
        if let Err(error) = file.persist(&path) {
            let mut failure = fault(&path, &error.error);
            if !done.is_empty() {
                failure
                    .messages
                    .push(format!("already changed: {}", done.join(", ")));
            }
            return Err(failure);
        }
        done.push(path.display().to_string());
    }
    Ok(())
}

fn write_beside(path: &Path, text: &str) -> io::Result<tempfile::NamedTempFile> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".drainhook-")
        .tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        // Only root can give a file to somebody else; anybody else's file is his own already.
        let own = file.as_file().metadata()?;
        if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
            let _ = fchown(file.as_file(), Some(metadata.uid()), Some(metadata.gid()));
        }
    }
    file.as_file().set_permissions(metadata.permissions())?;
    file.as_file().sync_all()?;
    Ok(file)
}
