//! The budget of bytes holds what it says: nothing that is made of a body takes more than was reserved
//! for it, whatever the shape of the body.

use allocation_counter::measure;

use super::*;
use crate::serve::{body::cost as reserved, metrics::Webhook};

/// Bytes of text per shape: enough that what is the same for every review does not count, and that
/// vectors and hash tables have doubled often.
const LENGTH: usize = 40_000;

/// Bytes that an allocation takes besides what was asked for.
const OVERHEAD: u64 = 24;

/// Bytes that an Envoy's configuration or the script that starts it may take while it is read. They are
/// not reserved: they are bounded by constants, and no more are read at once than there are threads.
const PASSING: u64 = 4 * 1024 * 1024;

/// Text of about [`LENGTH`] bytes: `item` again and again, with what opens and closes it.
fn many(length: usize, open: &str, item: &str, close: &str) -> String {
    let items = vec![item; length / (item.len() + 1)].join(",");
    format!("{open}{items}{close}")
}

/// As [`many`], with a number in each item, since a key that comes again replaces the one before.
fn numbered(length: usize, open: &str, item: &str, close: &str) -> String {
    let items: Vec<_> = (0..length / (item.len() + 5))
        .map(|number| item.replace('#', &number.to_string()))
        .collect();
    format!("{open}{}{close}", items.join(","))
}

/// Lists of `item` nested as deep as the parser allows, side by side.
fn nested(length: usize, open: &str, close: &str) -> String {
    const DEPTH: usize = 100;
    let one = format!("{}0{}", open.repeat(DEPTH), close.repeat(DEPTH));
    many(length, "[", &one, "]")
}

/// Values whose tree is much larger than their text.
fn shapes(length: usize) -> Vec<(&'static str, String)> {
    let keys = |inner: &str| {
        let pairs: Vec<_> = (0..length / 12)
            .map(|key| format!("\"{key}\":{inner}"))
            .collect();
        format!("{{{}}}", pairs.join(","))
    };
    vec![
        ("numbers", many(length, "[", "0", "]")),
        ("nulls", many(length, "[", "null", "]")),
        ("empty strings", many(length, "[", "\"\"", "]")),
        ("short strings", many(length, "[", "\"a\"", "]")),
        ("empty lists", many(length, "[", "[]", "]")),
        ("lists of one", many(length, "[", "[0]", "]")),
        ("lists of five", many(length, "[", "[0,0,0,0,0]", "]")),
        ("empty objects", many(length, "[", "{}", "]")),
        ("objects of one", many(length, "[", "{\"a\":0}", "]")),
        (
            "objects of one without a name",
            many(length, "[", "{\"\":0}", "]"),
        ),
        (
            "objects of five",
            many(
                length,
                "[",
                "{\"a\":0,\"b\":0,\"c\":0,\"d\":0,\"e\":0}",
                "]",
            ),
        ),
        (
            "objects of nine",
            many(
                length,
                "[",
                "{\"a\":0,\"b\":0,\"c\":0,\"d\":0,\"e\":0,\"f\":0,\"g\":0,\"h\":0,\"i\":0}",
                "]",
            ),
        ),
        ("deep lists", nested(length, "[", "]")),
        ("deep objects", nested(length, "{\"\":", "}")),
        ("one wide object", keys("0")),
        ("one wide object of objects", keys("{}")),
        ("one wide object of lists", keys("[0]")),
        ("a long string", format!("\"{}\"", "x".repeat(length))),
        (
            "a string of escapes",
            format!("\"{}\"", "\\n".repeat(length / 2)),
        ),
        (
            "a string of unicode escapes",
            format!("\"{}\"", "\\u00e9".repeat(length / 6)),
        ),
        (
            "a string of what makes values",
            format!("\"{}\"", "{[,:".repeat(length / 4)),
        ),
        ("a long number", "1".repeat(300)),
    ]
}

/// Objects that get far into the decision: something of a usual pod by the thousand.
fn pods(length: usize) -> Vec<(&'static str, String)> {
    let at = |place: &str, text: String| {
        let mut pod = envoy_pod();
        *pod.pointer_mut(place).unwrap() = json!("HERE");
        pod.to_string().replace("\"HERE\"", &text)
    };
    let mut pods: Vec<_> = shapes(length)
        .into_iter()
        .map(|(name, text)| {
            let mut pod = envoy_pod();
            pod["spec"]["unknown"] = json!("HERE");
            (name, pod.to_string().replace("\"HERE\"", &text))
        })
        .collect();
    let envoy = "{\"name\":\"envoy\",\"image\":\"envoy\"}";
    pods.extend([
        ("containers", numbered(length, &format!("[{envoy},"), "{\"name\":\"c#\",\"image\":\"i\"}", "]")),
        ("containers without a name", many(length, &format!("[{envoy},"), "{}", "]")),
        (
            "containers with probes",
            numbered(
                length,
                &format!("[{envoy},"),
                "{\"name\":\"c#\",\"livenessProbe\":{\"tcpSocket\":{\"port\":1}},\"ports\":[{\"containerPort\":1}]}",
                "]",
            ),
        ),
        ("Envoys", numbered(length, "[", "{\"name\":\"c#\",\"image\":\"envoy\"}", "]")),
        ("one container's variables", numbered(length, "[{\"name\":\"envoy\",\"image\":\"envoy\",\"env\":[", "{\"name\":\"V#\",\"value\":\"v\"}", "]}]")),
        ("one container's arguments", many(length, "[{\"name\":\"envoy\",\"image\":\"envoy\",\"args\":[", "\"-\"", "]}]")),
    ].map(|(name, text)| (name, at("/spec/containers", text))));
    // As many as are taken, each of which gets a hook.
    pods.push((
        "as many containers as there may be",
        at(
            "/spec/containers",
            numbered(
                250 * 30,
                "[{\"name\":\"envoy\",\"image\":\"envoy\"},",
                "{\"name\":\"c#\",\"image\":\"i\"}",
                "]",
            ),
        ),
    ));
    pods.extend(
        [
            (
                "annotations",
                numbered(
                    length,
                    "{\"drainhook.io/inject\":\"true\",",
                    "\"a#\":\"\"",
                    "}",
                ),
            ),
            (
                "annotations of ours that are wrong",
                numbered(
                    length,
                    "{\"drainhook.io/inject\":\"true\",",
                    "\"drainhook.io/x#\":\"\"",
                    "}",
                ),
            ),
        ]
        .map(|(name, text)| (name, at("/metadata/annotations", text))),
    );
    pods
}

/// Texts inside of a pod that are read as something else.
fn texts(length: usize) -> Vec<(&'static str, String)> {
    let envoy = |args: Vec<String>, env: Value| {
        let mut pod = envoy_pod();
        pod["spec"]["containers"][0]["args"] = json!(args);
        pod["spec"]["containers"][0]["env"] = env;
        pod.to_string()
    };
    let yaml = |text: &str| {
        let text = text.repeat(length / text.len());
        envoy(vec!["--config-yaml".into(), text], json!([]))
    };
    let value = json!([{"name": "V", "value": "v".repeat(length / 2)}]);
    let mut texts = vec![
        ("a configuration of blocks", yaml("- 0\n")),
        (
            "a configuration of lists",
            envoy(
                vec!["--config-yaml".into(), nested(length, "[", "]")],
                json!([]),
            ),
        ),
        ("a configuration of anchors", yaml("- &a 0\n")),
        (
            "references to a long value",
            envoy(vec!["-c".into(), "$(V)".repeat(length / 8)], value),
        ),
        (
            "words of a script",
            envoy(
                vec!["sh".into(), "-c".into(), "a ".repeat(length / 2)],
                json!([]),
            ),
        ),
        (
            "commands of a script",
            envoy(
                vec!["sh".into(), "-c".into(), "a;".repeat(length / 2)],
                json!([]),
            ),
        ),
    ];
    let annotated = |key: String, value: String| {
        let mut pod = envoy_pod();
        pod["metadata"]["annotations"][key] = json!(value);
        pod.to_string()
    };
    texts.extend([
        (
            "a long key of ours",
            annotated(
                format!("drainhook.io/{}", "x".repeat(length)),
                String::new(),
            ),
        ),
        (
            "a long value",
            annotated("drainhook.io/min-drain".into(), "1".repeat(length)),
        ),
        (
            "names of containers",
            annotated(
                "drainhook.io/wait-containers".into(),
                "a,".repeat(length / 2),
            ),
        ),
        (
            "names of listeners",
            annotated(
                "drainhook.io/exclude-listeners".into(),
                "a,".repeat(length / 2),
            ),
        ),
        (
            "names of Envoys",
            annotated("drainhook.io/envoy".into(), "a,".repeat(length / 2)),
        ),
        (
            "a status of nothing",
            annotated("drainhook.io/status".into(), many(length, "[", "[]", "]")),
        ),
        (
            "a status of many",
            annotated(
                "drainhook.io/status".into(),
                many(length, "{\"version\":\"1\",\"added\":[", "\"/a\"", "]}"),
            ),
        ),
    ]);
    texts
}

/// The most bytes that deciding about a review holds at once, and what is reserved.
fn cost(webhook: Webhook, object: &str) -> (u64, u64) {
    let body = match webhook {
        Webhook::Mutate => review("u", &json!("OBJECT")),
        Webhook::Warn => {
            let template = json!({"spec": {"template": "OBJECT"}});
            let mut review = review("u", &template);
            review["request"]["kind"] = json!({"group": "apps", "kind": "Deployment"});
            review
        }
    };
    let body = body.to_string().replace("\"OBJECT\"", object);
    let decider = decider();
    let decide = || {
        let review = Review::parse(body.as_bytes()).unwrap();
        let answer = match webhook {
            Webhook::Mutate => decider.mutate(&review, OptedIn::Object),
            Webhook::Warn => decider.warn(&review, OptedIn::Object),
        };
        answer.map(|answer| answer.to_json(&review.uid).unwrap())
    };
    // What is made once and kept is no part of a review's cost.
    let _ = decide();
    let measured = measure(|| drop(decide()));
    let taken = measured.bytes_max + OVERHEAD * measured.count_max;
    (taken, reserved(body.as_bytes()))
}

/// Those that take more than is reserved for them, and `besides`.
fn over(shapes: Vec<(&'static str, String)>, besides: u64) -> Vec<String> {
    let mut over = Vec::new();
    for (name, object) in shapes {
        for webhook in [Webhook::Mutate, Webhook::Warn] {
            let (taken, reserved) = cost(webhook, &object);
            if taken > reserved + besides {
                over.push(format!("{} {name}: {taken} of {reserved}", webhook.word()));
            }
        }
    }
    over
}

#[test]
fn no_shape_takes_more_than_was_reserved_for_it() {
    // Vectors double: how full they are decides what they cost.
    for length in [LENGTH, LENGTH * 5 / 4, LENGTH * 3 / 2, LENGTH * 7 / 4] {
        assert_eq!(over(shapes(length), 0), Vec::<String>::new());
        assert_eq!(over(pods(length), 0), Vec::<String>::new());
    }
}

#[test]
fn what_is_made_of_a_text_inside_of_a_pod_is_bounded() {
    for length in [LENGTH, 2 * LENGTH, 10 * LENGTH] {
        assert_eq!(over(texts(length), PASSING), Vec::<String>::new());
    }
}
