//! Rounds against an API server of a few lines, which forbids what the test wants it to.

use std::sync::{Arc, Mutex, MutexGuard};

use kube::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What is in the API server, and what it forbids.
#[derive(Default)]
struct Objects {
    registration: Option<Value>,
    secret: Option<Value>,
    versions: u64,
    forbids_owners: bool,
    forbids_bundles: bool,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Objects>>);

impl Fake {
    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.0.lock().unwrap()
    }

    /// The API server, and a publisher that talks to it.
    async fn start(objects: Objects) -> (Self, Publisher, Publishing) {
        let fake = Self(Arc::new(Mutex::new(objects)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = fake.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                served.answer(stream).await;
            }
        });
        let config = Config::new(format!("http://{address}").parse().unwrap());
        let options = PublisherOptions {
            secret: SecretName {
                namespace: "drainhook".to_owned(),
                name: "drainhook-ca".to_owned(),
            },
            labels: BTreeMap::from([("app".to_owned(), "drainhook".to_owned())]),
            configurations: vec![ConfigurationName::Mutating("drainhook".to_owned())],
            organization: "drainhook".to_owned(),
            lifetimes: Lifetimes::default(),
        };
        let (publisher, publishing) = Publisher::new(Client::try_from(config).unwrap(), options);
        (fake, publisher, publishing)
    }

    /// One request for each connection.
    async fn answer(&self, mut stream: TcpStream) {
        let mut read = Vec::new();
        let (head, body) = loop {
            assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0);
            let text = String::from_utf8(read.clone()).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let head = head.to_lowercase();
            let mut lines = head.lines();
            let length = lines.find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                break (head.clone(), body.to_owned());
            }
        };
        let is_secret = head.contains("/secrets/");
        let (code, answer) = if head.starts_with("get") {
            self.lock().get(is_secret)
        } else {
            let applied = serde_json::from_str(&body).unwrap();
            self.lock().apply(is_secret, &applied)
        };
        let answer = answer.to_string();
        let length = answer.len();
        let answer = format!(
            "HTTP/1.1 {code} Said\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{answer}"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

impl Objects {
    fn get(&self, is_secret: bool) -> (u16, Value) {
        let object = if is_secret {
            &self.secret
        } else {
            &self.registration
        };
        match object {
            Some(object) => (200, object.clone()),
            None => refused(404, "NotFound"),
        }
    }

    /// As a server-side apply does, as far as it matters here.
    fn apply(&mut self, is_secret: bool, applied: &Value) -> (u16, Value) {
        let metadata = &applied["metadata"];
        let owners = !metadata["ownerReferences"].is_null();
        if (is_secret && owners && self.forbids_owners) || (!is_secret && self.forbids_bundles) {
            return refused(403, "Forbidden");
        }
        self.versions += 1;
        let version = self.versions.to_string();
        let object = if is_secret {
            &mut self.secret
        } else {
            &mut self.registration
        };
        let Some(object) = object else {
            // The version is not looked at where there is nothing, the uid is.
            if !metadata["uid"].is_null() {
                return refused(409, "Conflict");
            }
            let made = object.insert(applied.clone());
            made["metadata"]["uid"] = json!(format!("made-{version}"));
            made["metadata"]["resourceVersion"] = json!(version);
            return (201, made.clone());
        };
        let expected = &metadata["resourceVersion"];
        if !expected.is_null() && *expected != object["metadata"]["resourceVersion"] {
            return refused(409, "Conflict");
        }
        for field in ["labels", "ownerReferences"] {
            if !metadata[field].is_null() {
                object["metadata"][field] = metadata[field].clone();
            }
        }
        for field in ["data", "webhooks"] {
            if !applied[field].is_null() {
                object[field] = applied[field].clone();
            }
        }
        object["metadata"]["resourceVersion"] = json!(version);
        (200, object.clone())
    }
}

fn refused(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": reason,
    });
    (code, status)
}

fn registration() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "drainhook", "uid": "registration", "resourceVersion": "0"},
        "webhooks": [webhook()],
    })
}

fn webhook() -> Value {
    json!({
        "name": "drainhook.io", "clientConfig": {},
        "admissionReviewVersions": ["v1"], "sideEffects": "None",
    })
}

/// Rounds until there is nothing to be done.
async fn settle(publisher: &mut Publisher) {
    for _ in 0..10 {
        if !publisher.round().await.unwrap() {
            return;
        }
    }
    panic!("ten rounds, and each of them wrote");
}

#[tokio::test]
async fn the_secret_is_tied_to_the_registration_when_it_is_made() {
    let (fake, mut publisher, publishing) = Fake::start(Objects {
        registration: Some(registration()),
        ..Objects::default()
    })
    .await;
    assert!(publisher.round().await.unwrap());
    let secret = fake.lock().secret.clone().unwrap();
    assert_eq!(
        secret["metadata"]["ownerReferences"][0]["uid"],
        "registration"
    );
    assert_eq!(secret["metadata"]["labels"]["app"], "drainhook");
    settle(&mut publisher).await;
    let facts = publishing.facts();
    assert!(facts.ready && facts.right && facts.untied.is_none());
}

#[tokio::test]
async fn where_an_owner_may_not_be_named_everything_else_is_done() {
    let (fake, mut publisher, publishing) = Fake::start(Objects {
        registration: Some(registration()),
        forbids_owners: true,
        ..Objects::default()
    })
    .await;
    settle(&mut publisher).await;
    let facts = publishing.facts();
    assert!(facts.ready && facts.right, "{facts:?}");
    assert!(facts.untied.unwrap().contains("Forbidden"));

    fake.lock().forbids_owners = false;
    settle(&mut publisher).await;
    let secret = fake.lock().secret.clone().unwrap();
    assert_eq!(
        secret["metadata"]["ownerReferences"][0]["uid"],
        "registration"
    );
    assert_eq!(publishing.facts().untied, None);
}

#[tokio::test]
async fn a_secret_that_goes_between_look_and_write_is_not_made_by_the_write() {
    let (fake, mut publisher, _) = Fake::start(Objects {
        registration: Some(registration()),
        ..Objects::default()
    })
    .await;
    settle(&mut publisher).await;
    let another = json!("another");
    fake.lock().registration.as_mut().unwrap()["metadata"]["uid"] = another;
    let seen = publisher.look().await.unwrap();
    assert!(matches!(seen.owner, Owner::Due(_)));
    fake.lock().secret = None;
    let step = Plan {
        secret: publisher.memory.clone(),
        ..Plan::default()
    };
    for plan in [Plan::default(), step] {
        let lost = publisher.write(&seen, &plan).await.unwrap_err();
        assert!(matches!(
            lost,
            RoundError::Api {
                error: ApiError::Conflict,
                ..
            }
        ));
        assert_eq!(fake.lock().secret, None);
    }
}

#[tokio::test]
async fn a_wrong_bundle_that_may_not_be_put_right_is_said_to_be_wrong() {
    let (fake, mut publisher, publishing) = Fake::start(Objects {
        registration: Some(registration()),
        ..Objects::default()
    })
    .await;
    settle(&mut publisher).await;
    assert!(publishing.facts().right);
    {
        let mut objects = fake.lock();
        objects.forbids_bundles = true;
        objects.registration.as_mut().unwrap()["webhooks"] = json!([webhook()]);
    }
    publisher.round().await.unwrap_err();
    let facts = publishing.facts();
    assert!(!facts.right && facts.ready, "{facts:?}");
}

#[tokio::test]
async fn a_registration_that_is_not_there_is_missing_though_there_is_no_secret_either() {
    let (fake, mut publisher, publishing) = Fake::start(Objects::default()).await;
    settle(&mut publisher).await;
    assert_eq!(
        publishing.facts().missing,
        ["MutatingWebhookConfiguration drainhook"]
    );
    assert_eq!(fake.lock().secret, None);

    fake.lock().registration = Some(registration());
    settle(&mut publisher).await;
    let facts = publishing.facts();
    assert!(facts.ready && facts.missing.is_empty(), "{facts:?}");
}

#[test]
fn writes_that_do_not_hold_are_made_ever_more_rarely() {
    let mut pace = Pace::default();
    for _ in 0..HASTY_ROUNDS {
        assert_eq!(pace.step(), Duration::ZERO);
    }
    let pauses: Vec<_> = (0..10).map(|_| pace.step()).collect();
    assert_eq!(pauses[..3], [1, 2, 4].map(|times| RETRY_SHORTEST * times));
    assert!(pauses.is_sorted());
    assert_eq!(pauses.last(), Some(&RETRY_LONGEST));
}

#[test]
fn writes_that_hold_for_a_moment_only_are_made_ever_more_rarely_too() {
    let mut pace = Pace::default();
    let pauses: Vec<_> = (0..20)
        .map(|_| {
            let pause = pace.step();
            // All is right at the next look, and somebody alters it after that.
            pace.rest(Instant::now());
            pause
        })
        .collect();
    assert!(pauses.is_sorted(), "{pauses:?}");
    assert_eq!(pauses.last(), Some(&RETRY_LONGEST));

    pace.rest(Instant::now() + 2 * HOLDS);
    assert_eq!(pace.step(), Duration::ZERO, "that one has held");
}

#[test]
fn faults_that_are_over_do_not_make_later_ones_last() {
    let mut pace = Pace::default();
    pace.step();
    for _ in 0..10 {
        pace.longer();
    }
    pace.rest(Instant::now());
    assert_eq!(pace.longer(), RETRY_SHORTEST);
}

#[test]
fn a_write_after_faults_is_followed_by_a_look_at_once() {
    let mut pace = Pace::default();
    assert_eq!(pace.longer(), RETRY_SHORTEST);
    assert_eq!(pace.longer(), RETRY_SHORTEST * 2);
    assert_eq!(pace.step(), Duration::ZERO);
    assert_eq!(pace.longer(), RETRY_SHORTEST, "the fault was another one");
}
