//! What the service accounts may do: what they need, and nothing else.

use std::{collections::BTreeSet, env, fs, path::Path};

use drainhook_tests::wait::until;

use crate::stage::Stage;

/// Where the expected rights stand, one file for each account. With `BLESS=1` they are written.
const EXPECTED: &str = "tests/installation/rights";

#[tokio::test]
async fn each_account_may_do_what_it_needs_and_nothing_else() {
    let Some(stage) = Stage::enter().await else {
        return;
    };
    stage.namespaces().await;
    // Rights that everybody has are the cluster's.
    let everybody = rights(&stage, "nobody");
    stage.release.install(&stage.values(&[])).unwrap();
    for account in ["drainhook", "drainhook-certs"] {
        let all = rights(&stage, account);
        let own: Vec<_> = all.difference(&everybody).cloned().collect();
        let own = format!("{}\n", own.join("\n"));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(EXPECTED);
        let path = path.join(format!("{account}.txt"));
        if env::var_os("BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &own).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap();
        assert_eq!(own, expected, "{account}: see {}", path.display());
    }
    // And they are enough: what was installed has got ready, and no call was forbidden. Rights come
    // and pods start at the same time, so that the first calls may have been too early.
    for deployment in ["drainhook", "drainhook-certs"] {
        let log = format!("logs deployment/{deployment} -n drainhook --all-pods --since=10s");
        let what = format!("ten seconds of {deployment} in which nothing was forbidden");
        until(&what, async || {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            (!stage.kubectl(&log).contains("forbidden")).then_some(())
        })
        .await
        .unwrap();
    }
    stage.leave().await;
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
