//! How long a drain was kept waiting by the kernel: what the tests allow it to be late.
//!
//! A drain that ends late on a machine with too few processors is no fault of the sidecar's, and one that
//! ends late on any other machine is. The kernel tells them apart: it counts for each thread how long
//! that was ready to run and was not let (`schedstat`), for each limit how long it was enforced,
//! and for each processor how long a hypervisor had given it to others (`steal` in proc_stat(5)). Where the
//! whole machine stands still, whoever reads that comes late.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    Container, Life, Throttled,
    life::SIDECAR,
    witness::{Lives, locked},
};

/// Between two readings.
const EVERY: Duration = Duration::from_millis(100);

/// Whoever reads comes so much late at any time; where it comes later than this, the whole machine may have
/// stood still, which nobody counts.
const LATE: Duration = Duration::from_millis(50);

/// Of `/proc/stat`: Linux shows a hundredth of a second to programs on every architecture that we run on.
const TICK: Duration = Duration::from_millis(10);

/// The containers that take part in a drain: the sidecar and the Envoys that it asks.
const CONTAINERS: [&str; 3] = [SIDECAR, "envoy", "inner"];

/// What the kernel has kept those waiting who take part in a pod's drain, read over and over from the
/// deletion of the pod to its end.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    /// When it was read, and how long all of them had waited by then.
    readings: Vec<(Instant, Duration)>,
    /// How each container was held to its CPU limit, by the last reading.
    pub throttled: BTreeMap<String, Throttled>,
}

impl Waits {
    /// How long they waited between two moments, all of them together. For a time of which nothing was
    /// read they are taken to have waited: whoever reads was kept waiting too. None where nothing was read at all.
    pub fn between(&self, from: Instant, to: Instant) -> Option<Duration> {
        let first = self.readings.first()?;
        let last = self.readings.last()?;
        let begin = self.readings.iter().rev().find(|(at, _)| *at <= from);
        let end = self.readings.iter().find(|(at, _)| *at >= to);
        let unread = match begin {
            Some(_) => Duration::ZERO,
            None => first.0.min(to).saturating_duration_since(from),
        } + match end {
            Some(_) => Duration::ZERO,
            None => to.saturating_duration_since(last.0.max(from)),
        };
        let (begin, end) = (begin.unwrap_or(first).1, end.unwrap_or(last).1);
        Some(end.saturating_sub(begin) + unread)
    }
}

/// Reads for as long as any of a pod's processes are there that take part in its drain.
pub(super) async fn follow(pod: Life, lives: Lives) {
    let uid = pod.pod.metadata.uid.clone().unwrap_or_default();
    let mut processes = Processes::of(&pod);
    let mut stood_still = Duration::ZERO;
    while processes.read() {
        let waited = processes.waited() + stood_still;
        match locked(&lives).get_mut(&uid) {
            Some(life) => {
                life.waits.readings.push((Instant::now(), waited));
                life.waits.throttled.clone_from(&processes.throttled);
            }
            None => return,
        }
        let due = Instant::now() + EVERY;
        sleep(EVERY).await;
        let late = due.elapsed();
        if late > LATE {
            stood_still += late;
        }
    }
}

/// The processes of some containers.
struct Processes {
    /// Of the processor, by container: looked for once, since that takes a look at every process of the
    /// machine.
    cgroups: Vec<(String, PathBuf)>,
    ids: Vec<u32>,
    /// By thread, whether it is still there or not.
    threads: HashMap<u32, Duration>,
    throttled: BTreeMap<String, Throttled>,
    pods_throttled: Throttled,
    /// Of the whole machine: who would have run then cannot be told.
    stolen: Duration,
}

impl Processes {
    fn of(pod: &Life) -> Self {
        let containers: Vec<_> = CONTAINERS
            .into_iter()
            .filter_map(|name| {
                let container = Container::of(pod.container(name)?).ok()?;
                Some((name.to_owned(), container))
            })
            .collect();
        let ids = containers.iter().flat_map(|(_, it)| it.processes());
        let ids = ids.collect();
        let cgroup = |(name, it): (String, Container)| Some((name, it.cgroup("cpu").ok()?));
        Self {
            ids,
            cgroups: containers.into_iter().filter_map(cgroup).collect(),
            threads: HashMap::new(),
            throttled: BTreeMap::new(),
            pods_throttled: Throttled::default(),
            stolen: Duration::ZERO,
        }
    }

    /// Reads them all; false where there is none any more.
    fn read(&mut self) -> bool {
        let mut found = false;
        for process in &self.ids {
            for (thread, waited) in threads(*process) {
                self.threads.insert(thread, waited);
                found = true;
            }
        }
        for (name, cgroup) in &self.cgroups {
            if let Some(throttled) = Throttled::read(cgroup) {
                self.throttled.insert(name.clone(), throttled);
            }
            // Its pod's, with the limit that all of the containers have together.
            if let Some(throttled) = cgroup.parent().and_then(Throttled::read) {
                self.pods_throttled = throttled;
            }
        }
        let stat = fs::read_to_string("/proc/stat");
        self.stolen = stat.ok().and_then(|it| stolen(&it)).unwrap_or(self.stolen);
        found
    }

    fn waited(&self) -> Duration {
        let throttled = self.throttled.values().chain([&self.pods_throttled]);
        let throttled = throttled.map(|it| it.time);
        let threads = self.threads.values().copied();
        threads.chain(throttled).chain([self.stolen]).sum()
    }
}

/// How long the processors of this machine were given to others, by the text of `/proc/stat`.
fn stolen(stat: &str) -> Option<Duration> {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // Behind user, nice, system, idle, iowait, irq and softirq.
    let ticks: u64 = all.split_whitespace().nth(7)?.parse().ok()?;
    Some(TICK * u32::try_from(ticks).ok()?)
}

/// The threads of a process, and how long each has been ready to run without running.
fn threads(process: u32) -> Vec<(u32, Duration)> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    let read = |task: fs::DirEntry| {
        let thread = task.file_name().to_str()?.parse().ok()?;
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        // Nanoseconds that it ran, nanoseconds that it waited, and how many times it ran.
        let waited = text.split_whitespace().nth(1)?.parse().ok()?;
        Some((thread, Duration::from_nanos(waited)))
    };
    let tasks = tasks.into_iter().flatten().flatten();
    tasks.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        hint::spin_loop,
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;
    use crate::wait::BOUND;

    fn at(began: Instant, tenths: u64) -> Instant {
        began + Duration::from_millis(100 * tenths)
    }

    /// Read at 1.0 s, 2.0 s and 3.0 s after it began, when 0.1, 0.5 and 0.6 s had been waited.
    fn waited(from: u64, to: u64) -> u128 {
        let began = Instant::now();
        let readings = [(10, 100), (20, 500), (30, 600)];
        let readings = readings.map(|(tenths, waited)| {
            let waited = Duration::from_millis(waited);
            (at(began, tenths), waited)
        });
        let waits = Waits {
            readings: readings.to_vec(),
            throttled: BTreeMap::new(),
        };
        let between = waits.between(at(began, from), at(began, to));
        between.unwrap_or_default().as_millis()
    }

    #[test]
    fn a_wait_counts_from_the_reading_before_to_the_reading_after() {
        assert_eq!(waited(10, 20), 400);
        assert_eq!(waited(12, 18), 400);
        assert_eq!(waited(21, 30), 100);
        assert_eq!(waited(10, 30), 500);
    }

    #[test]
    fn a_time_that_nobody_read_was_waited() {
        assert_eq!(waited(0, 20), 1_000 + 400);
        assert_eq!(waited(20, 35), 100 + 500);
        assert_eq!(waited(0, 5), 500);
        assert_eq!(waited(31, 35), 400);
    }

    #[test]
    fn what_a_hypervisor_took_is_read_for_all_processors_together() {
        let stat = "cpu  3217615 3560252 1363079 2016469 21593 0 92247 508 0 0\n\
                    cpu0 1611743 1741947 660834 1070339 6575 0 43471 256 0 0\n";
        assert_eq!(stolen(stat), Some(Duration::from_millis(5080)));
        assert_eq!(stolen("intr 5"), None);
    }

    #[test]
    fn of_what_was_never_read_nothing_is_known() {
        let now = Instant::now();
        assert_eq!(Waits::default().between(now, now), None);
    }

    /// More threads than processors, all of which have something to do.
    #[test]
    fn threads_that_are_not_let_are_seen_to_wait() {
        let threads_of_all = 2 * thread::available_parallelism().map_or(1, usize::from);
        let begun = Instant::now();
        let (ended, mut seen) = (AtomicBool::new(false), HashMap::new());
        let mut look = || {
            // Other tests' threads come and go.
            for (thread, waited) in threads(std::process::id()) {
                seen.insert(thread, waited);
            }
            seen.values().sum::<Duration>()
        };
        let before = look();
        let mut after = before;
        thread::scope(|scope| {
            for _ in 0..threads_of_all {
                scope.spawn(|| {
                    while !ended.load(Ordering::Relaxed) {
                        spin_loop();
                    }
                });
            }
            // Half of them stand aside at any moment.
            while after < before + Duration::from_millis(100) && begun.elapsed() < BOUND {
                thread::sleep(Duration::from_millis(10));
                after = look();
            }
            ended.store(true, Ordering::Relaxed);
        });
        assert!(
            after >= before + Duration::from_millis(100),
            "{before:?}, {after:?}"
        );
    }
}
