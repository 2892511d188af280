//! The installation's defaults: a file that a ConfigMap mounts, reloaded when its content changes.
//!
//! The kubelet swaps the symbolic link `..data`, so a watch on the file sees nothing. The content is
//! compared every few seconds instead: it is small, and nobody waits for it.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use thiserror::Error;

use super::metrics::{Metrics, Reload, ReloadLabels};
use crate::{DefaultsError, InstallationDefaults};

/// The file and what was last made of it.
#[derive(Debug)]
pub(super) struct DefaultsFile {
    path: PathBuf,
    state: RwLock<State>,
    seen: Mutex<Option<Result<String, String>>>,
    metrics: Arc<Metrics>,
}

/// What is in use, and what is wrong with the file as it is now.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) defaults: Arc<InstallationDefaults>,
    /// A fault: what is in use is the last good content, or what is built in.
    pub(super) fault: Option<Arc<str>>,
}

#[derive(Debug, Error)]
enum LoadError {
    #[error("cannot read {path}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("{path}: {error}")]
    Parse { path: PathBuf, error: DefaultsError },
}

/// The kubelet itself takes up to a minute to bring a ConfigMap's change.
const INTERVAL: Duration = Duration::from_secs(2);

impl DefaultsFile {
    /// Loads the file once. A fault does not keep the server from starting: a webhook that is down
    /// would give no pod a drain, whatever the defaults say.
    pub(super) fn open(path: PathBuf, metrics: Arc<Metrics>) -> Arc<Self> {
        let file = Arc::new(Self {
            path,
            state: RwLock::default(),
            seen: Mutex::default(),
            metrics,
        });
        file.look();
        file
    }

    pub(super) fn state(&self) -> State {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks at the file for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut tick = tokio::time::interval(INTERVAL);
        loop {
            tick.tick().await;
            let file = self.clone();
            // A join error is a panic, which the hook has logged; the next look may go well.
            let _ = tokio::task::spawn_blocking(move || file.look()).await;
        }
    }

    fn look(&self) {
        let read = fs::read_to_string(&self.path);
        let seen = match &read {
            Ok(text) => Ok(text.clone()),
            Err(error) => Err(error.to_string()),
        };
        let mut last = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() == Some(&seen) {
            return;
        }
        *last = Some(seen);
        drop(last);
        let mut state = self.state();
        let result = match self.load(read) {
            Ok(defaults) => {
                state.defaults = Arc::new(defaults);
                state.fault = None;
                tracing::info!(file = %self.path.display(), "installation defaults loaded");
                Reload::Loaded
            }
            Err(error) => {
                state.fault = Some(error.to_string().into());
                tracing::error!(%error, "installation defaults are faulty; the last good ones are used on");
                Reload::Kept
            }
        };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.metrics
            .defaults_reloads
            .get_or_create(&ReloadLabels { result })
            .inc();
    }

    fn load(&self, read: io::Result<String>) -> Result<InstallationDefaults, LoadError> {
        let path = || self.path.clone();
        let text = read.map_err(|error| LoadError::Read {
            path: path(),
            error,
        })?;
        InstallationDefaults::parse(&text).map_err(|error| LoadError::Parse {
            path: path(),
            error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotations::Key;

    fn port(file: &DefaultsFile) -> Option<String> {
        file.state().defaults.value(Key::Port).map(str::to_owned)
    }

    #[test]
    fn a_swap_of_the_mount_is_seen_each_time() {
        let mount = tempfile::tempdir().unwrap();
        let swap = |generation: u32, text: &str| {
            let directory = mount.path().join(format!("..{generation}"));
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("defaults.yaml"), text).unwrap();
            let link = mount.path().join("..data_tmp");
            std::os::unix::fs::symlink(&directory, &link).unwrap();
            fs::rename(link, mount.path().join("..data")).unwrap();
        };
        swap(0, "port: 9000");
        let path = mount.path().join("defaults.yaml");
        std::os::unix::fs::symlink("..data/defaults.yaml", &path).unwrap();
        let file = DefaultsFile::open(path, Metrics::new());
        for generation in 1..5 {
            assert_eq!(port(&file), Some(format!("{}", 8999 + generation)));
            swap(generation, &format!("port: {}", 9000 + generation));
            file.look();
        }
    }

    #[test]
    fn the_last_good_ones_stay_in_use_whatever_the_fault() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("defaults.yaml");
        fs::write(&path, "port: 9000").unwrap();
        let file = DefaultsFile::open(path.clone(), Metrics::new());
        for faulty in ["port: none", "prot: 9000", "{", "- 1"] {
            fs::write(&path, faulty).unwrap();
            file.look();
            assert_eq!(port(&file).as_deref(), Some("9000"), "{faulty}");
            assert!(file.state().fault.is_some(), "{faulty}");
        }
        fs::remove_file(&path).unwrap();
        file.look();
        assert_eq!(port(&file).as_deref(), Some("9000"));
        assert!(file.state().fault.unwrap().contains("cannot read"));
        fs::write(&path, "port: 9001").unwrap();
        file.look();
        assert_eq!(port(&file).as_deref(), Some("9001"));
        assert!(file.state().fault.is_none());
    }

    #[test]
    fn a_faulty_file_at_the_start_leaves_what_is_built_in_and_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let file = DefaultsFile::open(directory.path().join("none.yaml"), Metrics::new());
        assert_eq!(port(&file), None);
        assert!(file.state().fault.is_some());
    }
}
