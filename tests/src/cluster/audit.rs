//! The API server's audit log, as events.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::wait::BOUND;

/// The API server writes an event after it has answered, so a reader may come too early.
const EVENT_POLL: Duration = Duration::from_millis(20);

/// The audit log of an API server: each request that is not a read by Kubernetes' own parts, at the
/// level `Metadata`.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

/// One request, after it was answered.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// `create`, `get`, ...
    pub verb: String,
    /// Who asked: `system:serviceaccount:NAMESPACE:NAME` for a service account.
    pub user: String,
    /// `pods`, or `pods/eviction` for a subresource; empty for what is no resource.
    pub resource: String,
    /// The object's namespace; empty where it has none.
    pub namespace: String,
    /// The object's name; empty where the server has made it.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u64,
    /// What admission wrote: which webhook changed the object or failed open, which policy found a
    /// fault (`validation.policy.admission.k8s.io/validation_failure`).
    pub annotations: BTreeMap<String, String>,
    /// The whole event.
    pub raw: Value,
}

impl AuditLog {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// All events so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn events(&self) -> Result<Vec<AuditEvent>> {
        let text = match fs::read_to_string(&self.path) {
            // The file appears with the first event.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("read {}", self.path.display()))?,
        };
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(event).collect()
    }

    /// Waits for the first event that `matches`.
    ///
    /// # Errors
    /// When none has come within three minutes, with the last events that did.
    pub async fn wait_for(&self, matches: impl Fn(&AuditEvent) -> bool) -> Result<AuditEvent> {
        let begun = Instant::now();
        loop {
            let events = self.events()?;
            if let Some(event) = events.iter().find(|event| matches(event)) {
                return Ok(event.clone());
            }
            if begun.elapsed() > BOUND {
                let last: Vec<_> = events
                    .iter()
                    .rev()
                    .take(10)
                    .map(|event| &event.raw)
                    .collect();
                bail!("no such event in the audit log after {BOUND:?}; the last: {last:#?}");
            }
            tokio::time::sleep(EVENT_POLL).await;
        }
    }
}

fn event(line: &str) -> Result<AuditEvent> {
    let raw: Value = serde_json::from_str(line).context("read an audit event")?;
    let text = |pointer: &str| {
        raw.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let resource = match (text("/objectRef/resource"), text("/objectRef/subresource")) {
        (resource, "") => resource.to_owned(),
        (resource, subresource) => format!("{resource}/{subresource}"),
    };
    let annotations = raw
        .get("annotations")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    Ok(AuditEvent {
        verb: text("/verb").to_owned(),
        user: text("/user/username").to_owned(),
        resource,
        namespace: text("/objectRef/namespace").to_owned(),
        name: text("/objectRef/name").to_owned(),
        code: raw
            .pointer("/responseStatus/code")
            .and_then(Value::as_u64)
            .unwrap_or_default(),
        annotations: annotations
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        raw,
    })
}
