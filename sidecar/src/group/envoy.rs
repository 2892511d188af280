//! One Envoy of the pod, outside of any drain: its name, its admin interface, whether it was found.
//!
//! Apart from the group since it knows nothing of the others, of hooks and of waves.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::sleep;
use tracing::info;

use crate::admin::{Admin, AdminError, ServerInfo};

/// First and longest pause, and how often in all, to look for an Envoy that starts beside us: about
/// a minute. After that it is looked at when somebody asks.
const FIRST_LOOK: (Duration, Duration, u32) =
    (Duration::from_millis(250), Duration::from_secs(8), 12);

/// One Envoy.
pub(crate) struct Envoy {
    /// Its name.
    pub(crate) name: String,
    /// Its admin interface.
    pub(crate) admin: Admin,
    answered: AtomicBool,
}

impl Envoy {
    /// An Envoy that was not asked anything yet.
    pub(super) fn new(name: String, admin: Admin) -> Self {
        Self {
            name,
            admin,
            answered: AtomicBool::new(false),
        }
    }

    /// Whether it ever said what process it is.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Asks what process it is.
    ///
    /// # Errors
    ///
    /// Why that is unknown.
    pub(crate) async fn server_info(&self) -> Result<ServerInfo, AdminError> {
        let info = self.admin.server_info().await;
        if info.is_ok() {
            self.answered.store(true, Ordering::Relaxed);
        }
        info
    }

    /// Looks whether it is there until it answers, for a limited time, and logs what was found.
    pub(super) async fn look(&self) {
        let (mut pause, longest, times) = FIRST_LOOK;
        for time in 1..=times {
            let error = match self.server_info().await {
                Ok(info) => {
                    let ServerInfo {
                        version,
                        state,
                        drain_strategy,
                        ..
                    } = info;
                    let address = self.admin.address();
                    info!(envoy = self.name, admin = %address, version, ?state, drain_strategy, "Envoy found");
                    return;
                }
                Err(error) => error,
            };
            if time == times {
                tracing::warn!(
                    envoy = self.name,
                    %error,
                    "Envoy does not answer: a drain will try again; if its admin interface is \
                     elsewhere, say so with --admin"
                );
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}
