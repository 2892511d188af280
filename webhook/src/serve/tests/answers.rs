//! What is answered to what comes in.

use std::sync::{Mutex, mpsc};

use super::*;

#[tokio::test]
async fn a_pod_that_asked_is_patched() {
    let api = TestApi::new();
    let pod = envoy_pod();
    let answer = api
        .post("/mutate?timeout=5s", review("u-1", &pod).to_string())
        .await;
    assert_eq!(answer.review("u-1")["allowed"], true);
    let mut patched = pod;
    json_patch::patch(&mut patched, &answer.patch("u-1")).unwrap();
    let hook = &patched["spec"]["containers"][0]["lifecycle"]["preStop"]["httpGet"];
    assert_eq!(hook["path"], "/shutdown");
    assert!(patched["metadata"]["annotations"]["drainhook.io/status"].is_string());
}

#[tokio::test]
async fn a_pod_is_denied_for_what_it_says_and_told_everything_at_once() {
    let api = TestApi::new();
    let mut pod = envoy_pod();
    pod["metadata"]["annotations"]["drainhook.io/min-drian"] = json!("5s");
    pod["metadata"]["annotations"]["drainhook.io/quiet"] = json!("soon");
    let answer = api
        .post("/mutate", review("u-2", &pod).to_string())
        .await
        .review("u-2");
    assert_eq!(answer["allowed"], false);
    assert!(answer.get("patch").is_none());
    let message = answer["status"]["message"].as_str().unwrap();
    assert!(
        message.contains("min-drian") && message.contains("quiet"),
        "{message}"
    );
    assert_eq!(answer["status"]["code"], 422);
}

#[tokio::test]
async fn a_namespace_that_the_api_server_saw_the_label_of_needs_no_watch() {
    let api = TestApi::new();
    let mut pod = envoy_pod();
    pod["metadata"]["annotations"] = json!({});
    let review_of_it = review("u-3", &pod).to_string();
    let by_object = api
        .post("/mutate", review_of_it.clone())
        .await
        .review("u-3");
    assert!(by_object.get("patch").is_none());
    assert_eq!(by_object["auditAnnotations"]["decision"], "not-opted-in");
    let by_namespace = api.post("/mutate/namespace", review_of_it).await;
    assert!(!by_namespace.patch("u-3").0.is_empty());
}

#[tokio::test]
async fn a_dry_run_draws_no_token() {
    let api = TestApi::new();
    let mut dry = review("u-4", &envoy_pod());
    dry["request"]["dryRun"] = json!(true);
    let dry = format!(
        "{:?}",
        api.post("/mutate", dry.to_string()).await.patch("u-4")
    );
    assert!(dry.contains(crate::Token::DRY_RUN), "{dry}");
    let wet = api
        .post("/mutate", review("u-4", &envoy_pod()).to_string())
        .await;
    let wet = format!("{:?}", wet.patch("u-4"));
    assert!(wet.contains(&"77".repeat(16)), "{wet}");
    assert!(!wet.contains(crate::Token::DRY_RUN), "{wet}");
}

#[tokio::test]
async fn what_the_registration_does_not_ask_for_is_allowed_as_it_is() {
    let api = TestApi::new();
    let usual = review("u-5", &envoy_pod());
    let change = |path: &str, value: Value| {
        let mut review = usual.clone();
        *review.pointer_mut(path).unwrap() = value;
        review
    };
    for other in [
        change("/request/operation", json!("UPDATE")),
        change("/request/operation", json!("DELETE")),
        change("/request/kind/kind", json!("Service")),
        change("/request/kind/group", json!("example.org")),
        change("/request/object", json!(null)),
    ] {
        for path in ["/mutate", "/mutate/namespace", "/warn", "/warn/namespace"] {
            let answer = api.post(path, other.to_string()).await.review("u-5");
            assert_eq!(answer["allowed"], true);
            assert!(answer.get("patch").is_none());
            assert_eq!(answer["auditAnnotations"]["decision"], "not-ours");
        }
    }
}

#[tokio::test]
async fn a_workload_is_warned_about_what_its_pods_will_meet_and_never_denied() {
    let api = TestApi::new();
    let mut template = envoy_pod();
    template["metadata"]["annotations"]["drainhook.io/min-drian"] = json!("5s");
    for (group, kind, spec) in [
        ("apps", "Deployment", json!({"template": template})),
        ("apps", "DaemonSet", json!({"template": template})),
        ("apps", "StatefulSet", json!({"template": template})),
        ("apps", "ReplicaSet", json!({"template": template})),
        ("batch", "Job", json!({"template": template})),
        (
            "batch",
            "CronJob",
            json!({"jobTemplate": {"spec": {"template": template}}}),
        ),
    ] {
        let mut review = review(
            "u-6",
            &json!({"apiVersion": format!("{group}/v1"), "kind": kind, "spec": spec}),
        );
        review["request"]["kind"] = json!({"group": group, "version": "v1", "kind": kind});
        let answer = api.post("/warn", review.to_string()).await.review("u-6");
        assert_eq!(answer["allowed"], true, "{kind}");
        assert!(answer.get("patch").is_none(), "{kind}");
        let warnings = answer["warnings"].to_string();
        assert!(
            warnings.contains("min-drian") && warnings.contains("refused"),
            "{warnings}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_answered_by_a_review_is_a_bad_request() {
    let api = TestApi::new();
    let without = |pointer: &str, key: &str| {
        let mut review = review("u", &envoy_pod());
        review
            .pointer_mut(pointer)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(key);
        review.to_string()
    };
    let with = |pointer: &str, value: Value| {
        let mut review = review("u", &envoy_pod());
        *review.pointer_mut(pointer).unwrap() = value;
        review.to_string()
    };
    for (body, says) in [
        (String::new(), "not JSON"),
        ("nonsense".to_owned(), "not JSON"),
        ("[]".to_owned(), "not JSON"),
        ("{}".to_owned(), "admission.k8s.io/v1"),
        (format!("{}{{", review("u", &envoy_pod())), "not JSON"),
        (
            with("/apiVersion", json!("admission.k8s.io/v1beta1")),
            "v1beta1",
        ),
        (with("/kind", json!("Pod")), "`Pod`"),
        (without("", "apiVersion"), "admission.k8s.io/v1"),
        (without("", "request"), "no `request`"),
        (with("/request", json!(null)), "no `request`"),
        (with("/request", json!("u")), "not JSON"),
        (without("/request", "uid"), "uid"),
        (with("/request/uid", json!("")), "uid"),
        (with("/request/uid", json!(7)), "not JSON"),
        (
            with("/request/uid", json!("u".repeat(129))),
            "longer than 128",
        ),
    ] {
        for path in ["/mutate", "/warn"] {
            let answer = api.post(path, body.clone()).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
            assert!(answer.text().contains(says), "{body}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn an_object_nested_deeper_than_any_pod_is_a_bad_request() {
    let api = TestApi::new();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let body = review("u", &json!("DEEP"))
        .to_string()
        .replace("\"DEEP\"", &deep);
    let answer = api.post("/mutate", body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text().contains("object"), "{}", answer.text());
}

#[tokio::test]
async fn other_paths_methods_and_media_types_are_told_from_reviews() {
    let api = TestApi::new();
    let body = || Body::from(review("u", &envoy_pod()).to_string());
    let request = |builder: axum::http::request::Builder| builder.body(body()).unwrap();
    let json = "application/json";
    for (request, status) in [
        (post("/", body()), StatusCode::NOT_FOUND),
        (post("/mutate/", body()), StatusCode::NOT_FOUND),
        (post("/metrics", body()), StatusCode::NOT_FOUND),
        (
            request(Request::get("/mutate")),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            request(Request::put("/warn")),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            request(Request::post("/mutate")),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            request(Request::post("/mutate").header("content-type", "application/yaml")),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            request(
                Request::post("/mutate")
                    .header("content-type", json)
                    .header("content-encoding", "gzip"),
            ),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            request(
                Request::post("/mutate").header("content-type", "Application/JSON; charset=utf-8"),
            ),
            StatusCode::OK,
        ),
    ] {
        let what = format!("{} {}", request.method(), request.uri());
        let answer = api.send(request).await;
        assert_eq!(answer.status, status, "{what}");
        if status == StatusCode::METHOD_NOT_ALLOWED {
            assert_eq!(answer.headers[header::ALLOW], "POST");
        }
    }
}

#[tokio::test]
async fn seven_mebibytes_are_read_and_one_byte_more_is_not() {
    let api = TestApi::new();
    let padded = |length: usize| {
        let body = review("u", &envoy_pod()).to_string();
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    let limit = 7 * 1024 * 1024;
    assert!(
        !api.post("/mutate", padded(limit))
            .await
            .patch("u")
            .0
            .is_empty()
    );
    let answer = api.post("/mutate", padded(limit + 1)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let mut announced = post("/mutate", Body::empty());
    announced
        .headers_mut()
        .insert(header::CONTENT_LENGTH, (limit + 1).into());
    assert_eq!(
        api.send(announced).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[tokio::test]
async fn a_small_body_that_would_become_a_huge_tree_is_refused_before_it_is_one() {
    let api = TestApi::new();
    let many = format!("[{}0]", "{},".repeat(1_000_000));
    let body = review("u", &json!("MANY"))
        .to_string()
        .replace("\"MANY\"", &many);
    let answer = api.post("/mutate", body).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.text().contains("values"), "{}", answer.text());
    assert_eq!(api.api.bytes().held(), 0);
}

#[tokio::test]
async fn too_much_at_once_is_asked_to_come_again() {
    let limits = Limits {
        requests: 1,
        bytes: 64 << 20,
    };
    let api = TestApi::with(Box::new(decider()), limits);
    let answer = api
        .post("/mutate", review("u", &envoy_pod()).to_string())
        .await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
}

#[tokio::test]
async fn a_panic_is_a_fault_of_ours_and_concerns_that_request_alone() {
    let api = TestApi::with(Box::new(Poisoned(decider())), Limits::default());
    for large in [false, true] {
        let mut poison = review("u", &envoy_pod());
        poison["request"]["name"] = json!("poison");
        if large {
            poison["padding"] = json!(" ".repeat(1 << 20));
        }
        let answer = api.post("/mutate", poison.to_string()).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(
            !answer.text().contains("a test put here"),
            "inner matters stay inside"
        );
        let after = api
            .post("/mutate", review("u", &envoy_pod()).to_string())
            .await;
        assert!(!after.patch("u").0.is_empty());
    }
    assert_eq!(api.metrics.panics.get(), 2);
    assert_eq!(api.metrics.in_flight.get(), 0);
    assert_eq!(api.api.bytes().held(), 0, "a panic gives back what it held");
}

/// Decides about nothing before its sender is dropped.
struct Stuck(Mutex<mpsc::Receiver<()>>);

impl Engine for Stuck {
    fn mutate(&self, _: &Review<'_>, _: OptedIn) -> Result<Answer, EngineError> {
        let _ = self.0.lock().unwrap().recv();
        Err(EngineError::Defect("never asked for".into()))
    }

    fn warn(&self, review: &Review<'_>, opted_in: OptedIn) -> Result<Answer, EngineError> {
        self.mutate(review, opted_in)
    }
}

#[tokio::test]
async fn a_large_review_behind_one_that_takes_too_long_is_asked_for_again() {
    let (release, stuck) = mpsc::channel();
    let api = TestApi::with(Box::new(Stuck(Mutex::new(stuck))), Limits::default());
    let mut large = review("u", &envoy_pod());
    large["padding"] = json!(" ".repeat(1 << 20));
    let large = large.to_string();
    let (first, behind) = tokio::join!(api.post("/mutate", large.clone()), async {
        let behind = [
            api.post("/mutate?timeout=5s", large.clone()).await,
            api.post("/warn?timeout=2s", large.clone()).await,
        ];
        drop(release);
        behind
    });
    for behind in behind {
        assert_eq!(behind.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(behind.headers[header::RETRY_AFTER], "1");
    }
    assert_eq!(first.status, StatusCode::INTERNAL_SERVER_ERROR, "its turn");
}

#[tokio::test]
async fn every_answer_is_counted_under_labels_that_nobody_chose() {
    let api = TestApi::new();
    let mut odd = review("u", &envoy_pod());
    odd["request"]["namespace"] = json!("\"evil\n");
    odd["request"]["name"] = json!("evil");
    api.post("/mutate", odd.to_string()).await.review("u");
    api.post("/evil", "").await;
    let page = api.metrics.page();
    assert!(!page.contains("evil"), "{page}");
    assert!(
        page.contains(r#"outcome="patched",reason="injected"} 1"#),
        "{page}"
    );
    assert!(
        page.contains(r#"refused_total{reason="path",code="404"} 1"#),
        "{page}"
    );
}

#[test]
fn what_alerts_count_is_on_the_page_before_it_has_happened() {
    let page = crate::serve::metrics::Metrics::new().page();
    // A counter that begins with its first event has never increased.
    for result in ["loaded", "kept"] {
        let line = format!("drainhook_defaults_reloads_total{{result=\"{result}\"}} 0\n");
        assert!(page.contains(&line), "{page}");
    }
}
