//! What a soak does, drawn from a seed: the same seed gives the same rounds.

use std::{fmt, ops::Range, time::Duration};

use fastrand::Rng;

/// The pause before a round, in seconds.
const PAUSE: Range<f64> = 0.0..10.0;

/// How long something hangs, in seconds: less than what a client waits for an answer, and than what
/// three failed probes take.
const HANG: Range<f64> = 0.5..3.0;

/// How long after the deletion of its pod something happens to a drain, in seconds.
const INTO_THE_DRAIN: Range<f64> = 0.5..8.0;

/// How long all cores are busy, in seconds.
const BUSY: Range<f64> = 2.0..10.0;

/// One rollout of a soak.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// How long everything is left alone before.
    pub pause: Duration,
    /// What the pods of a rollout are to look like.
    pub shape: Shape,
    /// How pods come to their end.
    pub end: End,
    /// What happens at the same time.
    pub fault: Fault,
}

/// A shape of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Envoy alone.
    Plain,
    /// The application in the same pod.
    BesideItsApplication,
    /// The admin interface on a unix socket.
    AdminOnASocket,
    /// The sidecar as one of the containers.
    RegularContainer,
    /// Two Envoys, one behind the other.
    TwoEnvoys,
}

/// A way for pods to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The pod template changes to another shape.
    Rollout,
    /// It changes a second time while the first is under way.
    RolloutTwice,
    /// It is undone while it is under way.
    RolloutUndone,
    /// One pod is deleted.
    Deletion,
    /// One pod is deleted twice.
    DeletionTwice,
    /// One pod is deleted with a grace period that is shorter than the longest requests.
    DeletionInAHurry,
    /// One pod is evicted.
    Eviction,
    /// There is one pod less, and then as many as before.
    Scaling,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The sidecar of a pod is killed before it is to end, and is back when it is.
    SidecarKilledBefore,
    /// The same by the kernel, which gives it no more memory.
    SidecarOutOfMemoryBefore,
    /// It hangs until its liveness probe has it restarted, and is back before its pod is to end.
    SidecarProbeFails,
    /// The application beside Envoy hangs until its own probe has it restarted: that drains nobody.
    ApplicationProbeFails,
    /// The webhook is replaced by another replica while pods are made.
    WebhookRolled,
    /// The sidecar hangs for `length`, `after` the deletion of its pod.
    SidecarHangs {
        /// Since the deletion.
        after: Duration,
        /// How long.
        length: Duration,
    },
    /// Envoy hangs for `length`, `after` the deletion of its pod.
    EnvoyHangs {
        /// Since the deletion.
        after: Duration,
        /// How long.
        length: Duration,
    },
    /// Everything else on the machine is busy for `length`.
    CoresBusy {
        /// How long.
        length: Duration,
    },
    /// All Envoys and sidecars get next to no processor for `length`.
    Throttled {
        /// How long.
        length: Duration,
    },
    /// The sidecar is killed while it drains. The kubelet takes the broken hook for its end and stops
    /// Envoy at once, so that what is in flight there at that moment is lost, and nothing else.
    SidecarKilledInDrain {
        /// Since the deletion.
        after: Duration,
    },
    /// The same by the kernel, which gives it no more memory.
    SidecarOutOfMemoryInDrain {
        /// Since the deletion.
        after: Duration,
    },
    /// Envoy is killed while it drains; what is in flight there at that moment is lost.
    EnvoyKilledInDrain {
        /// Since the deletion.
        after: Duration,
    },
}

impl Fault {
    /// Whether what is in flight in one pod when it happens may be lost.
    pub fn cuts(self) -> bool {
        matches!(
            self,
            Fault::SidecarKilledInDrain { .. }
                | Fault::SidecarOutOfMemoryInDrain { .. }
                | Fault::EnvoyKilledInDrain { .. }
        )
    }
}

/// The rounds of a soak, without end.
#[derive(Clone, Debug)]
pub struct Rounds {
    rng: Rng,
}

impl Rounds {
    /// The rounds of this seed.
    pub fn of(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
        }
    }

    fn seconds(&mut self, range: Range<f64>) -> Duration {
        let seconds = range.start + self.rng.f64() * (range.end - range.start);
        // To the millisecond, so that what is printed is what was done.
        Duration::from_millis((seconds * 1000.0) as u64)
    }

    fn fault(&mut self) -> Fault {
        let after = self.seconds(INTO_THE_DRAIN);
        let hang = self.seconds(HANG);
        let length = self.seconds(BUSY);
        match self.rng.u8(0..24) {
            0..=4 => Fault::None,
            5..=6 => Fault::SidecarKilledBefore,
            7 => Fault::SidecarOutOfMemoryBefore,
            8 => Fault::SidecarProbeFails,
            9 => Fault::ApplicationProbeFails,
            10..=11 => Fault::WebhookRolled,
            12..=13 => Fault::SidecarHangs {
                after,
                length: hang,
            },
            14..=15 => Fault::EnvoyHangs {
                after,
                length: hang,
            },
            16..=17 => Fault::CoresBusy { length },
            18..=19 => Fault::Throttled { length },
            20..=21 => Fault::SidecarKilledInDrain { after },
            22 => Fault::SidecarOutOfMemoryInDrain { after },
            _ => Fault::EnvoyKilledInDrain { after },
        }
    }
}

impl Iterator for Rounds {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        let pause = self.seconds(PAUSE);
        let shape = match self.rng.u8(0..6) {
            0..=1 => Shape::Plain,
            2 => Shape::BesideItsApplication,
            3 => Shape::AdminOnASocket,
            4 => Shape::RegularContainer,
            _ => Shape::TwoEnvoys,
        };
        let end = match self.rng.u8(0..13) {
            0..=4 => End::Rollout,
            5 => End::RolloutTwice,
            6..=7 => End::RolloutUndone,
            8 => End::Deletion,
            9 => End::DeletionTwice,
            10 => End::DeletionInAHurry,
            11 => End::Eviction,
            _ => End::Scaling,
        };
        let fault = self.fault();
        Some(Round {
            pause,
            shape,
            end,
            fault,
        })
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, end, .. } = self;
        match end {
            End::Rollout | End::RolloutTwice | End::RolloutUndone => write!(f, "{end} to {shape}"),
            _ => write!(f, "{end}"),
        }?;
        match self.fault {
            Fault::None => Ok(()),
            fault => write!(f, ", {fault}"),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shape::Plain => "plain",
            Shape::BesideItsApplication => "beside its application",
            Shape::AdminOnASocket => "admin on a socket",
            Shape::RegularContainer => "regular container",
            Shape::TwoEnvoys => "two Envoys",
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Rollout => "rollout",
            End::RolloutTwice => "rollout twice",
            End::RolloutUndone => "rollout undone",
            End::Deletion => "deletion",
            End::DeletionTwice => "deletion twice",
            End::DeletionInAHurry => "deletion in a hurry",
            End::Eviction => "eviction",
            End::Scaling => "scaling",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Fault::None => "nothing",
            Fault::SidecarKilledBefore => "a sidecar killed before",
            Fault::SidecarOutOfMemoryBefore => "a sidecar out of memory before",
            Fault::SidecarProbeFails => "a sidecar restarted by its probe before",
            Fault::ApplicationProbeFails => "an application restarted by its probe before",
            Fault::WebhookRolled => "the webhook rolled",
            Fault::SidecarHangs { .. } => "a sidecar hangs",
            Fault::EnvoyHangs { .. } => "an Envoy hangs",
            Fault::CoresBusy { .. } => "all cores busy",
            Fault::Throttled { .. } => "all pods throttled",
            Fault::SidecarKilledInDrain { .. } => "a sidecar killed",
            Fault::SidecarOutOfMemoryInDrain { .. } => "a sidecar out of memory",
            Fault::EnvoyKilledInDrain { .. } => "an Envoy killed",
        };
        f.write_str(what)?;
        match self {
            Fault::SidecarHangs { length, .. }
            | Fault::EnvoyHangs { length, .. }
            | Fault::CoresBusy { length }
            | Fault::Throttled { length } => write!(f, " for {:.1} s", length.as_secs_f64())?,
            _ => {}
        }
        match self {
            Fault::SidecarHangs { after, .. }
            | Fault::EnvoyHangs { after, .. }
            | Fault::SidecarKilledInDrain { after }
            | Fault::SidecarOutOfMemoryInDrain { after }
            | Fault::EnvoyKilledInDrain { after } => {
                write!(f, " after {:.1} s", after.as_secs_f64())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(seed: u64) -> Vec<Round> {
        Rounds::of(seed).take(500).collect()
    }

    #[test]
    fn a_seed_gives_the_same_rounds_again_and_another_one_others() {
        assert_eq!(rounds(7), rounds(7));
        assert_ne!(rounds(7), rounds(8));
    }

    #[test]
    fn every_end_and_every_fault_comes_up() {
        let lines: Vec<_> = rounds(1).iter().map(ToString::to_string).collect();
        for part in [
            "rollout to plain",
            "rollout twice to two Envoys",
            "rollout undone to regular container",
            "to admin on a socket",
            "to beside its application",
            "deletion,",
            "deletion twice",
            "deletion in a hurry",
            "eviction",
            "scaling",
            "a sidecar killed before",
            "a sidecar out of memory before",
            "a sidecar restarted by its probe before",
            "an application restarted by its probe before",
            "the webhook rolled",
            "a sidecar hangs for",
            "an Envoy hangs for",
            "all cores busy for",
            "all pods throttled for",
            "a sidecar killed after",
            "a sidecar out of memory after",
            "an Envoy killed after",
        ] {
            assert!(lines.iter().any(|line| line.contains(part)), "{part}");
        }
    }
}
