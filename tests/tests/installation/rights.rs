//! What the service accounts may do: what they need, and nothing else.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use drainhook_tests::{
    cluster::{AuditEvent, AuditLog},
    skip::skip,
    wait::until,
};
use serde_json::Value;

use crate::stage::Stage;

/// Where the expected rights stand, one file for each account. With `BLESS=1` they are written.
const EXPECTED: &str = "tests/installation/rights";

/// Called as the Deployments that have them.
const ACCOUNTS: [&str; 2] = ["drainhook", "drainhook-certs"];

#[tokio::test]
async fn each_account_may_do_what_it_needs_and_nothing_else() {
    let Some(stage) = Stage::enter().await else {
        return;
    };
    stage.namespaces().await;
    // Rights that everybody has are the cluster's.
    let everybody = rights(&stage, "nobody");
    stage.release.install(&stage.values(&[])).unwrap();
    for account in ACCOUNTS {
        let all = rights(&stage, account);
        let own: Vec<_> = all.difference(&everybody).cloned().collect();
        let own = format!("{}\n", own.join("\n"));
        let path = expected(account);
        if env::var_os("BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &own).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap();
        assert_eq!(own, expected, "{account}: see {}", path.display());
    }
    let Some(audit) = stage.audit() else {
        stage.leave();
        skip("what the accounts ask for is seen in the audit log of a cluster of our own only");
        return;
    };
    // And they are enough, and each is needed. Rights come and pods start at the same time, so that the
    // first calls of an installation may have come too early; pods that start now have no such excuse.
    let before = audit.events().unwrap().len();
    for deployment in ACCOUNTS {
        stage.kubectl(&format!(
            "rollout restart deployment/{deployment} -n drainhook"
        ));
    }
    stage.kubectl("annotate secret drainhook-ca -n drainhook drainhook.io/rotate=now");
    for account in ACCOUNTS {
        let mut unused = BTreeSet::new();
        let used = until("each right is used", async || {
            unused = granted(account);
            for event in since(&audit, before, account) {
                unused.remove(&(event.resource, event.verb));
            }
            unused.is_empty().then_some(())
        });
        let used = used.await;
        assert!(used.is_ok(), "{account} never uses {unused:?}");
        let refused = since(&audit, before, account)
            .into_iter()
            .filter(|event| event.code == 403);
        let refused: Vec<_> = refused.map(|event| event.raw).collect();
        assert_eq!(refused, Vec::<Value>::new(), "{account}");
    }
    stage.leave();
}

/// The rights of an account, by resource and verb, but for those whose use the audit log does not show.
fn granted(account: &str) -> BTreeSet<(String, String)> {
    let rights = fs::read_to_string(expected(account)).unwrap();
    let mut granted = BTreeSet::new();
    for line in rights.lines() {
        let (resource, verbs) = line.rsplit_once('[').unwrap();
        let resource = resource.split(['.', ' ']).next().unwrap();
        for verb in verbs.trim_end_matches(']').split(' ') {
            granted.insert((resource.to_owned(), verb.to_owned()));
        }
    }
    // A server-side apply that creates is written down as the patch that it is.
    granted.retain(|(_, verb)| verb != "create");
    granted
}

/// What an account has asked for since there were so many events.
fn since(audit: &AuditLog, before: usize, account: &str) -> Vec<AuditEvent> {
    let user = format!("system:serviceaccount:drainhook:{account}");
    let events = audit.events().unwrap().into_iter().skip(before);
    events.filter(|event| event.user == user).collect()
}

fn expected(account: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(EXPECTED)
        .join(format!("{account}.txt"))
}

/// A line for each right, as `kubectl auth can-i --list` has it, in a form that does not depend on the
/// width of its columns.
fn rights(stage: &Stage, account: &str) -> BTreeSet<String> {
    let listed = stage.kubectl(&format!(
        "auth can-i --list --no-headers --namespace=drainhook \
         --as=system:serviceaccount:drainhook:{account} \
         --as-group=system:serviceaccounts --as-group=system:authenticated"
    ));
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    listed.lines().map(line).collect()
}
