//! YAML scalars, read and written as Kubernetes does.
//!
//! kubectl, Helm, kustomize and the API server read YAML through `sigs.k8s.io/yaml`, which follows
//! YAML 1.1: `yes`, `on` and `y` are booleans, `017` is fifteen, `1_000` is a thousand. Other
//! readers follow YAML 1.2, where these are strings. [`resolve`] reads as Kubernetes does;
//! [`write`] quotes whatever any of them could take for something else than the string it is.

use serde_json::{Number, Value};

/// The value of a plain scalar (or of any scalar with a core schema tag other than `!!str`).
/// `None` where it is a number that JSON cannot carry (`.inf`, `.nan`).
pub(super) fn resolve(text: &str) -> Option<Value> {
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            Value::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => return None,
        _ => match number(text) {
            Some(number) => number,
            None => Value::String(text.to_owned()),
        },
    };
    Some(value)
}

/// How a new string is quoted where it cannot stand plain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Quotes {
    /// `"8090"`, unless single quotes spare escapes.
    #[default]
    Double,
    /// `'8090'`, unless the string has what only double quotes can say.
    Single,
}

/// Where a scalar is written: plain scalars may hold less inside of `[]` and `{}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// On a line of its own, or after `key: `.
    Block,
    /// Inside of a flow collection.
    Flow,
}

/// `value` as one YAML scalar on one line. Collections are not scalars and are written as JSON.
pub(super) fn write(value: &Value, context: Context, quotes: Quotes) -> String {
    match value {
        Value::String(text) => write_string(text, context, quotes),
        other => other.to_string(),
    }
}

/// A string, or a key, as a YAML scalar on one line.
pub(super) fn write_string(text: &str, context: Context, quotes: Quotes) -> String {
    if is_plain(text, context) {
        return text.to_owned();
    }
    let single = match quotes {
        // JSON inside of double quotes is unreadable.
        Quotes::Double => text.matches(['"', '\\']).count() > text.matches('\'').count(),
        Quotes::Single => true,
    };
    if single && text.chars().all(is_printable) {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        double_quoted(text)
    }
}

/// Integers in Go's notation (`strconv.ParseInt` with base 0, underscores dropped), and floats.
fn number(text: &str) -> Option<Value> {
    let first = *text.as_bytes().first()?;
    if first == b'.' {
        return float(text);
    }
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-')) {
        return None;
    }
    let plain: String = text.chars().filter(|&c| c != '_').collect();
    integer(&plain).or_else(|| float(&plain))
}

fn integer(plain: &str) -> Option<Value> {
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain),
    };
    let prefixed = |prefixes: [&str; 2]| prefixes.iter().find_map(|p| digits.strip_prefix(p));
    let (digits, radix) = if let Some(rest) = prefixed(["0x", "0X"]) {
        (rest, 16)
    } else if let Some(rest) = prefixed(["0b", "0B"]) {
        (rest, 2)
    } else if let Some(rest) = prefixed(["0o", "0O"]) {
        (rest, 8)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (&digits[1..], 8)
    } else {
        (digits, 10)
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        0i64.checked_sub_unsigned(magnitude).map(Value::from)
    } else if plain.starts_with('+') && i64::try_from(magnitude).is_err() {
        None // Go's ParseUint takes no sign.
    } else {
        Some(Value::from(magnitude))
    }
}

/// A decimal float. Whole ones become integers, as they do on their way through Go's JSON.
fn float(plain: &str) -> Option<Value> {
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(plain);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let shaped = match mantissa.split_once('.') {
        None => digits(mantissa),
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
    };
    let exponent_shaped =
        exponent.is_none_or(|text| digits(text.strip_prefix(['+', '-']).unwrap_or(text)));
    if !shaped || !exponent_shaped {
        return None;
    }
    let float: f64 = plain.parse().ok().filter(|float: &f64| float.is_finite())?;
    // Up to here every whole number has an exact f64.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if float.fract() == 0.0 && float.abs() <= EXACT {
        #[allow(clippy::cast_possible_truncation)] // Whole and within 2^53.
        return Some(Value::from(float as i64));
    }
    Number::from_f64(float).map(Value::Number)
}

/// Whether `text` may stand without quotes and is the same string for every reader. Strict on
/// purpose: quoting what needs none costs two characters, the reverse costs a type.
fn is_plain(text: &str, context: Context) -> bool {
    let Some(first) = text.chars().next() else {
        return false;
    };
    let starts = first.is_ascii_alphanumeric() || matches!(first, '/' | '_' | '.' | '$');
    let holds = |c: char| {
        c.is_ascii_alphanumeric()
            || "_./:@+=$()-".contains(c)
            || (context == Context::Block && c == ',')
    };
    starts
        && text.chars().all(holds)
        && !text.ends_with(':')
        && !looks_like_number_or_date(text)
        && resolve(text).is_some_and(|value| value.is_string())
}

/// Dates, base 60 (`1:30` is 90 for YAML 1.1 readers other than Go's), versions like `1.10`.
fn looks_like_number_or_date(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || ".:_+-eETtZz".contains(c))
}

/// What YAML lets stand inside of single quotes on one line, for every version of YAML.
fn is_printable(c: char) -> bool {
    matches!(c, '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}')
        || matches!(c, '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
}

fn double_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xffff => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_plain_scalars_as_kubernetes_does() {
        for (text, value) in [
            ("yes", json!(true)),
            ("off", json!(false)),
            ("y", json!(true)),
            ("~", json!(null)),
            ("017", json!(15)),
            ("0o17", json!(15)),
            ("08", json!(8)),
            ("0x1F", json!(31)),
            ("-0b11", json!(-3)),
            ("1_000", json!(1000)),
            ("1.0", json!(1)),
            ("1e3", json!(1000)),
            ("-.5", json!(-0.5)),
            ("1:30", json!("1:30")),
            ("2001-01-01", json!("2001-01-01")),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1e400", json!("1e400")),
            ("<<", json!("<<")),
            ("300s", json!("300s")),
            ("+", json!("+")),
            ("0x", json!("0x")),
            (".", json!(".")),
        ] {
            assert_eq!(resolve(text), Some(value), "{text}");
        }
        assert_eq!(resolve(".inf"), None);
    }

    #[test]
    fn quotes_what_some_reader_would_take_for_something_else() {
        for text in [
            "yes",
            "on",
            "N",
            "8090",
            "1.10",
            "1:30",
            "2026-01-02",
            "",
            "~",
            "a: b",
            "- x",
            "#",
            "a,b",
        ] {
            let written = write_string(text, Context::Flow, Quotes::Double);
            assert!(
                written.starts_with(['"', '\'']),
                "{text} came out as {written}"
            );
        }
    }

    #[test]
    fn leaves_plain_what_everybody_reads_the_same() {
        for text in [
            "300s",
            "shutdown-manager",
            "ghcr.io/a/b:v0.1.0",
            "/healthz",
            "RuntimeDefault",
        ] {
            assert_eq!(write_string(text, Context::Flow, Quotes::Double), text);
        }
    }

    #[test]
    fn json_inside_of_a_string_stands_in_single_quotes() {
        let written = write_string(r#"{"a":"b"}"#, Context::Block, Quotes::Double);
        assert_eq!(written, r#"'{"a":"b"}'"#);
        let written = write_string("it's \"x\"\n", Context::Block, Quotes::Single);
        assert_eq!(written, r#""it's \"x\"\n""#);
    }
}
