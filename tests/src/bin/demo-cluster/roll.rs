//! One gateway, rolled under load.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use anyhow::Result;
use drainhook_tests::{
    cluster::{Cluster, Images},
    gateway::{Gateway, LoadPod, Workload},
};
use serde_json::json;

/// How often is looked which pods there are: what is shown has tenths of seconds.
const LOOK: Duration = Duration::from_millis(100);

/// How a gateway is stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// As Kubernetes does by itself.
    NoHook,
    /// With the usual remedy.
    Sleep,
    /// With ours.
    Drainhook,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::NoHook, Self::Sleep, Self::Drainhook];

    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::NoHook => "no hook",
            Self::Sleep => "preStop: sleep 5",
            Self::Drainhook => "drainhook",
        }
    }

    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::NoHook => "no-hook",
            Self::Sleep => "sleep",
            Self::Drainhook => "drained",
        }
    }
}

/// What a rollout has cost.
pub(crate) struct Rolled {
    kind: Kind,
    requests: u64,
    failed: usize,
    /// From the deletion of each pod to its end.
    seconds: Vec<f32>,
}

/// Puts up the gateway, rolls it once under load, and leaves it there.
pub(crate) async fn roll(cluster: &Cluster, kind: Kind, images: &Images) -> Result<Rolled> {
    let namespace = kind.namespace();
    cluster.namespace(namespace, &[]).await?;
    let gateway = Gateway::new().beside_its_application();
    let gateway = match kind {
        Kind::NoHook => gateway.not_annotated(),
        Kind::Sleep => gateway
            .not_annotated()
            .pre_stop(json!({ "sleep": { "seconds": 5 } })),
        Kind::Drainhook => gateway,
    };
    let gateway = Workload::new(cluster, namespace, images, gateway);
    let address = gateway.deploy().await?;
    let load = LoadPod::start(cluster, namespace, &images.tools, address).await?;
    gateway.restart()?;
    let mut ends = Ends::default();
    tokio::select! {
        ended = gateway.until_rolled_out() => ended?,
        failed = ends.watch(&gateway) => failed?,
    }
    ends.look(&gateway).await?;
    let (requests, failures) = load.stop().await?;
    if !matches!(kind, Kind::Drainhook) {
        // Two cores are for the one that is rolled.
        gateway.delete()?;
    }
    Ok(Rolled {
        kind,
        requests,
        failed: failures.len(),
        seconds: ends.seconds,
    })
}

/// When pods were told to end, and how long it took them.
#[derive(Default)]
struct Ends {
    told: BTreeMap<String, Instant>,
    seconds: Vec<f32>,
}

impl Ends {
    async fn watch(&mut self, gateway: &Workload<'_>) -> Result<()> {
        loop {
            self.look(gateway).await?;
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look(&mut self, gateway: &Workload<'_>) -> Result<()> {
        let pods = gateway.pods().await?;
        let there = |name: &str| {
            pods.iter()
                .any(|pod| pod.metadata.name.as_deref() == Some(name))
        };
        let gone: Vec<_> = self
            .told
            .keys()
            .filter(|name| !there(name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(told) = self.told.remove(&name) {
                self.seconds.push(told.elapsed().as_secs_f32());
            }
        }
        let ending = pods
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_some());
        for name in ending.filter_map(|pod| pod.metadata.name.clone()) {
            self.told.entry(name).or_insert_with(Instant::now);
        }
        Ok(())
    }
}

impl fmt::Display for Rolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds: Vec<_> = self.seconds.iter().map(|it| format!("{it:.1} s")).collect();
        write!(
            f,
            "{} of {} requests failed; the pods took {}",
            self.failed,
            self.requests,
            seconds.join(" and ")
        )
    }
}

impl Rolled {
    /// How many requests failed that never should; without drainhook they do.
    pub(crate) fn lost(&self) -> usize {
        match self.kind {
            Kind::NoHook | Kind::Sleep => 0,
            Kind::Drainhook => self.failed,
        }
    }

    /// All of them, side by side.
    pub(crate) fn table(all: &[Self]) -> String {
        let mut table = format!(
            "{:<18} {:>8} {:>8}  seconds per pod\n",
            "", "requests", "failed"
        );
        for one in all {
            let seconds: Vec<_> = one.seconds.iter().map(|it| format!("{it:.1}")).collect();
            table.push_str(&format!(
                "{:<18} {:>8} {:>8}  {}\n",
                one.kind.in_words(),
                one.requests,
                one.failed,
                seconds.join(", ")
            ));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_without_drainhook_is_expected_and_with_it_is_lost() {
        let lost = Kind::ALL.map(|kind| {
            let rolled = Rolled {
                kind,
                requests: 100,
                failed: 7,
                seconds: Vec::new(),
            };
            rolled.lost()
        });
        assert_eq!(lost, [0, 0, 7]);
    }
}
