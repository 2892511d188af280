//! Logs: one line per decision, on standard error.

use tracing::Level;

use crate::settings::LogFormat;

/// Logs from now on.
pub(crate) fn begin(level: Level, format: LogFormat) {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}
