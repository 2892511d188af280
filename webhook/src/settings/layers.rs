//! Who says what a setting is, and what it is where nobody does.

use std::time::Duration;

use super::written::PodAnnotations;
use super::{Settings, Source, Sourced};
use crate::annotations::Key;
use crate::configuration::{DEFAULT_IMAGE, InstallationDefaults, Namespace};
use crate::message::quoted;
use crate::quantity::Quantity;
use crate::value::{
    self, DrainListeners, LogLevel, Mode, PreStop, PullPolicy, WaitContainers, WaitFor,
};

/// Where values come from, the strongest first.
#[derive(Clone, Copy)]
pub(super) struct Layers<'a> {
    pub(super) pod: &'a PodAnnotations<'a>,
    pub(super) namespace: Option<&'a Namespace>,
    pub(super) defaults: Option<&'a InstallationDefaults>,
}

impl Layers<'_> {
    /// Every setting, with what is passed over because it is wrong.
    pub(super) fn settings(&self, warnings: &mut Vec<String>) -> Settings {
        let mut read = Reader {
            layers: self,
            warnings,
        };
        let milliseconds = Duration::from_millis;
        Settings {
            envoy: read.said(Key::Envoy, value::names),
            admin: read.said(Key::Admin, value::admin),
            wait_for: read.or(Key::WaitFor, WaitFor::read, WaitFor::Quiet),
            drain_timeout: read.or(
                Key::DrainTimeout,
                value::long_duration,
                milliseconds(300_000),
            ),
            drain_delay: read.or(Key::DrainDelay, value::duration, Duration::ZERO),
            min_drain: read.or(Key::MinDrain, value::duration, milliseconds(5_000)),
            quiet: read.or(Key::Quiet, value::duration, milliseconds(2_000)),
            idle_quiet: read.or(Key::IdleQuiet, value::duration, milliseconds(1_000)),
            arrivals_timeout: read.or(Key::ArrivalsTimeout, value::duration, milliseconds(60_000)),
            drain_listeners: read.or(
                Key::DrainListeners,
                DrainListeners::read,
                DrainListeners::Auto,
            ),
            upgrade_timeout: read.said(Key::UpgradeTimeout, value::duration),
            check_delay: read.or(Key::CheckDelay, value::duration, milliseconds(60_000)),
            check_interval: read.or(
                Key::CheckInterval,
                value::long_duration,
                milliseconds(5_000),
            ),
            min_open_connections: read.or(Key::MinOpenConnections, value::count, 0),
            exclude_listeners: read.said(Key::ExcludeListeners, value::listeners),
            wait_containers: read.or(
                Key::WaitContainers,
                value::wait_containers,
                WaitContainers::All,
            ),
            pre_stop: read.or(Key::PreStop, PreStop::read, PreStop::Reject),
            mode: read.or(Key::Mode, Mode::read, Mode::Auto),
            port: read.or(Key::Port, value::port, 8090),
            image: read.or(Key::Image, value::image, DEFAULT_IMAGE.to_owned()),
            image_pull_policy: read.said(Key::ImagePullPolicy, PullPolicy::read),
            image_pull_secrets: read.said(Key::ImagePullSecrets, value::secrets),
            cpu_request: read.or(Key::CpuRequest, value::quantity, Quantity::millis(5)),
            cpu_limit: read.said(Key::CpuLimit, value::quantity),
            memory_request: read.or(Key::MemoryRequest, value::quantity, Quantity::mebibytes(8)),
            memory_limit: read.or(Key::MemoryLimit, value::quantity, Quantity::mebibytes(32)),
            run_as_user: read.said(Key::RunAsUser, value::user),
            log_level: read.or(Key::LogLevel, LogLevel::read, LogLevel::Info),
        }
    }
}

struct Reader<'a, 'l> {
    layers: &'a Layers<'l>,
    warnings: &'a mut Vec<String>,
}

impl Reader<'_, '_> {
    /// The value that the strongest layer has, if it can be read.
    fn said<T>(
        &mut self,
        key: Key,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Sourced<T>> {
        // A fault of the pod's own value is reported where its annotations are checked.
        if let Some(value) = self.layers.pod.text(key).and_then(|text| read(text).ok()) {
            return Some(Sourced {
                value,
                source: Source::Pod,
            });
        }
        if let Some(namespace) = self.layers.namespace
            && let Some(text) = namespace.annotations.get(&key.full())
        {
            match read(text) {
                Ok(value) => {
                    return Some(Sourced {
                        value,
                        source: Source::Namespace,
                    });
                }
                Err(fault) => self.warnings.push(format!(
                    "namespace {}: {}: {} {fault}; passed over",
                    namespace.name,
                    key.full(),
                    quoted(text)
                )),
            }
        }
        let text = self.layers.defaults?.value(key)?;
        Some(Sourced {
            value: read(text).ok()?,
            source: Source::Installation,
        })
    }

    fn or<T>(
        &mut self,
        key: Key,
        read: impl Fn(&str) -> Result<T, String>,
        built_in: T,
    ) -> Sourced<T> {
        self.said(key, read).unwrap_or(Sourced {
            value: built_in,
            source: Source::BuiltIn,
        })
    }
}
