//! What is shown while the rollouts go on: a line per event, and a line of counts.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use drainhook_tests::load::Recorder;
use drainhook_tests::rollout::{Event, Observer};
use drainhook_tests::trial::Strategy;
use tokio::task::JoinHandle;

/// How often the counts are shown anew on a terminal.
const REFRESH: Duration = Duration::from_millis(250);
/// How often they are shown where they cannot be overwritten.
const LOG: Duration = Duration::from_secs(10);

/// Writes progress to standard output.
#[derive(Clone)]
pub(crate) struct Progress {
    began: Instant,
    terminal: bool,
    /// The line of counts that is on the screen.
    counts: Arc<Mutex<String>>,
}

impl Progress {
    pub(crate) fn new(began: Instant) -> Self {
        Progress {
            began,
            terminal: io::stdout().is_terminal(),
            counts: Arc::default(),
        }
    }

    /// Shows the events of one rollout.
    pub(crate) fn observer(&self, strategy: Strategy) -> Observer {
        let progress = self.clone();
        Arc::new(move |event| progress.line(&format!("{strategy:<17} {}", describe(&event))))
    }

    /// Shows the counts of all rollouts until it is aborted.
    pub(crate) fn watch(&self, recorders: Vec<Arc<Recorder>>) -> JoinHandle<()> {
        let progress = self.clone();
        tokio::spawn(async move {
            let every = if progress.terminal { REFRESH } else { LOG };
            loop {
                tokio::time::sleep(every).await;
                let counts: Vec<_> = recorders
                    .iter()
                    .map(|recorder| recorder.count())
                    .map(|count| format!("{} answered, {} failed", count.answered, count.failed))
                    .collect();
                progress.counts(&counts.join("  |  "));
            }
        })
    }

    /// Takes the line of counts away.
    pub(crate) fn clear(&self) {
        if self.terminal {
            self.counts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            print!("\r\x1b[K");
            let _ = io::stdout().flush();
        }
    }

    fn line(&self, text: &str) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = self.began.elapsed().as_secs_f64();
        if self.terminal {
            print!("\r\x1b[K{seconds:6.1}s  {text}\n{counts}");
        } else {
            println!("{seconds:6.1}s  {text}");
        }
        let _ = io::stdout().flush();
    }

    fn counts(&self, text: &str) {
        if !self.terminal {
            self.line(text);
            return;
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts = format!("{:6.1}s  {text}", self.began.elapsed().as_secs_f64());
        print!("\r\x1b[K{counts}");
        let _ = io::stdout().flush();
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Serves(pod) => format!("{pod} serves"),
        Event::Terminates(pod) => format!("{pod} is told to end"),
        Event::Gone(pod, stopped) => {
            format!(
                "{pod} is gone after {:.1} s",
                (stopped.gone - stopped.asked).as_secs_f64()
            )
        }
    }
}
