use serde_json::json;

use super::*;

fn drafted(pod: &Value, step: impl FnOnce(&mut Draft)) -> (Value, Value, Status) {
    let mut draft = Draft::of(pod, Status::default());
    step(&mut draft);
    let status = draft.status.clone();
    let (patch, pod) = draft.finish().unwrap();
    (json!(patch), pod, status)
}

#[test]
fn parents_are_created_where_they_are_missing() {
    let pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
    let place = ["spec", "containers", "b", "lifecycle", "preStop"];
    let (patch, _, status) = drafted(&pod, |draft| draft.set(&place, json!({})));
    assert_eq!(
        patch,
        json!([{"op": "add", "path": "/spec/containers/1/lifecycle", "value": {"preStop": {}}}])
    );
    let expected = [
        "/spec/containers/b/lifecycle",
        "/spec/containers/b/lifecycle/preStop",
    ];
    assert_eq!(status.added, expected);
}

#[test]
fn a_parent_that_is_there_is_kept() {
    let pod = json!({"spec": {"lifecycle": {"postStart": 1}}});
    let place = ["spec", "lifecycle", "preStop"];
    let (_, patched, status) = drafted(&pod, |draft| draft.set(&place, json!(2)));
    assert_eq!(
        patched,
        json!({"spec": {"lifecycle": {"postStart": 1, "preStop": 2}}})
    );
    assert_eq!(status.added, ["/spec/lifecycle/preStop"]);
}

#[test]
fn null_is_written_over_and_remembered() {
    let pod = json!({"spec": {"lifecycle": null}});
    let place = ["spec", "lifecycle", "preStop"];
    let (_, patched, status) = drafted(&pod, |draft| draft.set(&place, json!(2)));
    assert_eq!(patched, json!({"spec": {"lifecycle": {"preStop": 2}}}));
    assert_eq!(status.changed["/spec/lifecycle"].was, Some(Value::Null));
    assert_eq!(status.added, ["/spec/lifecycle/preStop"]);
}

#[test]
fn a_value_that_is_there_is_replaced_and_remembered() {
    let pod = json!({"spec": {"grace": 30}});
    let (patch, _, status) = drafted(&pod, |draft| {
        draft.set_plain(&["spec", "grace"], json!(305))
    });
    assert_eq!(
        patch,
        json!([{"op": "replace", "path": "/spec/grace", "value": 305}])
    );
    let change = &status.changed["/spec/grace"];
    assert_eq!(
        (&change.was, &change.now),
        (&Some(json!(30)), &Some(json!(305)))
    );
}

#[test]
fn the_same_value_is_no_change() {
    let pod = json!({"spec": {"grace": 30}});
    let (patch, _, status) = drafted(&pod, |draft| draft.set(&["spec", "grace"], json!(30)));
    assert_eq!((patch, status), (json!([]), Status::default()));
}

#[test]
fn items_go_to_their_place_and_move_no_others() {
    let pod = json!({"list": [{"name": "a"}, {"name": "b"}]});
    let item = json!({"name": "new"});
    let (_, patched, _) = drafted(&pod, |draft| {
        draft.insert(&["list"], item.clone(), Position::At(1))
    });
    assert_eq!(
        patched,
        json!({"list": [{"name": "a"}, {"name": "new"}, {"name": "b"}]})
    );
    let (patch, _, status) = drafted(&json!({}), |draft| {
        draft.insert(&["list"], item, Position::Last)
    });
    assert_eq!(
        patch,
        json!([{"op": "add", "path": "/list", "value": [{"name": "new"}]}])
    );
    assert_eq!(status.added, ["/list", "/list/new"]);
}

#[test]
fn keys_with_slashes_and_tildes_are_escaped() {
    let pod = json!({"annotations": {}});
    let place = ["annotations", "a/b~c"];
    let (patch, patched, _) = drafted(&pod, |draft| draft.set(&place, json!("x")));
    assert_eq!(patch[0]["path"], "/annotations/a~1b~0c");
    assert_eq!(patched, json!({"annotations": {"a/b~c": "x"}}));
}

#[test]
fn an_operation_that_does_not_apply_is_not_passed_over() {
    let pod = json!({"spec": {"containers": "none"}});
    let mut draft = Draft::of(&pod, Status::default());
    draft.extend_own(&["spec", "containers", "envoy", "env"], json!({}));
    draft.set(&["spec", "grace"], json!(30));
    assert!(matches!(draft.finish(), Err(DecideError::DoesNotApply(_))));
}

#[test]
fn a_patch_that_gives_something_else_is_not_sent() {
    let patch = Patch(vec![add(PointerBuf::parse("/a").unwrap(), json!(1))]);
    assert_eq!(verify(&json!({}), &patch, &json!({"a": 1})), Ok(()));
    assert_eq!(
        verify(&json!({}), &patch, &json!({"a": 2})),
        Err(DecideError::GivesAnother)
    );
    assert!(matches!(
        verify(&json!([]), &patch, &json!([])),
        Err(DecideError::DoesNotApply(_))
    ));
}
