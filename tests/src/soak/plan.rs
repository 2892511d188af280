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
    /// The sidecar is killed while it drains. The kubelet takes the broken hook for its end and stops
    /// Envoy at once, so that what is in flight there at that moment is lost, and nothing else.
    SidecarKilledInDrain {
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
            Fault::SidecarKilledInDrain { .. } | Fault::EnvoyKilledInDrain { .. }
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
        let length = self.seconds(HANG);
        match self.rng.u8(0..14) {
            0..=3 => Fault::None,
            4..=5 => Fault::SidecarKilledBefore,
            6..=7 => Fault::SidecarHangs { after, length },
            8..=9 => Fault::EnvoyHangs { after, length },
            10..=11 => Fault::CoresBusy {
                length: self.seconds(BUSY),
            },
            12 => Fault::SidecarKilledInDrain { after },
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
        let end = match self.rng.u8(0..12) {
            0..=4 => End::Rollout,
            5 => End::RolloutTwice,
            6..=7 => End::RolloutUndone,
            8 => End::Deletion,
            9 => End::DeletionTwice,
            10 => End::Eviction,
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
        let end = match self.end {
            End::Rollout => "rollout",
            End::RolloutTwice => "rollout twice",
            End::RolloutUndone => "rollout undone",
            End::Deletion => "deletion",
            End::DeletionTwice => "deletion twice",
            End::Eviction => "eviction",
            End::Scaling => "scaling",
        };
        let shape = match self.shape {
            Shape::Plain => "plain",
            Shape::BesideItsApplication => "beside its application",
            Shape::AdminOnASocket => "admin on a socket",
            Shape::RegularContainer => "regular container",
            Shape::TwoEnvoys => "two Envoys",
        };
        match self.end {
            End::Rollout | End::RolloutTwice | End::RolloutUndone => write!(f, "{end} to {shape}")?,
            End::Deletion | End::DeletionTwice | End::Eviction | End::Scaling => {
                f.write_str(end)?
            }
        }
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
        match self.fault {
            Fault::None => Ok(()),
            Fault::SidecarKilledBefore => f.write_str(", a sidecar killed before"),
            Fault::SidecarHangs { after, length } => {
                let (after, length) = (seconds(after), seconds(length));
                write!(f, ", a sidecar hangs for {length} after {after}")
            }
            Fault::EnvoyHangs { after, length } => {
                let (after, length) = (seconds(after), seconds(length));
                write!(f, ", an Envoy hangs for {length} after {after}")
            }
            Fault::CoresBusy { length } => write!(f, ", all cores busy for {}", seconds(length)),
            Fault::SidecarKilledInDrain { after } => {
                write!(f, ", a sidecar killed after {}", seconds(after))
            }
            Fault::EnvoyKilledInDrain { after } => {
                write!(f, ", an Envoy killed after {}", seconds(after))
            }
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
            "eviction",
            "scaling",
            "a sidecar killed before",
            "a sidecar hangs for",
            "an Envoy hangs for",
            "all cores busy",
            "a sidecar killed after",
            "an Envoy killed after",
        ] {
            assert!(lines.iter().any(|line| line.contains(part)), "{part}");
        }
    }
}
