//! YAML that somebody else wrote, read within bounds.

use serde_json::Value;
use serde_saphyr::options::DuplicateKeyPolicy;

/// Bytes. Longer texts are not read: no argument of a command may be longer on Linux
/// (`MAX_ARG_STRLEN`), and an installation's defaults are shorter still.
const LONGEST: usize = 128 * 1024;

/// Lists, maps and values. A text of that length with more of them is no configuration: they would
/// take megabytes, of which the webhook's budget knows nothing.
const MOST_NODES: usize = 10_000;

/// Bytes of values, aliases followed.
const MOST_SCALAR_BYTES: usize = 4 * LONGEST;

/// Reads one YAML document as data; an empty one is null.
///
/// # Errors
/// What is wrong and where, in one line. Aliases that would grow without bound are an error.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    if text.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MOST_NODES,
            max_events: 4 * MOST_NODES,
            max_anchors: MOST_NODES,
            max_aliases: MOST_NODES,
            max_recorded_anchor_events: MOST_NODES,
            max_recorded_anchor_bytes: MOST_SCALAR_BYTES,
            max_total_scalar_bytes: MOST_SCALAR_BYTES,
        },
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::Error,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|fault| crate::message::printable(fault.to_string().lines().next().unwrap_or("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_null() {
        assert_eq!(read(""), Ok(Value::Null));
        assert_eq!(read("# a comment\n"), Ok(Value::Null));
    }

    #[test]
    fn aliases_that_grow_without_bound_are_an_error() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let item = format!("*a{}", level - 1);
            text.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                [item.as_str(); 10].join(", ")
            ));
        }
        assert!(read(&text).is_err());
    }

    #[test]
    fn more_values_than_any_configuration_has_are_an_error() {
        assert!(read(&"- 0\n".repeat(MOST_NODES / 2)).is_ok());
        assert!(read(&"- 0\n".repeat(MOST_NODES + 1)).is_err());
    }

    #[test]
    fn depth_is_bounded() {
        assert!(read(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn a_text_longer_than_any_configuration_is_an_error() {
        let comment = |length: usize| "#".repeat(length);
        assert_eq!(read(&comment(LONGEST)), Ok(Value::Null));
        for more in [1, 2] {
            assert!(read(&comment(LONGEST + more)).is_err(), "{more} more");
        }
    }
}
