//! The Secret goes with the registration, also where the cluster is particular about who says so.

use drainhook_tests::{cluster::ApiServer, wait::until};
use kube::{ResourceExt, api::DeleteParams};
use serde_json::json;

use super::{SECRET, World, plain_page, publisher, publisher_rules, rules};

/// As in OpenShift: only who may delete an object that exists may give it another owner.
const PLUGIN: &str = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_may_not_name_an_owner_works_and_says_what_it_lacks() {
    let world = World::start_so(ApiServer::options().argument(PLUGIN)).await;
    let process = publisher(&world, publisher_rules()).await;
    let page = async |path: &str| plain_page(&process, path).await.ok();
    until("a Secret with an owner", async || {
        (!owners(&world).await?.is_empty()).then_some(())
    })
    .await
    .unwrap();
    // Who makes an object may name its owner; who finds one may not.
    let registrations = world.mutating();
    registrations
        .delete("drainhook", &DeleteParams::default())
        .await
        .unwrap();
    world.register().await;
    let registration = registrations.get("drainhook").await.unwrap().uid().unwrap();

    let ready = until("it says what it lacks", async || {
        let ready = page("/readyz").await?;
        ready
            .contains("an uninstallation will leave the Secret behind")
            .then_some(ready)
    });
    let ready = ready.await.unwrap();
    assert!(ready.contains("cannot set an ownerRef"), "{ready}");
    until("it works all the same", async || {
        let ready = page("/readyz").await?;
        let works = ready.starts_with("HTTP/1.1 200") && ready.contains("every caBundle is right");
        works.then_some(())
    })
    .await
    .unwrap();
    let metrics = page("/metrics").await.unwrap();
    assert!(
        metrics.contains("\ndrainhook_publisher_secret_untied 1\n"),
        "{metrics}"
    );

    // With the right that the chart gives it there, it ties the Secret by itself.
    let mut rights = publisher_rules();
    rights[0]["verbs"] = json!(["get", "list", "watch", "create", "patch", "delete"]);
    world
        .server
        .user_with_rules("publisher", &rules(rights))
        .await
        .unwrap();
    until("the Secret goes with the registration", async || {
        let owners = owners(&world).await?;
        (owners == [registration.clone()]).then_some(())
    })
    .await
    .unwrap();
    until("nothing is lacking", async || {
        let untied = page("/metrics").await?;
        untied
            .contains("\ndrainhook_publisher_secret_untied 0\n")
            .then_some(())
    })
    .await
    .unwrap();
    assert!(!page("/readyz").await.unwrap().contains("leave the Secret"));
}

async fn owners(world: &World) -> Option<Vec<String>> {
    let secret = world.secrets().get_opt(SECRET).await.ok()??;
    let owners = secret.owner_references().iter();
    Some(owners.map(|owner| owner.uid.clone()).collect())
}
