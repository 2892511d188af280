//! Certificates and their CAs are replaced many times while pods are created by the thousand, through
//! the Service, under `Fail`: not one creation may fail, not one pod may come without its drain.

use std::{collections::BTreeSet, time::Duration};

use drainhook_tests::{
    cluster::{ApiServer, Authority, Version},
    creations::Creations,
    installation::{NAME, Replica, SERVICE},
    wait::until,
};
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    creations,
    replicas::{FAREWELL, replace_oldest, until_left},
    site::{BOTH, FAIL, Installed, Site, until_learned},
};

/// Creations at once: the rest of the machine is for the handshakes.
const AT_ONCE: u64 = 4;

/// Creations during the rotations of one CA after the other, of each mode and version.
const ENOUGH: u64 = 1000;

/// A CA every twenty seconds and a leaf every four, in the flags of the chart.
const HASTY: &str = "--ca-lifetime=120s,--ca-rotation=20s,--ca-overlap=5s,--leaf-lifetime=10s,\
                     --leaf-renewal=4s,--backdate=5s";

/// A CA that can be waited for to expire.
const BRIEF: &str = "--ca-lifetime=40s,--ca-rotation=20s,--ca-overlap=5s,--leaf-lifetime=10s,\
                     --leaf-renewal=4s,--backdate=5s";

/// Its lifetime, and the second that X.509 rounds up to.
const BRIEF_AUTHORITY: Duration = Duration::from_secs(41);

#[tokio::test]
async fn mounted_certificates_and_their_cas_are_replaced_and_no_creation_fails() {
    for (version, rotations) in BOTH.into_iter().zip([4, 2]) {
        let Some(site) = Site::of(version).await else {
            return;
        };
        let mut installed = site.serve(&[FAIL, FAREWELL], 3).await;
        let connected = connections(&installed).await;
        let creations = creations::begin(&site.server, "pod", AT_ONCE);
        // Three times in each rotation.
        let phase = ENOUGH.div_ceil(3 * rotations);
        let mut trusted = site.server.authority().certificate();
        for rotation in 0..rotations {
            let new = Authority::generate(&format!("rotation {rotation}")).unwrap();
            let both = format!("{trusted}{}", new.certificate());
            trust(&mut installed, &both, &creations).await;
            // The switch, and a renewal by the same CA.
            for _ in 0..2 {
                certify(&mut installed, &new).await;
                creations.more(phase).await;
            }
            trusted = new.certificate();
            trust(&mut installed, &trusted, &creations).await;
            creations.more(phase).await;
        }
        replace_oldest(&mut installed).await;
        until_left(&mut installed).await;
        let made = creations.end_without_a_failure().await.unwrap();
        assert!(made >= ENOUGH, "{made}");
        // A bundle that changes makes the API server connect anew.
        let connected = connections(&installed).await - connected;
        assert!(connected >= rotations as f64, "{connected}");
    }
}

#[tokio::test]
async fn the_installations_own_ca_rotates_and_no_creation_fails() {
    for (version, rotations) in BOTH.into_iter().zip([4, 2]) {
        let Some(site) = Site::of(version).await else {
            return;
        };
        let mut installed = install(&site, HASTY).await;
        let mut publishers = Vec::new();
        for _ in 0..2 {
            publishers.push(installed.installation.publisher().await.unwrap());
        }
        serve(&mut installed, 3).await;
        let creations = creations::begin(&site.server, "pod", AT_ONCE);
        let mut authorities = BTreeSet::new();
        while authorities.len() <= rotations {
            creations.more(20).await;
            let new = authorities.insert(signing(&site.server).await);
            if new && authorities.len() > 1 {
                // Whoever starts in the middle of a rotation serves as well as the others.
                replace_oldest(&mut installed).await;
            }
        }
        // A publisher that dies leaves everything to the other one.
        publishers[0].process.kill().unwrap();
        let last = signing(&site.server).await;
        until("a rotation by the other publisher", async || {
            (signing(&site.server).await != last).then_some(())
        })
        .await
        .unwrap();
        // However slow the machine is, it goes on until there were enough.
        creations
            .more(ENOUGH.saturating_sub(creations.made()))
            .await;
        until_left(&mut installed).await;
        let made = creations.end_without_a_failure().await.unwrap();
        assert!(made >= ENOUGH, "{made}");
        for replica in &installed.replicas {
            assert_eq!(faults(replica).await, 0.0, "{}", replica.process.log_tail());
        }
    }
}

#[tokio::test]
async fn it_works_again_after_being_down_for_longer_than_every_lifetime() {
    let Some(site) = Site::of(Version::Newest).await else {
        return;
    };
    let server = &site.server;
    let mut installed = install(&site, BRIEF).await;
    let mut publisher = installed.installation.publisher().await.unwrap();
    serve(&mut installed, 2).await;
    publisher.process.kill().unwrap();
    installed.replicas.clear();
    installed.publish().await;
    let expired = signing(server).await;
    tokio::time::sleep(BRIEF_AUTHORITY).await;

    let _publisher = installed.installation.publisher().await.unwrap();
    serve(&mut installed, 2).await;
    // The next CA serves already; it becomes the current one after the overlap, as always.
    let creations = creations::begin(server, "pod", AT_ONCE);
    until("another CA", async || {
        (signing(server).await != expired).then_some(())
    })
    .await
    .unwrap();
    creations.more(100).await;
    creations.end_without_a_failure().await.unwrap();
}

#[tokio::test]
async fn what_somebody_breaks_is_healed_while_pods_are_created() {
    let Some(site) = Site::of(Version::Newest).await else {
        return;
    };
    let server = &site.server;
    let mut installed = site.install(&["certificates.mode=self", FAIL]).await;
    let mut publisher = installed.installation.publisher().await.unwrap();
    serve(&mut installed, 3).await;
    let signs = signing(server).await;
    let creations = creations::begin(server, "pod", AT_ONCE);

    creations.more(100).await;
    let secrets: Api<Secret> = Api::namespaced(server.client(), NAME);
    let secret = format!("{NAME}-ca");
    secrets
        .delete(&secret, &DeleteParams::default())
        .await
        .unwrap();
    until("the Secret as it was", async || {
        (signing(server).await == signs).then_some(())
    })
    .await
    .unwrap();
    creations.more(100).await;
    assert_eq!(
        creations.failed(),
        0,
        "nobody notices a Secret that is lost"
    );

    let foreign = Authority::generate("somebody else").unwrap().certificate();
    for bundle in [String::new(), foreign] {
        overwrite_bundles(server, &bundle).await;
        until("the bundle as it was", async || {
            bundles(server)
                .await
                .iter()
                .all(|one| *one == signs)
                .then_some(())
        })
        .await
        .unwrap();
        // Calls that went by the wrong bundle have failed; none does once the right one is known.
        until_learned(server).await;
        creations.settle().await;
        let failed = creations.failed();
        creations.more(200).await;
        assert_eq!(creations.failed(), failed, "{bundle}");
    }
    let (_, failures) = creations.end().await;
    for failure in &failures {
        assert!(failure.what.contains("x509"), "{failure:?}");
    }
    assert!(publisher.process.exited().unwrap().is_none());
    for replica in &mut installed.replicas {
        assert!(replica.process.exited().unwrap().is_none(), "no restart");
    }
}

/// An installation whose own CA lives by these flags.
async fn install<'s>(site: &'s Site, lifetimes: &str) -> Installed<'s> {
    let [server, publisher] =
        ["server", "publisher"].map(|who| format!("{who}.extraArgs={{{lifetimes}}}"));
    let values = [
        "certificates.mode=self",
        FAIL,
        FAREWELL,
        &server,
        &publisher,
    ];
    site.install(&values).await
}

async fn serve(installed: &mut Installed<'_>, replicas: usize) {
    for _ in 0..replicas {
        let replica = installed.installation.replica().await.unwrap();
        installed.replicas.push(replica);
    }
    installed.publish().await;
    crate::admission::until_called(installed.server).await;
}

/// Lets the API server trust these authorities, and waits until no call goes by what it has trusted before.
async fn trust(installed: &mut Installed<'_>, authorities: &str, creations: &Creations) {
    installed.installation.trust(authorities).await.unwrap();
    until_learned(installed.server).await;
    creations.settle().await;
}

/// Mounts a certificate of this CA, and waits until every replica serves it.
async fn certify(installed: &mut Installed<'_>, authority: &Authority) {
    let mut before = Vec::new();
    for replica in &installed.replicas {
        before.push(loads(replica).await);
    }
    let identity = authority.server(&[SERVICE], &[]).unwrap();
    installed.installation.certify(&identity).unwrap();
    for (replica, before) in installed.replicas.iter().zip(before) {
        until("the new certificate", async || {
            (loads(replica).await > before).then_some(())
        })
        .await
        .unwrap();
    }
}

async fn loads(replica: &Replica) -> f64 {
    let labels = [("result", "loaded")];
    let loads = replica.metric("drainhook_certificate_reloads", &labels);
    loads.await.unwrap()
}

/// Certificates that were passed over for being faulty.
async fn faults(replica: &Replica) -> f64 {
    let labels = [("result", "kept")];
    let faults = replica.metric("drainhook_certificate_reloads", &labels);
    faults.await.unwrap()
}

async fn connections(installed: &Installed<'_>) -> f64 {
    let mut all = 0.0;
    for replica in &installed.replicas {
        let accepted = replica.metric("drainhook_connections_accepted_total", &[]);
        all += accepted.await.unwrap();
    }
    all
}

/// The CA that signs, PEM; nothing while there is none.
async fn signing(server: &ApiServer) -> String {
    let secrets: Api<Secret> = Api::namespaced(server.client(), NAME);
    let secret = secrets.get_opt(&format!("{NAME}-ca")).await.unwrap();
    let data = secret.and_then(|secret| secret.data).unwrap_or_default();
    let current = data.get("current.crt").cloned().unwrap_or_default();
    String::from_utf8(current.0).unwrap()
}

fn configurations(server: &ApiServer) -> Api<MutatingWebhookConfiguration> {
    Api::all(server.client())
}

async fn bundles(server: &ApiServer) -> Vec<String> {
    let configuration = configurations(server).get(NAME).await.unwrap();
    let webhooks = configuration.webhooks.into_iter().flatten();
    let text =
        |bundle: Option<ByteString>| bundle.map(|bundle| String::from_utf8(bundle.0).unwrap());
    webhooks
        .map(|webhook| text(webhook.client_config.ca_bundle).unwrap_or_default())
        .collect()
}

/// As somebody with an editor does.
async fn overwrite_bundles(server: &ApiServer, bundle: &str) {
    let count = bundles(server).await.len();
    let one = |index: usize| {
        let path = format!("/webhooks/{index}/clientConfig/caBundle");
        match bundle {
            "" => json!({ "op": "remove", "path": path }),
            bundle => {
                let bundle = ByteString(bundle.as_bytes().to_vec());
                json!({ "op": "replace", "path": path, "value": bundle })
            }
        }
    };
    let patch: Vec<Value> = (0..count).map(one).collect();
    let patch = Patch::<Value>::Json(serde_json::from_value(json!(patch)).unwrap());
    configurations(server)
        .patch(NAME, &PatchParams::default(), &patch)
        .await
        .unwrap();
}
