//! Calls to the API server: bounded in time, errors sorted by what to do about them.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longer than an API server under load takes for one object, shorter than anybody wants to wait
/// before it is tried again.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A call that came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// Somebody else wrote first: look again.
    #[error("somebody else wrote first")]
    Conflict,
    /// No answer in time.
    #[error("{verb}: no answer within {CALL_TIMEOUT:?}")]
    TimedOut {
        /// What was asked for.
        verb: &'static str,
    },
    /// Everything else.
    #[error("{verb}: {error}")]
    Failed {
        /// What was asked for.
        verb: &'static str,
        /// What came back.
        error: Box<kube::Error>,
    },
}

impl ApiError {
    /// Whether the cluster allows it to somebody else at most.
    pub(super) fn is_forbidden(&self) -> bool {
        let Self::Failed { error, .. } = self else {
            return false;
        };
        matches!(&**error, kube::Error::Api(status) if status.is_forbidden())
    }
}

pub(super) async fn call<T>(
    verb: &'static str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiError> {
    match tokio::time::timeout(CALL_TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.is_conflict() => Err(ApiError::Conflict),
        Ok(Err(error)) => Err(ApiError::Failed {
            verb,
            error: Box::new(error),
        }),
        Err(_) => Err(ApiError::TimedOut { verb }),
    }
}

/// Server-side apply. Forced, as the fields are ours whoever wrote them last; that two of us do not
/// overwrite each other is the business of the `resourceVersion` in what is applied.
pub(super) async fn patch<K>(
    api: &Api<K>,
    manager: &str,
    name: &str,
    applied: &Value,
) -> Result<K, ApiError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let params = PatchParams::apply(manager).force();
    call("apply", api.patch(name, &params, &Patch::Apply(applied))).await
}
