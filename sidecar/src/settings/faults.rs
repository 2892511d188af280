//! Collects what is wrong with a configuration, in one voice.

use std::{collections::BTreeMap, time::Duration};

use super::{Settings, SettingsError, duration, flags};
use crate::drain::{Plan, WaitFor};

/// The faults found so far.
pub(super) struct Faults<'a> {
    from_environment: &'a BTreeMap<String, String>,
    found: Vec<String>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(from_environment: &'a BTreeMap<String, String>) -> Self {
        Self {
            from_environment,
            found: Vec::new(),
        }
    }

    pub(super) fn none_or(self, settings: Settings) -> Result<Settings, SettingsError> {
        if self.found.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsError::Faults(self.found))
        }
    }

    pub(super) fn add(&mut self, fault: String) {
        self.found.push(fault);
    }

    /// A fault of one flag's value, under the name by which it was given.
    pub(super) fn wrong(&mut self, flag: &str, fault: &str) {
        let name = self.name(flag);
        self.add(format!("{name}: {fault}"));
    }

    pub(super) fn only_first_is_variable(&self, first: &str, second: &str) -> bool {
        self.from_environment.contains_key(first) && !self.from_environment.contains_key(second)
    }

    pub(super) fn parsed<T>(
        &mut self,
        flag: &str,
        value: Option<String>,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = value?;
        let parsed = parse(value.trim());
        if parsed.is_none() {
            // A wrong token is still somebody's secret.
            let shown = if flag == "token" {
                "the value".to_owned()
            } else {
                format!("{value:?}")
            };
            self.wrong(flag, &format!("{shown} is not {allowed}"));
        }
        parsed
    }

    pub(super) fn port(&mut self, flag: &str, value: Option<String>, default: u16) -> u16 {
        self.parsed(flag, value, "a port: use 1 to 65535", |text| {
            text.parse().ok().filter(|port| *port != 0)
        })
        .unwrap_or(default)
    }

    pub(super) fn duration(
        &mut self,
        flag: &str,
        value: Option<String>,
        default: Duration,
    ) -> Duration {
        let allowed = format!("a duration: {}", duration::ALLOWED);
        self.parsed(flag, value, &allowed, duration::parse)
            .unwrap_or(default)
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        flag: &str,
        value: Option<String>,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let allowed = format!("one of {}", names.join(", "));
        self.parsed(flag, value, &allowed, |text| {
            choices
                .iter()
                .find(|(name, _)| *name == text)
                .map(|(_, choice)| *choice)
        })
        .unwrap_or(default)
    }

    /// The end must be able to come before the bound.
    pub(super) fn check_bounds(&mut self, plan: &Plan) {
        let (floor_flag, floor) = match plan.wait_for {
            WaitFor::Quiet => ("min-drain", plan.min_drain),
            WaitFor::Connections => ("check-delay", plan.check_delay),
        };
        if plan.delay + floor >= plan.timeout {
            self.add(format!(
                "drain-delay {:?} + {floor_flag} {floor:?} leaves nothing of drain-timeout {:?}: \
                 raise --drain-timeout or lower the others",
                plan.delay, plan.timeout
            ));
        }
        if plan.check_interval.is_zero() {
            self.wrong(
                "check-interval",
                "0 would ask Envoy without a pause: use 1s or more",
            );
        }
    }

    fn name(&self, flag: &str) -> String {
        if self.from_environment.contains_key(flag) {
            flags::variable(flag)
        } else {
            format!("--{flag}")
        }
    }
}

/// A message of several lines (clap's) as one.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("Usage:"))
        .collect();
    words.join("; ").trim_start_matches("error: ").to_owned()
}
