//! When the news of a pod's end has reached the node that the load comes from.

use std::{
    net::IpAddr,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::time::sleep;

use super::witness::{Lives, locked};
use crate::wait::until;

/// Between two looks at the rules.
const EVERY: Duration = Duration::from_millis(200);

/// The rules of a node by which connections to a Service are sent to pods, as kube-proxy has written them.
#[derive(Clone, Debug)]
pub(super) struct Rules(Arc<Mutex<Command>>);

impl Rules {
    /// As this command tells them: `iptables-save`, on the node.
    pub(super) fn told_by(mut command: Command) -> Self {
        command.args(["--table", "nat"]);
        Self(Arc::new(Mutex::new(command)))
    }

    /// Waits until no new connections are sent to this address any more.
    ///
    /// # Errors
    /// When that has not come in three minutes.
    pub(super) async fn until_passed_over(&self, address: IpAddr) -> Result<()> {
        let what = format!("no new connections are sent to {address}");
        let passed_over = async || {
            sleep(EVERY).await;
            (self.lead_to(address).await == Some(false)).then_some(())
        };
        until(&what, passed_over).await
    }

    /// Whether new connections are sent to this address; none where nobody can tell.
    async fn lead_to(&self, address: IpAddr) -> Option<bool> {
        let rules = self.clone();
        let output = tokio::task::spawn_blocking(move || {
            let mut command = rules.0.lock().unwrap_or_else(PoisonError::into_inner);
            command.output()
        });
        let output = output.await.ok()?.ok()?;
        let rules = output.status.success().then_some(output.stdout)?;
        Some(lead_to(&String::from_utf8_lossy(&rules), address))
    }
}

/// Looks until nothing is sent to a pod any more that was told to end, and takes down when that was. One on
/// its node's network has the node's address, which other rules name as well, so this ends with the pod.
pub(super) async fn follow(uid: String, address: IpAddr, rules: Rules, lives: Lives) {
    loop {
        let told = rules.lead_to(address).await == Some(false);
        match locked(&lives).get_mut(&uid) {
            Some(life) if told => life.unknown = Some(Instant::now()),
            Some(life) if life.gone.is_none() => {}
            _ => return,
        }
        if told {
            return;
        }
        sleep(EVERY).await;
    }
}

fn lead_to(rules: &str, address: IpAddr) -> bool {
    let destination = format!("--to-destination {address}:");
    rules.lines().any(|rule| rule.contains(&destination))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_another_address_that_begins_alike_is_not_this_ones() {
        let rules = "-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.244.1.18:8000\n\
                     -A KUBE-SEP-B -s 10.244.1.1/32 -j KUBE-MARK-MASQ\n";
        assert!(lead_to(rules, IpAddr::from([10, 244, 1, 18])));
        assert!(!lead_to(rules, IpAddr::from([10, 244, 1, 1])));
    }
}
