//! Quantities of CPU and memory as Kubernetes writes them: `5m`, `0.1`, `8Mi`, `1e3`.
//!
//! Only what the patch needs: is it one, and which of two is greater.
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

use std::fmt;

/// A quantity as it was written, with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    text: String,
    nanos: i128,
}

impl Quantity {
    /// Reads a quantity.
    ///
    /// # Errors
    /// When the text is none, or is greater than any machine has.
    pub fn parse(text: &str) -> Result<Self, String> {
        let end = text
            .find(|character: char| !(character.is_ascii_digit() || "+-.".contains(character)))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let nanos = decimal(number)
            .zip(multiplier(suffix))
            .and_then(|(number, (factor, divisor))| {
                number.checked_mul(factor)?.checked_div(divisor)
            })
            .ok_or("is not a quantity")?;
        Ok(Self {
            text: text.to_owned(),
            nanos,
        })
    }

    /// Thousandths of a CPU.
    #[must_use]
    pub fn millis(count: u32) -> Self {
        Self {
            text: format!("{count}m"),
            nanos: i128::from(count) * 1_000_000,
        }
    }

    /// Mebibytes of memory.
    #[must_use]
    pub fn mebibytes(count: u32) -> Self {
        Self {
            text: format!("{count}Mi"),
            nanos: (i128::from(count) << 20) * 1_000_000_000,
        }
    }

    /// Whether this is more than the other.
    #[must_use]
    pub fn exceeds(&self, other: &Self) -> bool {
        self.nanos > other.nanos
    }

    /// Whether both stand for the same amount, however they are written.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }

    /// Whether this is more than nothing.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.nanos > 0
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The number in billionths; digits beyond them are not significant to Kubernetes either.
fn decimal(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || whole.len() > 18 {
        return None;
    }
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let mut nanos: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    for place in 0..9 {
        let digit = fraction
            .as_bytes()
            .get(place)
            .map_or(0, |byte| i128::from(byte - b'0'));
        nanos = nanos * 10 + digit;
    }
    Some(if negative { -nanos } else { nanos })
}

/// Factor and divisor of a suffix.
fn multiplier(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1i128 << (10 * power), 1));
    match suffix {
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "" => Some((1, 1)),
        "k" => Some((1_000, 1)),
        "M" => Some((1_000_000, 1)),
        "G" => Some((1_000_000_000, 1)),
        "T" => Some((1_000_000_000_000, 1)),
        "P" => Some((1_000_000_000_000_000, 1)),
        "E" => Some((1_000_000_000_000_000_000, 1)),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => exponent(suffix),
    }
}

fn exponent(suffix: &str) -> Option<(i128, i128)> {
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let factor = 10i128.checked_pow(power.unsigned_abs().min(18))?;
    (power.abs() <= 18).then_some(if power < 0 { (1, factor) } else { (factor, 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        Quantity::parse(text).unwrap()
    }

    #[test]
    fn equal_amounts_are_equal_however_they_are_written() {
        for (one, other) in [
            ("0.1", "100m"),
            ("1Mi", "1048576"),
            ("1k", "1e3"),
            (".5", "500m"),
        ] {
            assert!(quantity(one).equals(&quantity(other)), "{one} and {other}");
        }
    }

    #[test]
    fn what_is_built_equals_what_is_read() {
        assert_eq!(Quantity::millis(5), quantity("5m"));
        assert_eq!(Quantity::mebibytes(8), quantity("8Mi"));
    }

    #[test]
    fn greater_is_greater_across_suffixes() {
        assert!(quantity("32Mi").exceeds(&quantity("32M")));
        assert!(quantity("1").exceeds(&quantity("999m")));
        assert!(!quantity("8Mi").exceeds(&quantity("8Mi")));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "m",
            "1 Mi",
            "1mi",
            "1.2.3",
            "--1",
            "1e",
            "1e99",
            "ten",
            "9".repeat(40).as_str(),
        ] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_and_less_are_not_positive() {
        assert!(!quantity("0").is_positive());
        assert!(!quantity("-5m").is_positive());
        assert!(quantity("5m").is_positive());
    }
}
