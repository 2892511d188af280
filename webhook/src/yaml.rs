//! YAML that somebody else wrote, read within bounds.

use serde_json::Value;
use serde_saphyr::options::DuplicateKeyPolicy;

/// Longer texts are not read: the API server takes no object of more than 3 MiB either.
const LONGEST: usize = 3 << 20;

/// Reads one YAML document as data; an empty one is null.
///
/// # Errors
/// What is wrong and where, in one line. Aliases that would grow without bound are an error.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    if text.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let options = serde_saphyr::options! {
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
    fn depth_is_bounded() {
        assert!(read(&"[".repeat(100_000)).is_err());
    }
}
