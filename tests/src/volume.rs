//! A volume of files out of a Secret or ConfigMap, as the kubelet keeps it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Each file is a symbolic link into `..data`, which is one itself, to a directory of this generation. A
/// change is a new directory and the renaming of that one link, so that all files change at once;
/// whoever watches a file sees nothing.
/// <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/volume/util/atomic_writer.go>
#[derive(Debug)]
pub struct Volume {
    directory: PathBuf,
    generation: u64,
}

impl Volume {
    /// Mounts these files, named and with their contents, in a directory that does not exist yet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn mount(directory: impl Into<PathBuf>, files: &[(&str, &str)]) -> Result<Self> {
        let directory = directory.into();
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let mut volume = Self {
            directory,
            generation: 0,
        };
        volume.swap(files)?;
        for (name, _) in files {
            symlink(format!("..data/{name}"), volume.file(name))
                .with_context(|| format!("link {name}"))?;
        }
        Ok(volume)
    }

    /// Puts these contents in the place of all that were there.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn swap(&mut self, files: &[(&str, &str)]) -> Result<()> {
        let generation = |number: u64| format!("..generation_{number}");
        let old = self.directory.join(generation(self.generation));
        self.generation += 1;
        let name = generation(self.generation);
        let new = self.directory.join(&name);
        fs::create_dir(&new).with_context(|| format!("make {}", new.display()))?;
        for (file, contents) in files {
            fs::write(new.join(file), contents).with_context(|| format!("write {file}"))?;
        }
        let link = self.directory.join("..data_tmp");
        symlink(&name, &link).context("link the new generation")?;
        fs::rename(&link, self.directory.join("..data")).context("swap the generations")?;
        if old.exists() {
            fs::remove_dir_all(&old).with_context(|| format!("remove {}", old.display()))?;
        }
        Ok(())
    }

    /// Where a file of it is.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_changes_all_files_and_leaves_nothing_of_the_old_ones() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("tls");
        let mut volume = Volume::mount(&place, &[("a", "1"), ("b", "1")]).unwrap();
        let read =
            |volume: &Volume| ["a", "b"].map(|name| fs::read_to_string(volume.file(name)).unwrap());
        assert_eq!(read(&volume), ["1", "1"]);
        for generation in ["2", "3"] {
            volume
                .swap(&[("a", generation), ("b", generation)])
                .unwrap();
            assert_eq!(read(&volume), [generation, generation]);
        }
        // Two files, `..data` and one generation.
        assert_eq!(fs::read_dir(&place).unwrap().count(), 4);
    }
}
