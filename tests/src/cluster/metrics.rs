//! The API server's metrics, as numbers.

use std::collections::BTreeMap;

/// One reading of `/metrics`, in Prometheus's text format.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// All samples, in the order of the text.
    pub samples: Vec<Sample>,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name of the time series.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Metrics {
    /// Reads Prometheus's text format. Comments and what is not a sample are passed over.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter_map(sample).collect();
        Self { samples }
    }

    /// The sum of all samples of this name whose labels include `labels`; 0 where there is none, as
    /// for a counter that has never counted.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// How often the API server called the webhook of this name.
    pub fn webhook_requests(&self, webhook: &str) -> f64 {
        self.sum(
            "apiserver_admission_webhook_request_total",
            &[("name", webhook)],
        )
    }

    /// How many calls of the webhook failed with the failure policy `Ignore`: objects that went
    /// past it.
    pub fn webhook_failed_open(&self, webhook: &str) -> f64 {
        self.sum(
            "apiserver_admission_webhook_fail_open_count",
            &[("name", webhook)],
        )
    }

    /// How many requests the webhook rejected, or failed to answer under the policy `Fail`. The kind
    /// is one of `no_error` (a denial), `calling_webhook_error`, `apiserver_internal_error`.
    pub fn webhook_rejections(&self, webhook: &str, kind: &str) -> f64 {
        self.sum(
            "apiserver_admission_webhook_rejection_count",
            &[("name", webhook), ("error_type", kind)],
        )
    }

    /// How many calls of the webhook took longer than `seconds`, which must be a bound of the
    /// histogram's buckets (0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 25).
    pub fn webhook_slower_than(&self, webhook: &str, seconds: f64) -> Option<f64> {
        const HISTOGRAM: &str = "apiserver_admission_webhook_admission_duration_seconds";
        let all = self.sum(&format!("{HISTOGRAM}_count"), &[("name", webhook)]);
        let mut within = None;
        for sample in self.matching(&format!("{HISTOGRAM}_bucket"), &[("name", webhook)]) {
            let bound = sample
                .labels
                .get("le")
                .and_then(|bound| bound.parse::<f64>().ok());
            if bound.is_some_and(|bound| (bound - seconds).abs() < 1e-9) {
                within = Some(within.unwrap_or(0.0) + sample.value);
            }
        }
        Some(all - within?)
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        })
    }
}

fn sample(line: &str) -> Option<Sample> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    Some(Sample {
        name: name.to_owned(),
        labels: parse_labels(labels)?,
        value: value.parse().ok()?,
    })
}

fn parse_labels(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (key, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(key.to_owned(), value);
        text = rest.get(end + 1..)?.trim_start_matches(',');
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# HELP apiserver_admission_webhook_rejection_count Rejections.
# TYPE apiserver_admission_webhook_rejection_count counter
apiserver_admission_webhook_rejection_count{error_type="no_error",name="a.io",operation="CREATE"} 2
apiserver_admission_webhook_rejection_count{error_type="no_error",name="a.io",operation="UPDATE"} 1
apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="a.io"} 4
apiserver_admission_webhook_admission_duration_seconds_bucket{name="a.io",le="0.5"} 8
apiserver_admission_webhook_admission_duration_seconds_bucket{name="a.io",le="+Inf"} 10
apiserver_admission_webhook_admission_duration_seconds_count{name="a.io"} 10
odd{text="a \"quoted\", {braced} and \\ value"} 1.5e3
plain 7
"#;

    #[test]
    fn samples_of_one_name_are_summed_over_the_labels_that_are_not_asked_for() {
        let metrics = Metrics::parse(TEXT);
        assert_eq!(metrics.webhook_rejections("a.io", "no_error"), 3.0);
        assert_eq!(
            metrics.webhook_rejections("a.io", "calling_webhook_error"),
            4.0
        );
        assert_eq!(metrics.webhook_rejections("b.io", "no_error"), 0.0);
        assert_eq!(metrics.sum("plain", &[]), 7.0);
    }

    #[test]
    fn a_label_may_hold_quotes_commas_and_braces() {
        let metrics = Metrics::parse(TEXT);
        let odd = r#"a "quoted", {braced} and \ value"#;
        assert_eq!(metrics.sum("odd", &[("text", odd)]), 1500.0);
    }

    #[test]
    fn slow_calls_are_those_outside_of_the_bucket() {
        let metrics = Metrics::parse(TEXT);
        assert_eq!(metrics.webhook_slower_than("a.io", 0.5), Some(2.0));
        assert_eq!(metrics.webhook_slower_than("a.io", 0.7), None);
    }
}
