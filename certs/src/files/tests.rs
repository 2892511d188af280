use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use tempfile::TempDir;

use super::*;
use crate::certificate::armored;

/// A volume as the kubelet keeps it: the files are symlinks into `..data`, which is a symlink to a
/// directory of the generation, and is replaced by renaming.
struct Volume {
    directory: TempDir,
    generation: usize,
}

impl Volume {
    fn new(files: &[(&str, &str)]) -> Self {
        let mut volume = Self {
            directory: TempDir::new().unwrap(),
            generation: 0,
        };
        volume.swap(files);
        for (name, _) in files {
            symlink(format!("..data/{name}"), volume.path(name)).unwrap();
        }
        volume
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn swap(&mut self, files: &[(&str, &str)]) {
        let old = self.path(&format!("..generation_{}", self.generation));
        self.generation += 1;
        let name = format!("..generation_{}", self.generation);
        fs::create_dir(self.path(&name)).unwrap();
        for (file, contents) in files {
            fs::write(self.path(&name).join(file), contents).unwrap();
        }
        symlink(&name, self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        // The kubelet removes the old one at once.
        if old.exists() {
            fs::remove_dir_all(old).unwrap();
        }
    }
}

/// What an issuer hands out: a leaf, its key, and the CA, all in PEM.
struct Issued {
    chain: String,
    key: String,
    authority: String,
}

fn issued(begins: SystemTime, lives: Duration) -> Issued {
    let mut params = rcgen::CertificateParams::new(vec!["*.gateways.svc".to_owned()]).unwrap();
    params.not_before = begins.into();
    params.not_after = (begins + lives).into();
    let mut root = rcgen::CertificateParams::default();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer =
        rcgen::CertifiedIssuer::self_signed(root, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    Issued {
        chain: armored(
            "CERTIFICATE",
            params.signed_by(&key, &issuer).unwrap().der(),
        ),
        key: armored("PRIVATE KEY", key.serialized_der()),
        authority: armored("CERTIFICATE", issuer.der()),
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);

fn good() -> Issued {
    issued(SystemTime::now() - HOUR, 24 * HOUR)
}

impl Issued {
    fn files(&self) -> [(&str, &str); 2] {
        [("tls.crt", &self.chain), ("tls.key", &self.key)]
    }

    fn all_files(&self) -> [(&str, &str); 3] {
        let [chain, key] = self.files();
        [chain, key, ("ca.crt", &self.authority)]
    }
}

fn files(volume: &Volume) -> Files {
    let options = FilesOptions::new(volume.path("tls.crt"), volume.path("tls.key"));
    let mut files = Files::new(options, Arc::default(), Status::new(Mode::Files));
    files.look(SystemTime::now());
    files
}

fn serves(files: &Files) -> String {
    let served = files.served.current().expect("something is served");
    served
        .cert
        .iter()
        .map(|der| armored("CERTIFICATE", der))
        .collect()
}

#[test]
fn each_fault_leaves_the_last_good_pair_and_is_told_until_it_is_mended() {
    let now = SystemTime::now();
    let (first, second) = (good(), good());
    let (chain, key) = (second.chain.as_str(), second.key.as_str());
    let old = issued(now - 48 * HOUR, HOUR);
    let early = issued(now + HOUR, HOUR);
    let long = "x".repeat(2 * 1024 * 1024);
    let swapped: [&[(&str, &str)]; 14] = [
        &[("tls.crt", &chain[..chain.len() / 2]), ("tls.key", key)],
        &[("tls.crt", chain), ("tls.key", &key[..key.len() / 2])],
        &[("tls.crt", "garbage"), ("tls.key", key)],
        &[("tls.crt", chain), ("tls.key", "garbage")],
        &[("tls.crt", ""), ("tls.key", key)],
        &[("tls.crt", chain), ("tls.key", " \n")],
        &[("tls.crt", chain), ("tls.key", &first.key)],
        &[("tls.crt", key), ("tls.key", chain)],
        &[("tls.crt", chain)],
        &[],
        &[("tls.crt", &long), ("tls.key", key)],
        &[("tls.crt", &old.chain), ("tls.key", &old.key)],
        &[("tls.crt", &early.chain), ("tls.key", &early.key)],
        &[
            ("tls.crt", &armored("CERTIFICATE", b"not DER")),
            ("tls.key", key),
        ],
    ];
    let expected = [
        Fault::Malformed,
        Fault::Malformed,
        Fault::Empty,
        Fault::Empty,
        Fault::Empty,
        Fault::Empty,
        Fault::KeyMismatch,
        Fault::Empty,
        Fault::Unreadable,
        Fault::Unreadable,
        Fault::Unreadable,
        Fault::Expired,
        Fault::NotYetValid,
        Fault::Malformed,
    ];
    for (contents, fault) in swapped.into_iter().zip(expected) {
        let mut volume = Volume::new(&first.files());
        let mut files = files(&volume);
        assert_eq!(serves(&files), first.chain);
        volume.swap(contents);
        for _ in 0..3 {
            files.look(now);
        }
        let facts = files.status.facts();
        assert_eq!(serves(&files), first.chain, "{fault:?}: the last good pair");
        assert_eq!(
            facts.standing.keys().collect::<Vec<_>>(),
            [&fault],
            "{:?}",
            facts.standing
        );
        assert_eq!(
            facts.faults[&fault], 1,
            "counted once, however often it is looked at"
        );
        assert!(facts.ready, "{fault:?}: never taken out");
        let told = &facts.standing[&fault];
        assert!(told.contains("tls.") && !told.contains("PRIVATE"), "{told}");

        volume.swap(&second.files());
        files.look(now);
        assert_eq!(serves(&files), chain);
        let facts = files.status.facts();
        assert_eq!(
            (facts.loads, facts.standing.len()),
            (2, 0),
            "{fault:?}: mended"
        );
    }
}

#[test]
fn what_was_never_good_is_not_served_and_not_ready() {
    let now = SystemTime::now();
    let (old, fresh) = (issued(now - 48 * HOUR, HOUR), good());
    let mut volume = Volume::new(&old.files());
    let mut files = files(&volume);
    assert!(files.served.current().is_none() && !files.status.ready());
    assert_eq!(
        files
            .status
            .facts()
            .detail()
            .split("; ")
            .take(2)
            .collect::<Vec<_>>(),
        [
            "no certificate yet",
            "no verified handshake with itself yet"
        ]
    );
    volume.swap(&fresh.files());
    files.look(now);
    assert!(files.status.ready());
}

#[test]
fn a_pair_that_expires_while_served_is_served_on_and_told() {
    let now = SystemTime::now();
    let volume = Volume::new(&good().files());
    let mut files = files(&volume);
    let before = serves(&files);
    files.look(now + 30 * HOUR);
    assert_eq!(serves(&files), before);
    let facts = files.status.facts();
    assert!(facts.standing.contains_key(&Fault::Expired));
    assert!(facts.expires_in(now + 30 * HOUR).unwrap() < 0.0);
    // The clock was wrong, and is mended.
    files.look(now);
    assert_eq!(files.status.facts().standing.len(), 0);
}

#[test]
fn all_of_a_chain_is_served_and_its_shortest_part_counts() {
    let (now, one) = (SystemTime::now(), good());
    let short = issued(now - HOUR, 2 * HOUR).chain;
    let chain = format!("{}{short}", one.chain);
    let volume = Volume::new(&[("tls.crt", &chain), ("tls.key", &one.key)]);
    let files = files(&volume);
    assert_eq!(serves(&files), chain);
    assert!(files.status.facts().expires_in(now).unwrap() < 3601.0);
}

#[test]
fn it_is_ready_only_when_a_handshake_verifies_against_the_published_ca_and_stays_so() {
    let now = SystemTime::now();
    let (one, other) = (good(), good());
    let wrong = [
        ("tls.crt", one.chain.as_str()),
        ("tls.key", &one.key),
        ("ca.crt", &other.authority),
    ];
    let mut volume = Volume::new(&wrong);
    let mut files = files(&volume);
    assert!(!files.status.ready());
    assert!(
        files
            .status
            .facts()
            .standing
            .contains_key(&Fault::Unverified)
    );
    volume.swap(&one.all_files());
    files.look(now);
    assert!(files.status.ready() && files.status.facts().standing.is_empty());
    volume.swap(&wrong);
    files.look(now);
    assert!(files.status.ready(), "a foreign CA takes nobody out");
    assert_eq!(files.status.facts().faults[&Fault::Unverified], 2);
}

#[test]
fn the_name_of_the_service_has_to_be_in_the_certificate() {
    let one = good();
    let volume = Volume::new(&one.all_files());
    for (namespace, verifies) in [("gateways", true), ("elsewhere", false)] {
        let mut options = FilesOptions::new(volume.path("tls.crt"), volume.path("tls.key"));
        options.names =
            Some(ServerNames::service("drainhook", namespace, "cluster.local").unwrap());
        let source = Source::files(options);
        assert_eq!(source.status.ready(), verifies, "{namespace}");
    }
}

#[test]
fn files_that_are_swapped_all_the_time_are_read_as_they_stood_at_one_moment() {
    const SWAPS: usize = 2000;
    let mut volume = Volume::new(&[("tls.crt", "0"), ("tls.key", "0")]);
    let paths = [volume.path("tls.crt"), volume.path("tls.key")];
    let done = AtomicBool::new(false);
    let seen = AtomicUsize::new(0);
    let last = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut generations = std::collections::BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                // One that never comes to rest may be unreadable for once; it is never mixed.
                if let Ok([one, other]) = snapshot::read([&paths[0], &paths[1]]) {
                    assert_eq!(one, other);
                    generations.insert(one.to_vec());
                    seen.store(generations.len(), Ordering::Relaxed);
                }
            }
        });
        let mut contents = String::new();
        let mut swaps = 0;
        // Until the reader has seen generations come and go, or has failed.
        while swaps < SWAPS || (seen.load(Ordering::Relaxed) < 2 && !reader.is_finished()) {
            swaps += 1;
            contents = swaps.to_string();
            volume.swap(&[("tls.crt", &contents), ("tls.key", &contents)]);
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        contents
    });
    let [read, _] = snapshot::read([&paths[0], &paths[1]]).unwrap();
    assert_eq!(read.as_slice(), last.as_bytes());
}

#[test]
fn plain_files_without_symlinks_are_reloaded_too() {
    let (one, other) = (good(), good());
    let directory = TempDir::new().unwrap();
    let put = |issued: &Issued| {
        for (name, contents) in issued.files() {
            fs::write(directory.path().join(name), contents).unwrap();
        }
    };
    put(&one);
    let options = FilesOptions::new(
        directory.path().join("tls.crt"),
        directory.path().join("tls.key"),
    );
    let mut files = Files::new(options, Arc::default(), Status::new(Mode::Files));
    for issued in [&one, &other, &one] {
        put(issued);
        files.look(SystemTime::now());
        assert_eq!(serves(&files), issued.chain);
    }
    assert_eq!(files.status.facts().loads, 3);
}

#[test]
fn an_outdated_certificate_behind_a_good_one_is_told_and_does_not_keep_the_only_pair_from_being_served()
 {
    let now = SystemTime::now();
    for (begins, said) in [
        (now - 48 * HOUR, "expired"),
        (now + HOUR, "not valid before"),
    ] {
        let (one, outdated) = (good(), issued(begins, HOUR));
        let chain = format!("{}{}", one.chain, outdated.chain);
        let volume = Volume::new(&[("tls.crt", &chain), ("tls.key", &one.key)]);
        let files = files(&volume);
        assert_eq!(serves(&files), chain);
        let facts = files.status.facts();
        let told = facts.standing.get(&Fault::Chain).map(String::as_str);
        assert!(
            facts.ready && told.is_some_and(|told| told.contains(said)),
            "{facts:?}"
        );
        assert!(facts.served.unwrap().not_after > now);
        let passed_over = facts.faults.keys().any(|fault| fault.is_of_content());
        assert!(!passed_over, "it is served: {facts:?}");
    }
}

#[test]
fn a_chain_with_an_outdated_certificate_replaces_a_good_one_only_once_that_has_ended() {
    let now = SystemTime::now();
    for (begins, fault) in [
        (now - 48 * HOUR, Fault::Expired),
        (now + 100 * HOUR, Fault::NotYetValid),
    ] {
        let (one, outdated) = (good(), issued(begins, HOUR));
        let next = issued(now - HOUR, 48 * HOUR);
        let chain = format!("{}{}", next.chain, outdated.chain);
        let mut volume = Volume::new(&one.files());
        let mut files = files(&volume);
        volume.swap(&[("tls.crt", &chain), ("tls.key", &next.key)]);
        files.look(now);
        assert_eq!(serves(&files), one.chain);
        let standing = files.status.facts().standing;
        assert_eq!(standing.keys().collect::<Vec<_>>(), [&fault]);

        files.look(now + 30 * HOUR);
        assert_eq!(serves(&files), chain);
        let standing = files.status.facts().standing;
        assert_eq!(standing.keys().collect::<Vec<_>>(), [&Fault::Chain]);
    }
}

#[tokio::test]
async fn a_panic_in_a_look_reaches_whoever_runs_it() {
    let look = |_: &mut ()| panic!("a defect that a test put here");
    let looking = tokio::spawn(look_every(HOUR, (), look));
    assert!(looking.await.unwrap_err().is_panic());
}

#[test]
fn a_clock_before_everything_is_no_panic() {
    let volume = Volume::new(&good().files());
    files(&volume).look(UNIX_EPOCH);
}
