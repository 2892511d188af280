//! Publishers, replicas and an API server on paper, and what must hold in every second.

use std::convert::Infallible;
use std::time::SystemTime;

use super::super::fixtures::{LIFETIMES, ORGANIZATION, at, entry, mint, parts, seconds};
use super::super::{
    Configuration, Entry, Event, Findings, Observed, Parts, Plan, Planner, Rotation,
    SecretObserved, Watched,
};
use super::Act;
use crate::authority::Authority;
use crate::certificate::Certificate;

#[derive(Default)]
pub(super) struct Publisher {
    up: bool,
    /// Wall clock minus true time, seconds.
    pub(super) off: i64,
    pub(super) memory: Option<Rotation>,
    watched: Watched,
}

/// A replica; its clock is right.
#[derive(Default)]
pub(super) struct Replica {
    connected: bool,
    /// Whether it has seen the Secret since it was connected: there may be none to be seen.
    heard: bool,
    rotation: Option<Rotation>,
    held: Option<Authority>,
    issued: u64,
}

pub(super) struct World {
    pub(super) second: u64,
    racing: bool,
    /// Parts and version.
    secret: Option<Box<Parts>>,
    secret_version: u64,
    request: Option<String>,
    pub(super) entries: Vec<Vec<Entry>>,
    versions: Vec<u64>,
    /// For each CA since when it has stood in every entry, without a break.
    stood: Vec<(Certificate, u64)>,
    /// The CAs that stood there for the overlap, whatever somebody wrote afterwards.
    ripe: Vec<Certificate>,
    /// The CAs that signed once, and when they ceased to.
    left: Vec<(Certificate, u64)>,
    pub(super) publishers: [Publisher; 2],
    replicas: [Replica; 3],
    /// Whether a wall clock has ever been wrong.
    jumped: bool,
    /// Whether one was ever wrong by months.
    absurd: bool,
    /// Whether the Secret was ever lost with nobody there who remembers it.
    forgotten: bool,
    pub(super) writes: usize,
}

impl World {
    pub(super) fn new() -> Self {
        let names = [["annotation", "namespace"].as_slice(), ["warn"].as_slice()];
        let empty = |names: &&[&str]| names.iter().map(|name| entry(name, &[])).collect();
        Self {
            second: 0,
            racing: false,
            secret: None,
            secret_version: 0,
            request: None,
            entries: names.iter().map(empty).collect(),
            versions: vec![0, 0],
            stood: Vec::new(),
            ripe: Vec::new(),
            left: Vec::new(),
            publishers: [true, true].map(|up| Publisher {
                up,
                ..Publisher::default()
            }),
            replicas: [true; 3].map(|connected| Replica {
                connected,
                ..Replica::default()
            }),
            jumped: false,
            absurd: false,
            forgotten: false,
            writes: 0,
        }
    }

    pub(super) fn act(&mut self, act: &Act) {
        match act {
            Act::Pass(count) => (0..*count).for_each(|_| self.pass()),
            Act::Race(racing) => self.racing = *racing,
            Act::StopPublisher(which) => {
                let off = self.publishers[*which].off;
                self.publishers[*which] = Publisher {
                    off,
                    ..Publisher::default()
                };
            }
            Act::StartPublisher(which) => self.publishers[*which].up = true,
            Act::Clock(which, off) => {
                self.publishers[*which].off = *off;
                self.jumped |= *off != 0;
                // Whose clock is as far off as that cannot talk to an API server, whose certificate
                // does not verify then. All is to end well even so.
                self.absurd |= off.unsigned_abs() > LIFETIMES.authority.as_secs() / 2;
            }
            Act::Disconnect(which) => {
                let replica = &mut self.replicas[*which];
                (replica.connected, replica.heard) = (false, false);
            }
            Act::Connect(which) => self.replicas[*which].connected = true,
            Act::RestartReplica(which) => {
                let connected = self.replicas[*which].connected;
                self.replicas[*which] = Replica {
                    connected,
                    ..Replica::default()
                };
            }
            Act::DeleteSecret => {
                self.secret = None;
                self.secret_version += 1;
                self.disturbed();
            }
            Act::Damage(damage) => {
                if let Some(parts) = &mut self.secret {
                    damage.inflict(parts);
                    self.secret_version += 1;
                    self.disturbed();
                }
            }
            Act::Overwrite(index, overwrite) => {
                let configuration = index.index(self.entries.len());
                let entries = &mut self.entries[configuration];
                let one = index.index(entries.len());
                overwrite.inflict(&mut entries[one], at(self.second));
                self.versions[configuration] += 1;
                self.stand();
            }
            Act::Ask(value) => self.request = Some(value.to_string()),
        }
    }

    fn disturbed(&mut self) {
        let remembered = self
            .publishers
            .iter()
            .any(|one| one.up && one.memory.is_some());
        self.forgotten |= !remembered;
    }

    /// One second.
    pub(super) fn pass(&mut self) {
        self.second += 1;
        self.ripen();
        for replica in 0..self.replicas.len() {
            self.replicate(replica);
        }
        // Enough steps for whatever follows from one another, and not more.
        for _ in 0..6 {
            let before = self.writes;
            let mut up = vec![0, 1];
            up.retain(|which| self.publishers[*which].up);
            if self.racing {
                let decided: Vec<_> = up
                    .into_iter()
                    .map(|which| (which, self.decide(which)))
                    .collect();
                for (which, decided) in decided {
                    self.write(which, decided);
                }
            } else {
                for which in up {
                    let decided = self.decide(which);
                    self.write(which, decided);
                }
            }
            if self.writes == before {
                break;
            }
        }
    }

    fn decide(&mut self, which: usize) -> Decided {
        let observed = self.observed();
        let second = self.second;
        let publisher = &mut self.publishers[which];
        let now = shifted(second, publisher.off);
        let rotation = observed.rotation();
        let right = rotation
            .as_ref()
            .and_then(|one| observed.right(&one.bundle()));
        let watched = publisher
            .watched
            .see(rotation.as_ref(), right, seconds(second));
        let planner = Planner {
            organization: ORGANIZATION.to_owned(),
            lifetimes: LIFETIMES,
        };
        let findings = Findings {
            memory: publisher.memory.as_ref(),
            watched,
            now,
        };
        let Ok(plan) = planner.plan(&observed, findings, || Ok::<_, Infallible>(mint(now)));
        let versions = self.versions.clone();
        Decided {
            plan,
            rotation,
            versions,
            secret_version: self.secret_version,
        }
    }

    /// Writes as the API server takes it: nothing that was decided on an older version.
    fn write(&mut self, which: usize, decided: Decided) {
        for write in &decided.plan.bundles {
            let index = write.configuration;
            if self.versions[index] != decided.versions[index] {
                return;
            }
            self.writes += 1;
            self.keeps_served_trusted(&write.bundle);
            for entry in &mut self.entries[index] {
                (entry.bundle, entry.garbage) = (write.bundle.clone(), false);
            }
            self.versions[index] += 1;
            self.stand();
        }
        if let Some(rotation) = &decided.plan.secret {
            if self.secret_version != decided.secret_version {
                return;
            }
            self.writes += 1;
            if decided.plan.events.contains(&Event::Switched) {
                self.switches_to_published(rotation);
                let second = self.second;
                self.left
                    .extend(rotation.previous.iter().map(|one| (one.clone(), second)));
            }
            self.secret = Some(Box::new(parts(rotation)));
            self.secret_version += 1;
        }
        let publisher = &mut self.publishers[which];
        let memory = publisher.memory.take();
        publisher.memory = decided.plan.secret.or(decided.rotation).or(memory);
    }

    /// No publisher switches before the overlap is over, however its clock runs.
    fn switches_to_published(&self, rotation: &Rotation) {
        let current = rotation
            .current
            .as_ref()
            .map(|current| &current.certificate);
        let stood = self.stood.iter().find(|(one, _)| Some(one) == current);
        let since = stood.map(|(_, since)| *since);
        let overlap = LIFETIMES.overlap.as_secs();
        assert!(
            since.is_some_and(|since| self.second - since >= overlap),
            "switched in second {} to what is published since {since:?}",
            self.second
        );
    }

    /// No publisher takes away trust in what a replica serves.
    fn keeps_served_trusted(&self, bundle: &[Certificate]) {
        for (which, replica) in self.replicas.iter().enumerate() {
            let Some(held) = &replica.held else { continue };
            let lives = self.second < replica.issued + LIFETIMES.leaf.as_secs();
            // What is served and was trusted so far.
            let trusted = self.stood.iter().any(|(one, _)| *one == held.certificate);
            // A replica that hears nothing is covered for as long as the last leaf that it could
            // rightly mint lives, which is counted on the wall clock.
            let heard = replica.heard || (!self.jumped && lives && replica.rightly(self));
            if trusted && heard && lives && !self.forgotten && !self.absurd {
                assert!(
                    bundle.contains(&held.certificate),
                    "replica {which} serves what is trusted no longer, second {}",
                    self.second
                );
            }
        }
    }

    /// A replica hears of the Secret and mints where it is time to.
    fn replicate(&mut self, which: usize) {
        let now = at(self.second);
        let whole = self.secret.as_ref().and_then(|parts| parts.assemble().ok());
        let replica = &mut self.replicas[which];
        if replica.connected && whole.is_some() {
            (replica.rotation, replica.heard) = (whole, true);
        }
        let Some(rotation) = &replica.rotation else {
            return;
        };
        let Some(chosen) = rotation.choose(replica.held.as_ref(), now) else {
            return;
        };
        let chosen = chosen.clone();
        let other = replica.held.as_ref() != Some(&chosen);
        if !other && self.second < replica.issued + LIFETIMES.leaf_renewal.as_secs() {
            return;
        }
        let before = replica.held.replace(chosen.clone());
        replica.issued = self.second;
        // Who has something that is accepted changes it only for what has been published for the
        // overlap.
        let was_good = before.is_some_and(|before| before.certificate.validity.contains(now));
        if other && was_good && !self.forgotten && !self.absurd {
            assert!(
                self.ripe.contains(&chosen.certificate),
                "replica {which} signs in second {} with what was not published for the overlap",
                self.second
            );
        }
    }

    /// Takes note of what stands in every entry.
    fn stand(&mut self) {
        let entries: Vec<_> = self.entries.iter().flatten().collect();
        let everywhere = |one: &Certificate| {
            entries
                .iter()
                .all(|entry| !entry.garbage && entry.bundle.contains(one))
        };
        let known = self
            .stood
            .iter()
            .filter(|(one, _)| everywhere(one))
            .cloned();
        let mut stood: Vec<_> = known.collect();
        for one in entries.first().into_iter().flat_map(|entry| &entry.bundle) {
            if everywhere(one) && !stood.iter().any(|(known, _)| known == one) {
                stood.push((one.clone(), self.second));
            }
        }
        self.stood = stood;
        self.ripen();
    }

    fn ripen(&mut self) {
        let overlap = LIFETIMES.overlap.as_secs();
        for (one, since) in &self.stood {
            if self.second - since >= overlap && !self.ripe.contains(one) {
                self.ripe.push(one.clone());
            }
        }
    }

    pub(super) fn observed(&self) -> Observed {
        let secret = match &self.secret {
            Some(parts) => SecretObserved::Present {
                parts: parts.clone(),
                request: self.request.clone(),
            },
            None => SecretObserved::Absent,
        };
        let configurations = self
            .entries
            .iter()
            .cloned()
            .map(Configuration::Found)
            .collect();
        Observed {
            secret,
            configurations,
        }
    }

    /// Everything is as it should be, by true time.
    pub(super) fn is_well(&self) {
        let rotation = self.observed().rotation().expect("the Secret is whole");
        assert_eq!(self.observed().right(&rotation.bundle()), Some(true));
        assert_eq!(rotation.published, rotation.bundle());
        let (now, current) = (at(self.second), rotation.current.clone().unwrap());
        assert!(current.certificate.validity.contains(now));
        for replica in &self.replicas {
            let held = replica.held.as_ref().expect("every replica serves");
            assert!(rotation.bundle().contains(&held.certificate));
            assert!(held.certificate.validity.contains(now));
        }
    }
}

struct Decided {
    plan: Plan,
    rotation: Option<Rotation>,
    versions: Vec<u64>,
    secret_version: u64,
}

impl Replica {
    /// Whether its leaf was minted while its CA was still the one to sign with.
    fn rightly(&self, world: &World) -> bool {
        let mut left = world.left.iter();
        let held = self.held.as_ref().map(|held| &held.certificate);
        let left = left.find(|(one, _)| Some(one) == held);
        left.is_none_or(|(_, second)| self.issued <= *second)
    }
}

fn shifted(second: u64, off: i64) -> SystemTime {
    let distance = seconds(off.unsigned_abs());
    if off < 0 {
        at(second) - distance
    } else {
        at(second) + distance
    }
}
