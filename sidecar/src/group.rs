//! The drains of a pod: one for each Envoy, started by the first hook, awaited by every caller.

mod envoy;

pub(crate) use envoy::Envoy;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::info;

use crate::{
    admin::Admin,
    drive::{self, Progress},
    eyes::Eyes,
    listeners::Rules,
    metrics::Metrics,
    report::{self, DrainReport, Report},
    settings::Settings,
    wave::Wave,
};

/// How long `/wait` waits for a drain to begin. Hooks of one pod's end come together; one that comes
/// alone is the restart of its own container.
const WAIT_FOR_A_DRAIN: Duration = Duration::from_secs(3);

/// How long `/wait` waits after a drain until its Envoy has ended, too: what is beside Envoy gets its
/// SIGTERM after it, and answers what Envoy still took in its last moments. With nothing left Envoy needs
/// a fraction of a second. One that is a native sidecar ends after everybody else and is waited for in
/// vain, and one that hangs is not worth more of the grace period.
pub(crate) const ENVOY_ENDS: Duration = Duration::from_secs(3);

/// How often to look whether Envoy is gone.
const LOOK: Duration = Duration::from_millis(100);

/// All Envoys of the pod.
pub(crate) struct Group {
    settings: Settings,
    metrics: Metrics,
    envoys: Vec<Envoy>,
    origin: Instant,
    state: Mutex<State>,
    /// Something changed: a wave began or was released.
    changed: watch::Sender<()>,
}

/// Somebody asked for an Envoy that is not configured.
#[derive(Debug, thiserror::Error)]
#[error("no Envoy is called {name:?}: there are {known}")]
pub(crate) struct UnknownEnvoy {
    name: String,
    known: String,
}

/// The end of some drains.
pub(crate) struct Ends(Vec<watch::Receiver<Option<Arc<Report>>>>);

#[derive(Default)]
struct State {
    waves: BTreeMap<u64, Running>,
    last_wave: u64,
    progress: BTreeMap<usize, watch::Receiver<Progress>>,
    last: BTreeMap<usize, DrainReport>,
}

struct Running {
    wave: Wave<DrainReport>,
    released: watch::Sender<Option<Arc<Report>>>,
}

impl Group {
    /// The Envoys of a configuration. None of them is asked anything yet.
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        let names: Vec<_> = settings
            .envoys
            .iter()
            .map(|envoy| envoy.name.clone())
            .collect();
        let envoys = settings
            .envoys
            .iter()
            .map(|envoy| Envoy::new(envoy.name.clone(), Admin::new(envoy.admin.clone())));
        Arc::new(Self {
            metrics: Metrics::new(&names),
            envoys: envoys.collect(),
            origin: Instant::now(),
            state: Mutex::default(),
            changed: watch::Sender::new(()),
            settings,
        })
    }

    /// The configuration.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The metrics.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The Envoys.
    pub(crate) fn envoys(&self) -> &[Envoy] {
        &self.envoys
    }

    /// A hook: starts or joins the drain of one Envoy, or of all.
    ///
    /// # Errors
    ///
    /// There is no Envoy of that name.
    pub(crate) fn shutdown(self: &Arc<Self>, name: Option<&str>) -> Result<Ends, UnknownEnvoy> {
        let asked = self.find(name)?;
        let now = self.origin.elapsed();
        let mut state = self.lock();
        let mut ends: BTreeMap<u64, watch::Receiver<_>> = BTreeMap::new();
        let mut new = Vec::new();
        for envoy in asked {
            let joined = state
                .waves
                .iter_mut()
                .find(|(_, running)| running.wave.has(envoy));
            match joined {
                Some((id, running)) => {
                    ends.insert(*id, running.released.subscribe());
                }
                None => new.push(envoy),
            }
        }
        if !new.is_empty() {
            let id = state.join_or_begin(&new, now);
            if let Some(running) = state.waves.get(&id) {
                ends.insert(id, running.released.subscribe());
            }
            for envoy in new {
                self.begin(&mut state, envoy, id);
            }
        }
        drop(state);
        self.changed.send_replace(());
        Ok(Ends(ends.into_values().collect()))
    }

    /// The end of whatever drains run now, or begin in the next few seconds, and of their Envoys where those
    /// end in time.
    pub(crate) async fn wait(&self) -> Report {
        // Where none begins there is nothing to wait for: `running` is empty then.
        let _ = timeout(WAIT_FOR_A_DRAIN, self.begun()).await;
        let report = self.running().await;
        let drained = |envoy: &Envoy| report.drains.iter().any(|drain| drain.envoy == envoy.name);
        // One that is still there then is not waited for.
        let _ = timeout(ENVOY_ENDS, self.gone(drained)).await;
        report
    }

    /// Whether a drain runs, or waits for its release.
    pub(crate) fn is_draining(&self) -> bool {
        !self.lock().waves.is_empty()
    }

    /// Returns when no drain runs any more.
    pub(crate) async fn finished(&self) {
        while self.is_draining() {
            self.running().await;
        }
    }

    /// Returns when a drain has begun.
    pub(crate) async fn begun(&self) {
        let mut changed = self.changed.subscribe();
        while !self.is_draining() && changed.changed().await.is_ok() {}
    }

    /// Returns when nobody listens at the admin interfaces of these Envoys, so that no hook of theirs can come.
    pub(crate) async fn gone(&self, these: impl Fn(&Envoy) -> bool) {
        loop {
            let mut gone = true;
            for envoy in self.envoys.iter().filter(|envoy| these(envoy)) {
                gone = gone && envoy.admin.is_gone().await;
            }
            if gone {
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// Looks once at each Envoy, as soon as it is there, and asks nothing after that.
    pub(crate) fn look_once(self: &Arc<Self>) {
        for number in 0..self.envoys.len() {
            let group = Arc::clone(self);
            tokio::spawn(async move {
                if let Some(envoy) = group.envoys.get(number) {
                    envoy.look().await;
                }
            });
        }
    }

    /// Where the drain of an Envoy stands, while it runs.
    pub(crate) fn progress(&self, envoy: usize) -> Option<Progress> {
        self.lock()
            .progress
            .get(&envoy)
            .map(|progress| progress.borrow().clone())
    }

    /// How the last drain of an Envoy ended.
    pub(crate) fn last(&self, envoy: usize) -> Option<DrainReport> {
        self.lock().last.get(&envoy).cloned()
    }

    /// Eyes for one Envoy.
    pub(crate) fn eyes(&self, envoy: &Envoy) -> Eyes {
        let Settings {
            exclude,
            quietened,
            port,
            ..
        } = &self.settings;
        let rules = Rules::new(exclude.clone(), quietened.clone());
        Eyes::new(
            &envoy.name,
            envoy.admin.clone(),
            rules,
            *port,
            self.metrics.clone(),
        )
    }

    async fn running(&self) -> Report {
        let ends = self
            .lock()
            .waves
            .values()
            .map(|running| running.released.subscribe())
            .collect();
        Ends(ends).reached().await
    }

    fn find(&self, name: Option<&str>) -> Result<Vec<usize>, UnknownEnvoy> {
        let all = 0..self.envoys.len();
        match name {
            // A wrong name must not cost the requests of the only Envoy there is: the kubelet does
            // not look at our answer, and would stop Envoy at once.
            None => Ok(all.collect()),
            Some(_) if self.envoys.len() == 1 => Ok(all.collect()),
            Some(name) => {
                let found = self.envoys.iter().position(|envoy| envoy.name == name);
                found.map(|envoy| vec![envoy]).ok_or_else(|| UnknownEnvoy {
                    name: name.to_owned(),
                    known: self
                        .envoys
                        .iter()
                        .map(|e| e.name.as_str())
                        .collect::<Vec<_>>()
                        .join(", "),
                })
            }
        }
    }

    fn begin(self: &Arc<Self>, state: &mut State, number: usize, wave: u64) {
        let Some(envoy) = self.envoys.get(number) else {
            return;
        };
        info!(envoy = envoy.name, admin = %envoy.admin.address(), "drain asked for");
        self.metrics.started(&envoy.name);
        if let Some(path) = &self.settings.ready_file {
            report::remove_ready_file(path);
        }
        let began = Instant::now();
        let (progress, watched) = watch::channel(Progress::new(began));
        state.progress.insert(number, watched);
        let group = Arc::clone(self);
        tokio::spawn(async move {
            let Some(envoy) = group.envoys.get(number) else {
                return;
            };
            let eyes = group.eyes(envoy);
            let answered = envoy.has_answered();
            let plan = group.settings.plan;
            let (outcome, breakdown) =
                drive::drain(&envoy.name, plan, began, answered, eyes, &progress).await;
            group.metrics.ended(&envoy.name, &outcome);
            let report = DrainReport::new(&envoy.name, &outcome, &breakdown);
            report.log();
            group.ended(number, wave, report).await;
        });
    }

    /// A drain is over: its wave is released when all of it is.
    async fn ended(&self, envoy: usize, id: u64, report: DrainReport) {
        let release_at = {
            let mut state = self.lock();
            state.progress.remove(&envoy);
            state.last.insert(envoy, report.clone());
            let Some(running) = state.waves.get_mut(&id) else {
                return;
            };
            running.wave.ended(envoy, report);
            running.wave.release_at(self.envoys.len())
        };
        if let Some(at) = release_at {
            sleep_until(self.origin + at).await;
            self.release(id);
        }
    }

    fn release(&self, id: u64) {
        let mut state = self.lock();
        // A hook may have joined while we waited; then its end releases the wave.
        let complete = |running: &Running| running.wave.release_at(self.envoys.len()).is_some();
        if !state.waves.get(&id).is_some_and(complete) {
            return;
        }
        let Some(running) = state.waves.remove(&id) else {
            return;
        };
        drop(state);
        let report = Report {
            drains: running.wave.reports(),
        };
        report::write_termination_message(&self.settings.termination_log, &report);
        if let Some(path) = &self.settings.ready_file {
            report::write_ready_file(path, &report);
        }
        running.released.send_replace(Some(Arc::new(report)));
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done where a panic could be.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn join_or_begin(&mut self, envoys: &[usize], now: Duration) -> u64 {
        for (id, running) in &mut self.waves {
            if envoys.iter().all(|envoy| running.wave.join(*envoy, now)) {
                return *id;
            }
        }
        self.last_wave += 1;
        let running = Running {
            wave: Wave::new(envoys, now),
            released: watch::Sender::new(None),
        };
        self.waves.insert(self.last_wave, running);
        self.last_wave
    }
}

impl Ends {
    /// Waits for all of them.
    pub(crate) async fn reached(self) -> Report {
        let mut all = Report::default();
        for mut end in self.0 {
            if let Ok(report) = end.wait_for(Option::is_some).await
                && let Some(report) = report.as_deref()
            {
                all.drains.extend(report.drains.iter().cloned());
            }
        }
        all
    }
}
