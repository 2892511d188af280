//! Whatever comes in: an answer of the right form, and never a fault of ours.

use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;

/// JSON of any form, with the keys that mean something more often than chance would have it.
fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("metadata".to_owned()),
        Just("annotations".to_owned()),
        Just("spec".to_owned()),
        Just("containers".to_owned()),
        Just("initContainers".to_owned()),
        Just("lifecycle".to_owned()),
        Just("preStop".to_owned()),
        Just("drainhook.io/inject".to_owned()),
        Just("drainhook.io/status".to_owned()),
        Just("name".to_owned()),
        Just("image".to_owned()),
        ".{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::from("true")),
        Just(Value::from("envoy")),
        ".{0,16}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// A usual pod in which one place holds something else.
fn nearly_a_pod() -> impl Strategy<Value = Value> {
    let place = prop_oneof![
        Just("/metadata"),
        Just("/metadata/annotations"),
        Just("/metadata/annotations/drainhook.io~1inject"),
        Just("/spec"),
        Just("/spec/containers"),
        Just("/spec/containers/0"),
        Just("/spec/containers/0/name"),
        Just("/spec/containers/0/image"),
        Just("/spec/terminationGracePeriodSeconds"),
    ];
    (place, any_json()).prop_map(|(place, value)| {
        let mut pod = envoy_pod();
        *pod.pointer_mut(place).unwrap() = value;
        pod
    })
}

fn path() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("/mutate"),
        Just("/mutate/namespace"),
        Just("/warn"),
        Just("/warn/namespace")
    ]
}

fn ask(path: &str, body: Vec<u8>) -> Answered {
    Runtime::new()
        .unwrap()
        .block_on(TestApi::new().post(path, body))
}

proptest! {
    #[test]
    fn any_bytes_are_a_bad_request(
        path in path(),
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        prop_assert_eq!(ask(path, bytes).status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn any_json_is_a_bad_request(path in path(), value in any_json()) {
        prop_assert_eq!(ask(path, value.to_string().into_bytes()).status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn any_object_in_a_review_gets_a_well_formed_answer(
        path in path(),
        object in prop_oneof![any_json(), nearly_a_pod()],
        uid in "[a-f0-9-]{1,40}",
    ) {
        let answer = ask(path, review(&uid, &object).to_string().into_bytes());
        let response = answer.review(&uid);
        if response.get("patch").is_some() {
            prop_assert_eq!(&response["allowed"], &json!(true));
            let mut patched = object.clone();
            json_patch::patch(&mut patched, &answer.patch(&uid)).unwrap();
        }
        if response["allowed"] == false {
            prop_assert!(!response["status"]["message"].as_str().unwrap().is_empty());
            prop_assert!(path.starts_with("/mutate"), "/warn denies nothing");
        }
    }

    #[test]
    fn a_review_that_is_cut_or_damaged_is_never_a_fault_of_ours(
        path in path(),
        at in 0_usize..4000,
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = review("u", &envoy_pod()).to_string().into_bytes();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] = byte };
        let status = ask(path, bytes).status;
        prop_assert!([StatusCode::OK, StatusCode::BAD_REQUEST].contains(&status), "{}", status);
    }
}
