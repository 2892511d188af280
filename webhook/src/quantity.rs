//! Quantities of CPU and memory as Kubernetes writes them: `5m`, `0.1`, `8Mi`, `1e3`.
//!
//! Only what the patch needs: is it one, and which of two is greater.
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

use std::fmt;

/// One, in billionths.
const ONE: i128 = 1_000_000_000;

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

    /// Whether this is more than so many times the other. `times` is a plain number.
    pub(crate) fn exceeds_times(&self, times: &Self, other: &Self) -> bool {
        self.nanos.saturating_mul(ONE) > times.nanos.saturating_mul(other.nanos)
    }

    /// How many of a unit one of so many parts of this takes, rounded up. `parts` is a plain number;
    /// nothing where it is none, or where there are more than can be counted.
    pub(crate) fn part(&self, parts: &Self, unit: &Self) -> Option<u32> {
        let part = divided_up(self.nanos.checked_mul(ONE)?, parts.nanos)?;
        divided_up(part, unit.nanos)?.try_into().ok()
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

fn divided_up(number: i128, by: i128) -> Option<i128> {
    (by > 0).then(|| number.div_euclid(by) + i128::from(number.rem_euclid(by) > 0))
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
            ("1u", "1000n"),
            ("1m", "1000u"),
            ("1M", "1000k"),
            ("1G", "1000M"),
            ("1T", "1000G"),
            ("1P", "1000T"),
            ("1E", "1000P"),
            ("1Ki", "1024"),
            ("1Gi", "1024Mi"),
            ("1Ti", "1024Gi"),
            ("1Pi", "1024Ti"),
            ("1Ei", "1024Pi"),
            ("1e-3", "1m"),
            ("2E0", "2"),
            ("+1", "1"),
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
    fn many_times_another_and_a_part_of_one_are_told_across_suffixes() {
        let (limit, request) = (quantity("32Mi"), quantity("8Mi"));
        assert!(limit.exceeds_times(&quantity("3"), &request));
        assert!(!limit.exceeds_times(&quantity("4"), &request));
        assert!(quantity("2500u").exceeds_times(&quantity("2.4"), &quantity("1m")));
        let mebibyte = Quantity::mebibytes(1);
        for (parts, count) in [("4", 8), ("3", 11), ("1.5", 22), ("100", 1)] {
            assert_eq!(
                limit.part(&quantity(parts), &mebibyte),
                Some(count),
                "{parts}"
            );
        }
        assert_eq!(limit.part(&quantity("0"), &mebibyte), None);
        assert_eq!(
            quantity("1E").part(&quantity("1"), &Quantity::millis(1)),
            None
        );
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "m",
            "1 Mi",
            "1mi",
            ".",
            "+",
            "1.2.3",
            "--1",
            "1e",
            "1e99",
            "ten",
            "9".repeat(19).as_str(),
            "9".repeat(40).as_str(),
        ] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
        assert!(Quantity::parse(&"9".repeat(18)).is_ok());
    }

    #[test]
    fn nothing_and_less_are_not_positive() {
        assert!(!quantity("0").is_positive());
        assert!(!quantity("-5m").is_positive());
        assert!(quantity("5m").is_positive());
    }
}
