//! What a decision costs, without a network: `cargo bench -p drainhook-webhook`.
//!
//! The pods and reviews are those that a real API server sent (`tests/reviews`), without the white
//! space of the files.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use drainhook_webhook::{
    Configuration, Decision, KubernetesVersion, Origin, Request, Token, decide, serve::Reviewer,
};
use serde_json::Value;

/// A Deployment's pod with one Envoy that opted in.
const OPTED_IN: &str = include_str!("../tests/reviews/deployment-pod.json");
/// A pod that nobody asked anything for.
const PLAIN: &str = include_str!("../tests/reviews/plain-pod.json");
/// A pod with an annotation that is misspelt, which is denied.
const MISSPELT: &str = include_str!("../tests/reviews/misspelt-pod.json");

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decisions(&mut criterion);
    reviews(&mut criterion);
    criterion.final_summary();
}

/// From a pod that has been read to the patch, checked by applying it.
fn decisions(criterion: &mut Criterion) {
    let configuration = Configuration {
        kubernetes: Some(kubernetes()),
        ..Configuration::default()
    };
    let token = Token::from_random(1);
    let review: Value = serde_json::from_str(OPTED_IN).unwrap();
    let request = Request {
        pod: &review["request"]["object"],
        namespace: None,
        configuration: &configuration,
        token: Some(&token),
        origin: Origin::Admission,
    };
    assert!(matches!(decide(&request), Ok(Decision::Inject { .. })));
    criterion.bench_function("decide and patch", |bencher| {
        bencher.iter(|| decide(black_box(&request)));
    });
}

/// From the bytes that the API server sends to the bytes that it gets.
fn reviews(criterion: &mut Criterion) {
    let reviewer = Reviewer::new(Some(kubernetes()));
    let mut group = criterion.benchmark_group("review");
    for (name, review, part_of_answer) in [
        ("patched", OPTED_IN, r#""patchType":"JSONPatch""#),
        ("allowed", PLAIN, r#""allowed":true"#),
        ("denied", MISSPELT, r#""allowed":false"#),
    ] {
        let body = serde_json::from_str::<Value>(review).unwrap().to_string();
        let answer = String::from_utf8(reviewer.mutate(body.as_bytes()).unwrap()).unwrap();
        assert!(answer.contains(part_of_answer), "{name}: {answer}");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| reviewer.mutate(black_box(body.as_bytes())));
        });
    }
    group.finish();
}

fn kubernetes() -> KubernetesVersion {
    "1.33".parse().unwrap()
}
