//! Manifests from files, directories and standard input.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use crate::manifest::{Document, MAX_BYTES, SyntaxError, parse};

/// The endings of the files that are taken from a directory, as kubectl takes them.
const ENDINGS: [&str; 3] = ["json", "yaml", "yml"];

/// Which manifests a command reads.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct InputArgs {
    /// Files or directories; `-`, or none at all, is standard input
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    files: Vec<PathBuf>,

    /// The same, as kubectl has it
    #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1..)]
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    filenames: Vec<PathBuf>,

    /// Look into the directories inside of directories too
    #[arg(short = 'R', long)]
    recursive: bool,
}

/// One text with manifests.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    /// What messages call it: its path, or `stdin`.
    pub(super) name: String,
    /// Where it stands; standard input stands nowhere.
    pub(super) path: Option<PathBuf>,
    pub(super) text: String,
    pub(super) documents: Vec<Document>,
}

impl Manifest {
    /// Reads the documents of a text.
    ///
    /// # Errors
    /// All faults of all documents, in words.
    pub(super) fn read(
        name: &str,
        path: Option<PathBuf>,
        text: String,
    ) -> Result<Self, Vec<String>> {
        let faults = |faults: Vec<SyntaxError>| {
            faults
                .iter()
                .map(|fault| format!("{name}: {fault}"))
                .collect::<Vec<_>>()
        };
        let documents = parse(&text).map_err(faults)?;
        Ok(Self {
            name: name.to_owned(),
            path,
            text,
            documents,
        })
    }
}

impl InputArgs {
    /// Reads everything that was asked for.
    ///
    /// # Errors
    /// All files that cannot be read; else all faults of all documents.
    pub(super) fn read(&self) -> Result<Vec<Manifest>, Failure> {
        let mut manifests = Vec::new();
        let mut messages = Vec::new();
        for (name, path, text) in self.read_texts()? {
            match Manifest::read(&name, path, text) {
                Ok(manifest) => manifests.push(manifest),
                Err(faults) => messages.extend(faults),
            }
        }
        if messages.is_empty() {
            Ok(manifests)
        } else {
            Err(Failure {
                exit: Exit::Refused,
                messages,
            })
        }
    }

    fn read_texts(&self) -> Result<Vec<(String, Option<PathBuf>, String)>, Failure> {
        let asked: Vec<&PathBuf> = self.files.iter().chain(&self.filenames).collect();
        if asked.is_empty() && io::stdin().is_terminal() {
            let message = "name a file (`-f FILE`) or pipe a manifest to standard input";
            return Err(Failure::new(Exit::Usage, message));
        }
        let stdin = PathBuf::from("-");
        let asked = if asked.is_empty() {
            vec![&stdin]
        } else {
            asked
        };
        let mut texts = Vec::new();
        let mut messages = Vec::new();
        let mut seen = BTreeSet::new();
        for path in asked {
            let files = match files_of(path, self.recursive) {
                Ok(files) => files,
                Err(message) => {
                    messages.push(message);
                    continue;
                }
            };
            for file in files {
                // The same file named twice is read, and written, once.
                if !seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone())) {
                    continue;
                }
                match read_text(&file) {
                    Ok((name, path, text)) => texts.push((name, path, text)),
                    Err(message) => messages.push(message),
                }
            }
        }
        if messages.is_empty() {
            Ok(texts)
        } else {
            Err(Failure {
                exit: Exit::NoInput,
                messages,
            })
        }
    }
}

/// The manifests that a path stands for, in the order of their names.
fn files_of(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    collect(path, recursive, &mut files)
        .map_err(|(path, error)| format!("{}: {error}", path.display()))?;
    if files.is_empty() {
        let inside = if recursive {
            ""
        } else {
            " (--recursive looks into directories too)"
        };
        return Err(format!(
            "{}: no file that ends in .yaml, .yml or .json{inside}",
            path.display()
        ));
    }
    Ok(files)
}

fn collect(
    directory: &Path,
    recursive: bool,
    files: &mut Vec<PathBuf>,
) -> Result<(), (PathBuf, io::Error)> {
    let fault = |error| (directory.to_owned(), error);
    let mut entries = std::fs::read_dir(directory)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(fault)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // A link to a directory is not followed: it may lead back here.
        if entry.file_type().map_err(fault)?.is_dir() {
            if recursive {
                collect(&path, recursive, files)?;
            }
        } else if path.is_file()
            && path
                .extension()
                .is_some_and(|e| ENDINGS.iter().any(|ending| e == *ending))
        {
            files.push(path);
        }
    }
    Ok(())
}

fn read_text(path: &Path) -> Result<(String, Option<PathBuf>, String), String> {
    let standard = path == Path::new("-");
    let name = if standard {
        "stdin".to_owned()
    } else {
        path.display().to_string()
    };
    if name.starts_with("http://") || name.starts_with("https://") {
        return Err(format!(
            "{name}: not fetched; pipe it: curl -fsS {name} | drainhook ..."
        ));
    }
    let mut bytes = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    let read = if standard {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| format!("{name}: {error}"))?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(format!("{name}: is UTF-16; save it as UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("{name}: is not UTF-8 (byte {at})")
    })?;
    Ok((name, (!standard).then(|| path.to_owned()), text))
}
