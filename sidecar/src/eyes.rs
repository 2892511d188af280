//! Answers a drain's questions: asks Envoy or the kernel and understands the answer.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::{debug, info, warn};

use crate::{
    admin::{Admin, AdminError, ServerInfo, ServerState},
    drain::{Observation, Question, Server},
    listeners::Rules,
    metrics::Metrics,
    procnet,
    reading::{Breakdown, Layout},
    stats::Gauges,
};

/// How often to look which listeners there are, where stats of unknown ones turn up.
const LAYOUT_INTERVAL: Duration = Duration::from_secs(5);

/// What a drain sees of one Envoy.
pub(crate) struct Eyes {
    envoy: String,
    admin: Admin,
    metrics: Metrics,
    layout: Layout,
    layout_at: Option<Instant>,
    knows_listeners: bool,
    has_rules: bool,
    table: procnet::Table,
    breakdown: Breakdown,
    failing: bool,
}

impl Eyes {
    /// Eyes that have not seen anything yet.
    pub(crate) fn new(
        envoy: &str,
        admin: Admin,
        rules: Rules,
        own_port: u16,
        metrics: Metrics,
    ) -> Self {
        Self {
            envoy: envoy.to_owned(),
            admin,
            metrics,
            has_rules: !rules.is_empty(),
            layout: Layout::new(rules),
            layout_at: None,
            knows_listeners: false,
            table: procnet::Table::new(own_port),
            breakdown: Breakdown::default(),
            failing: false,
        }
    }

    /// What was open at the last look, listener by listener.
    pub(crate) fn breakdown(&self) -> &Breakdown {
        &self.breakdown
    }

    /// Asks or tells.
    pub(crate) async fn answer(&mut self, question: Question) -> Observation {
        if question == Question::Sockets {
            return self.sockets();
        }
        let answer = self.ask(question).await;
        self.metrics
            .called(question, answer.as_ref().err().map(AdminError::kind));
        match answer {
            Ok(observation) => {
                if std::mem::take(&mut self.failing) {
                    info!(
                        envoy = self.envoy,
                        question = question.as_str(),
                        "Envoy answers again"
                    );
                }
                observation
            }
            Err(error) => {
                self.tell(question, &error);
                if error.is_refused() {
                    Observation::Refused
                } else if error.is_hidden() {
                    Observation::Hidden
                } else {
                    Observation::Unknown
                }
            }
        }
    }

    async fn ask(&mut self, question: Question) -> Result<Observation, AdminError> {
        Ok(match question {
            Question::Server => {
                let before = wall_clock();
                let info = self.admin.server_info().await?;
                Observation::Server(server(&info, before, wall_clock()))
            }
            Question::Ready => Observation::Ready {
                is_live: self.admin.is_ready().await?,
            },
            Question::FailHealthCheck => {
                self.admin.fail_health_check().await?;
                Observation::Told
            }
            Question::DrainListeners => {
                self.admin.drain_listeners().await?;
                Observation::Told
            }
            Question::Listeners => {
                let listeners = self.admin.listeners().await?;
                let modify_only = listeners.iter().any(|listener| listener.modify_only);
                self.layout.rules.learn(listeners);
                self.knows_listeners = true;
                Observation::Listeners { modify_only }
            }
            Question::Gauges => {
                let gauges = self.admin.gauges().await?;
                self.learn_layout(&gauges).await?;
                self.breakdown = self.layout.breakdown(&gauges);
                Observation::Gauges(self.layout.open(&gauges))
            }
            Question::Counters => {
                let counters = self.admin.counters().await?;
                Observation::Counters(self.layout.arrived(&counters))
            }
            Question::Sockets => self.sockets(),
        })
    }

    /// Learns which stats belong to which listeners, before the first figures are understood and
    /// where there are unknown ones. What stays unknown counts.
    async fn learn_layout(&mut self, gauges: &Gauges) -> Result<(), AdminError> {
        let is_due = match self.layout_at {
            None => true,
            Some(at) => self.layout.is_stale(gauges) && at.elapsed() >= LAYOUT_INTERVAL,
        };
        if !is_due {
            return Ok(());
        }
        self.layout_at = Some(Instant::now());
        match self.admin.prefixes().await {
            Ok(prefixes) => self.layout.learn(prefixes),
            Err(error) if error.is_refused() => return Err(error),
            Err(error) => self.tell(Question::Gauges, &error),
        }
        if self.has_rules && !self.knows_listeners {
            match self.admin.listeners().await {
                Ok(listeners) => {
                    self.layout.rules.learn(listeners);
                    self.knows_listeners = true;
                }
                Err(error) if error.is_refused() => return Err(error),
                Err(error) => self.tell(Question::Listeners, &error),
            }
        }
        Ok(())
    }

    fn sockets(&mut self) -> Observation {
        match self.table.read(&self.layout.rules) {
            Ok(procnet::Sockets {
                listening,
                open,
                arrived,
            }) => Observation::Sockets {
                listening,
                open,
                arrived,
            },
            Err(error) => {
                warn!(envoy = self.envoy, %error, "the kernel's connections cannot be read");
                Observation::Unknown
            }
        }
    }

    /// The first of a row of failures is worth a line, the others are not.
    fn tell(&mut self, question: Question, error: &AdminError) {
        let question = question.as_str();
        if std::mem::replace(&mut self.failing, true) {
            debug!(envoy = self.envoy, question, %error, "still no answer");
        } else {
            warn!(envoy = self.envoy, question, %error, "no answer from Envoy");
        }
    }
}

fn server(info: &ServerInfo, before: i64, after: i64) -> Server {
    let uptime = i64::try_from(info.uptime.as_secs()).unwrap_or(i64::MAX);
    let mut version = info.version.split('.').map(str::parse::<u32>);
    let version = match (version.next(), version.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    };
    Server {
        is_live: info.state != ServerState::Starting,
        is_ready: info.state == ServerState::Live,
        // Both ends are whole seconds cut off, here and there.
        started: (
            before.saturating_sub(uptime) - 1,
            after.saturating_sub(uptime) + 1,
        ),
        restart_epoch: info.restart_epoch,
        version,
        drain_time: info.drain_time,
    }
}

/// The system's clock in seconds, as Envoy reads it.
fn wall_clock() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
