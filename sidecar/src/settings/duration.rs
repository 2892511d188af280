//! Durations as people write them: `90s`, `5m`, `1m30s`, Go's `1m0s` and `1.5s`, whole seconds.

use std::time::Duration;

/// What is allowed, for messages.
pub(super) const ALLOWED: &str = "write 90s, 5m, 1m30s or 500ms";

/// Longer than any grace period; keeps sums of durations far from overflow.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Reads a duration. `None` where the text is none, is negative, or is longer than a week.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    whole_seconds(text)
        .or_else(|| humantime::parse_duration(text).ok())
        .or_else(|| go_duration(text))
        .filter(|duration| *duration <= LONGEST)
}

fn whole_seconds(text: &str) -> Option<Duration> {
    // `parse` alone would take "+5" as well, which nobody means.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
        .map(Duration::from_secs)
}

/// Go's form with decimal fractions (`1.5s`, `1h0m0.25s`), which humantime does not know.
fn go_duration(mut text: &str) -> Option<Duration> {
    if text.is_empty() {
        return None;
    }
    let mut sum = 0.0;
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at(digits);
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * seconds;
        text = rest;
    }
    Duration::try_from_secs_f64(sum).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("1m30s", 90_000),
            ("1m 30s", 90_000),
            ("1m0s", 60_000),
            ("500ms", 500),
            ("0", 0),
            ("0s", 0),
            ("60", 60_000),
            ("1.5s", 1_500),
            ("1h0m0.25s", 3_600_250),
            ("1day", 86_400_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "", " ", "s", "-5s", "+5", "five", "5 apples", "1.2.3s", ".s", "1e3s", "8days",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
