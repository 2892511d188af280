//! What an annotation's value may be, and reading it.
//!
//! Each reader gives the value, or what is wrong with the text as the end of a sentence that begins
//! with the key and the value: `drainhook.io/port: "http" is not a port ...`.

mod admin;
mod words;

use std::fmt;
use std::time::Duration;

pub use admin::{Admin, AdminAddress};
pub(crate) use admin::{admin, admin_address, socket_path};
pub use words::{DrainListeners, LogLevel, Mode, PreStop, PullPolicy, Switch, WaitFor};

use crate::quantity::Quantity;

/// Longer is a slip of the pen: no rollout waits a week for one pod.
pub const LONGEST_DURATION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The sidecar has no privileges, and on the node's network no port below this one either.
pub const LOWEST_PORT: u16 = 1024;

/// The longest name of a container (a DNS label, RFC 1123).
const LONGEST_NAME: usize = 63;

/// `wait-containers`: which containers beside Envoy outlive the drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitContainers {
    /// Each that has no preStop hook of its own.
    All,
    /// None.
    None,
    /// These.
    Named(Vec<String>),
}

impl fmt::Display for WaitContainers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("all"),
            Self::None => formatter.write_str("none"),
            Self::Named(names) => formatter.write_str(&names.join(",")),
        }
    }
}

/// What a value may be: the sentence of the documentation, and the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of these words.
    Word(&'static [&'static str]),
    /// A duration, zero included.
    Duration,
    /// A duration of more than zero.
    LongDuration,
    /// A whole number from 0.
    Count,
    /// A TCP port that needs no privilege.
    Port,
    /// Names of containers.
    Names,
    /// Names of containers, `all` or `none`.
    WaitContainers,
    /// Admin addresses.
    Admin,
    /// Listeners by name, stat name or port.
    Listeners,
    /// A container image.
    Image,
    /// Names of Secrets.
    Secrets,
    /// A quantity of CPU or memory.
    Quantity,
    /// A numeric user id.
    User,
}

impl Kind {
    /// Whether the text is a value of this kind.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Word(words) if words.contains(&text) => Ok(()),
            Self::Word(words) => Err(not_a_word(words)),
            Self::Duration => duration(text).map(drop),
            Self::LongDuration => long_duration(text).map(drop),
            Self::Count => count(text).map(drop),
            Self::Port => port(text).map(drop),
            Self::Names => names(text).map(drop),
            Self::WaitContainers => wait_containers(text).map(drop),
            Self::Admin => admin(text).map(drop),
            Self::Listeners => listeners(text).map(drop),
            Self::Image => image(text).map(drop),
            Self::Secrets => secrets(text).map(drop),
            Self::Quantity => quantity(text).map(drop),
            Self::User => user(text).map(drop),
        }
    }

    /// What is allowed, for documentation.
    #[must_use]
    pub fn allowed(self) -> String {
        match self {
            Self::Word(words) => words
                .iter()
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", "),
            Self::Duration => "a duration: `500ms`, `90s`, `5m`, `1m30s`, `0s`".into(),
            Self::LongDuration => "a duration above zero: `500ms`, `90s`, `5m`, `1m30s`".into(),
            Self::Count => "a whole number".into(),
            Self::Port => format!("a port from {LOWEST_PORT} to 65535"),
            Self::Names => "names of containers, separated by commas".into(),
            Self::WaitContainers => {
                "`all`, `none`, or names of containers, separated by commas".into()
            }
            Self::Admin => "`9901`, `127.0.0.1:9901`, `[::1]:9901` or `unix:///path`; for several \
                            Envoys `name=address,name2=address2`"
                .into(),
            Self::Listeners => "names, stat names or ports, separated by commas".into(),
            Self::Image => "a container image".into(),
            Self::Secrets => "names of Secrets, separated by commas".into(),
            Self::Quantity => "a quantity above zero: `5m`, `0.1`, `8Mi`".into(),
            Self::User => "a numeric user id".into(),
        }
    }
}

fn not_a_word(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => {
            format!("is none of {} and {last}", others.join(", "))
        }
        _ => format!("is not {}", quoted.concat()),
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("has no unit: write \"{text}s\" for seconds"));
    }
    let duration = humantime::parse_duration(text)
        .map_err(|_| "is not a duration: write 90s, 5m or 1m30s".to_owned())?;
    if duration > LONGEST_DURATION {
        return Err("is longer than the longest duration, 7days".into());
    }
    if duration.subsec_nanos() % 1_000_000 != 0 {
        return Err("is finer than a millisecond".into());
    }
    Ok(duration)
}

pub(crate) fn long_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() {
        return Err("is no time at all: write more than 0s".into());
    }
    Ok(duration)
}

/// A duration as the sidecar gets it: whole seconds, or milliseconds where it has a fraction.
pub(crate) fn duration_text(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

pub(crate) fn count(text: &str) -> Result<u32, String> {
    digits(text).ok_or_else(|| format!("is not a whole number from 0 to {}", u32::MAX))
}

pub(crate) fn port(text: &str) -> Result<u16, String> {
    digits(text)
        .filter(|port| *port >= LOWEST_PORT)
        .ok_or_else(|| format!("is not a port from {LOWEST_PORT} to {}", u16::MAX))
}

pub(crate) fn user(text: &str) -> Result<u32, String> {
    // Kubernetes takes what an i32 holds.
    digits::<i32>(text)
        .and_then(|id| u32::try_from(id).ok())
        .ok_or_else(|| format!("is not a numeric user id from 0 to {}", i32::MAX))
}

/// Digits alone: Rust's own parsing would take a `+` as well.
fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

pub(crate) fn names(text: &str) -> Result<Vec<String>, String> {
    let names = items(text)?;
    for name in &names {
        if !is_name(name) {
            return Err(format!(
                "has {}, which is not a name that a container may have",
                crate::message::quoted(name)
            ));
        }
    }
    Ok(names)
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

pub(crate) fn secrets(text: &str) -> Result<Vec<String>, String> {
    let names = items(text)?;
    for name in &names {
        // A DNS subdomain (RFC 1123): labels joined by dots.
        if name.len() > 253 || !name.split('.').all(is_name) {
            return Err(format!(
                "has {}, which is not a name that a Secret may have",
                crate::message::quoted(name)
            ));
        }
    }
    Ok(names)
}

pub(crate) fn wait_containers(text: &str) -> Result<WaitContainers, String> {
    match text {
        "all" => Ok(WaitContainers::All),
        "none" => Ok(WaitContainers::None),
        _ => names(text).map(WaitContainers::Named),
    }
}

pub(crate) fn listeners(text: &str) -> Result<Vec<String>, String> {
    let listeners = items(text)?;
    if listeners
        .iter()
        .any(|listener| listener.chars().any(char::is_control))
    {
        return Err("has a control character".into());
    }
    Ok(listeners)
}

/// What stands between the commas, without blanks around it, none empty and none twice.
fn items(text: &str) -> Result<Vec<String>, String> {
    let mut items: Vec<String> = Vec::new();
    for item in text.split(',').map(str::trim) {
        if item.is_empty() {
            return Err("has nothing in one place of the list".into());
        }
        if items.iter().any(|earlier| earlier == item) {
            return Err(format!("has {} twice", crate::message::quoted(item)));
        }
        items.push(item.to_owned());
    }
    Ok(items)
}

pub(crate) fn image(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    let begins_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    if begins_well && text.len() <= 1024 && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("is not a container image: write it as registry.example/name:tag".into())
    }
}

pub(crate) fn quantity(text: &str) -> Result<Quantity, String> {
    Quantity::parse(text)
        .ok()
        .filter(Quantity::is_positive)
        .ok_or_else(|| {
            "is not a quantity above zero: write 5m or 0.1 for CPU, 8Mi for memory".into()
        })
}

#[cfg(test)]
mod tests;
