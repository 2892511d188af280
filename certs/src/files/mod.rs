//! Certificates from files, as Kubernetes mounts them: compared by content, swapped while serving.

mod pair;
pub(crate) mod snapshot;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{MissedTickBehavior, interval};

use self::pair::{Pair, PairError};
use self::snapshot::Contents;
use crate::certificate::{Certificate, Standing, Validity};
use crate::handshake::{self, Expected};
use crate::names::ServerNames;
use crate::served::Served;
use crate::source::Source;
use crate::status::{Fault, Mode, Status};

/// How often the files are looked at. A read of a few kilobytes costs some microseconds, and a
/// watch would save nothing: on a file it misses the swap of `..data`, and on some file systems
/// it sees nothing at all.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// Which files, and how they are used.
#[derive(Clone, Debug)]
pub struct FilesOptions {
    /// The chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key in PEM.
    pub key: PathBuf,
    /// The CA that is published in the `caBundle`, to verify against before being ready. Without
    /// it `ca.crt` beside the certificate is taken if there is one: that is where cert-manager puts
    /// it and what its injector publishes.
    pub authority: Option<PathBuf>,
    /// The names by which API servers call. Without them the handshake with oneself asks for no
    /// name that would have to be right.
    pub names: Option<ServerNames>,
    /// See [`LOOK_INTERVAL`].
    pub interval: Duration,
}

impl FilesOptions {
    /// The usual case: these two files, everything else as it is by default.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            authority: None,
            names: None,
            interval: LOOK_INTERVAL,
        }
    }
}

pub(crate) fn source(options: FilesOptions) -> Source {
    let served = Arc::new(Served::default());
    let status = Status::new(Mode::Files);
    let mut files = Files::new(options, Arc::clone(&served), status.clone());
    // What is there already is served from the first connection on.
    files.look(SystemTime::now());
    let interval = files.options.interval;
    let background = look_every(interval, files, |files| files.look(SystemTime::now()));
    Source {
        resolver: served,
        status,
        background: Box::pin(background),
    }
}

/// Looks again and again. It never ends and no fault ends it; a panic is passed on, for whoever
/// polls to see: what is not looked at any more grows stale without a word.
pub(crate) async fn look_every<T: Send + 'static>(
    pause: Duration,
    mut looker: T,
    look: fn(&mut T),
) {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A volume that hangs holds up a thread of the pool and nobody's connection.
        let looked = tokio::task::spawn_blocking(move || {
            look(&mut looker);
            looker
        });
        match looked.await {
            Ok(returned) => looker = returned,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is ending.
                Err(_) => return std::future::pending().await,
            },
        }
    }
}

/// The pair that is served and the one that stands in the files.
struct Files {
    options: FilesOptions,
    served: Arc<Served>,
    status: Status,
    /// What was read last.
    read: Option<[Contents; 2]>,
    /// What became of it.
    candidate: Option<Result<Arc<Pair>, PairError>>,
    /// What is served: the last good one.
    good: Option<Arc<Pair>>,
}

/// All that can be wrong with what stands in the files. One look finds at most one of them.
const CONTENT_FAULTS: [Fault; 7] = [
    Fault::Unreadable,
    Fault::Empty,
    Fault::Malformed,
    Fault::KeyMismatch,
    Fault::Expired,
    Fault::NotYetValid,
    Fault::Chain,
];

impl Files {
    fn new(options: FilesOptions, served: Arc<Served>, status: Status) -> Self {
        Self {
            options,
            served,
            status,
            read: None,
            candidate: None,
            good: None,
        }
    }

    /// Looks once at files and clock.
    fn look(&mut self, now: SystemTime) {
        let fault = self.load(now).err();
        if let Some((fault, message)) = &fault {
            self.status.fault(*fault, message.clone());
        }
        let found = fault.map(|(fault, _)| fault);
        for other in CONTENT_FAULTS
            .into_iter()
            .filter(|other| Some(*other) != found)
        {
            self.status.clear(other);
        }
        self.verify(now);
    }

    /// Serves what stands in the files if it is good. A fault may be told nevertheless.
    fn load(&mut self, now: SystemTime) -> Result<(), (Fault, String)> {
        let contents = snapshot::read([&self.options.certificate, &self.options.key])
            .map_err(|error| (Fault::Unreadable, error.to_string()))?;
        if self.read.as_ref() != Some(&contents) {
            let [chain, key] = &contents;
            self.candidate = Some(Pair::parse(chain, key).map(Arc::new));
            self.read = Some(contents);
        }
        let pair = match &self.candidate {
            Some(Ok(pair)) => pair,
            Some(Err(error)) => return Err((error.fault(), self.about(error.to_string()))),
            None => return Ok(()),
        };
        if let Some((fault, message)) = outdated(pair.validity, now) {
            return Err((fault, self.about(message)));
        }
        let behind = pair.further.and_then(|further| outdated(further, now));
        let behind = behind.map(|(fault, message)| {
            let message = format!("a certificate behind the server's own: {message}");
            (fault, self.about(message))
        });
        let good = self.good.as_ref();
        if !good.is_some_and(|good| Arc::ptr_eq(good, pair)) {
            // Clients may not need it, and those that do are better served as before.
            if behind.is_some() && good.is_some_and(|good| good.is_valid(now)) {
                return behind.map_or(Ok(()), Err);
            }
            self.served.replace(Arc::clone(&pair.key));
            self.status.served(pair.shortest(now), None);
            self.good = Some(Arc::clone(pair));
        }
        match behind {
            Some((_, message)) => Err((
                Fault::Chain,
                format!("{message}: clients that need it refuse"),
            )),
            None => Ok(()),
        }
    }

    /// Shakes hands with what is served, against the published CA where it is known.
    fn verify(&self, now: SystemTime) {
        let Some(good) = &self.good else { return };
        let resolver: Arc<Served> = Arc::clone(&self.served);
        let verified = match self.published() {
            Ok(Some(bundle)) => {
                let name = self.options.names.as_ref().map(ServerNames::first);
                match name.or(good.name.as_deref()) {
                    Some(name) => {
                        let expected = Expected::Chain {
                            bundle: &bundle,
                            name,
                        };
                        handshake::verify(resolver, expected, now)
                            .map_err(|error| error.to_string())
                    }
                    None => Err("the certificate carries no DNS name".to_owned()),
                }
            }
            Ok(None) => match good.key.cert.first() {
                Some(leaf) => handshake::verify(resolver, Expected::Exactly(leaf), now)
                    .map_err(|error| error.to_string()),
                None => return,
            },
            Err(message) => Err(message),
        };
        match verified {
            Ok(()) => self.status.verified(),
            Err(message) => self.status.fault(Fault::Unverified, message),
        }
    }

    /// The CAs that are published, where somebody told.
    fn published(&self) -> Result<Option<Vec<Certificate>>, String> {
        let beside = || Some(self.options.certificate.parent()?.join("ca.crt"));
        let (path, asked_for) = match (&self.options.authority, beside()) {
            (Some(path), _) => (path.clone(), true),
            (None, Some(path)) => (path, false),
            (None, None) => return Ok(None),
        };
        if !asked_for && !path.exists() {
            return Ok(None);
        }
        let [text] = snapshot::read([&path]).map_err(|error| error.to_string())?;
        // Issuers that know no CA leave an empty file behind.
        if !asked_for && text.trim_ascii().is_empty() {
            return Ok(None);
        }
        let bundle = Certificate::parse_pem(&text)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Some(bundle))
    }

    fn about(&self, message: String) -> String {
        let (certificate, key) = (&self.options.certificate, &self.options.key);
        format!(
            "{} with {}: {message}",
            certificate.display(),
            key.display()
        )
    }
}

/// The fault where it is not valid now, in words.
fn outdated(validity: Validity, now: SystemTime) -> Option<(Fault, String)> {
    match validity.at(now) {
        Standing::Valid => None,
        Standing::Expired => {
            let end = humantime::format_rfc3339_seconds(validity.not_after);
            Some((Fault::Expired, format!("expired at {end}")))
        }
        Standing::NotYetValid => {
            let begin = humantime::format_rfc3339_seconds(validity.not_before);
            Some((Fault::NotYetValid, format!("not valid before {begin}")))
        }
    }
}
