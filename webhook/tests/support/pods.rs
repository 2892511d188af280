//! Pods as nobody would write them: everything that the decision reads, in all combinations, and
//! unknown fields at every level.

use drainhook_webhook::annotations::TABLE;
use drainhook_webhook::{
    Configuration, InstallationDefaults, KubernetesVersion, Namespace, Origin, Request, Token,
    UnknownKeys,
};
use proptest::collection::{btree_map, vec};
use proptest::option::{of as maybe, weighted};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// Everything that a decision is made from.
#[derive(Clone, Debug)]
pub(crate) struct Situation {
    pub(crate) pod: Value,
    pub(crate) namespace: Option<Namespace>,
    pub(crate) configuration: Configuration,
    pub(crate) token: Option<Token>,
    pub(crate) origin: Origin,
}

impl Situation {
    pub(crate) fn request<'a>(&'a self, pod: &'a Value) -> Request<'a> {
        Request {
            pod,
            namespace: self.namespace.as_ref(),
            configuration: &self.configuration,
            token: self.token.as_ref(),
            origin: self.origin,
        }
    }
}

pub(crate) fn situation() -> impl Strategy<Value = Situation> {
    let origin = select(vec![Origin::Admission, Origin::Manifest]);
    (
        pod(),
        maybe(namespace()),
        configuration(),
        any::<u128>(),
        origin,
    )
        .prop_map(|(pod, namespace, configuration, bits, origin)| Situation {
            pod,
            namespace,
            configuration,
            token: (origin == Origin::Admission).then(|| Token::from_random(bits)),
            origin,
        })
}

/// Any JSON at all.
pub(crate) fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("\\PC{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// An object of these fields and of some that nobody knows.
fn object(fields: Vec<(&'static str, BoxedStrategy<Option<Value>>)>) -> BoxedStrategy<Value> {
    let names: Vec<&'static str> = fields.iter().map(|(name, _)| *name).collect();
    let values: Vec<_> = fields.into_iter().map(|(_, value)| value).collect();
    // Slashes and tildes need escapes in a pointer.
    let unknown = btree_map("[a-z/~.]{1,5}-unknown", anything(), 0..3);
    (values, unknown)
        .prop_map(move |(values, unknown)| {
            let known = names.iter().map(|name| (*name).to_owned()).zip(values);
            let known = known.filter_map(|(name, value)| Some((name, value?)));
            Value::Object(unknown.into_iter().chain(known).collect())
        })
        .boxed()
}

fn always(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    value.prop_map(Some).boxed()
}

fn sometimes(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    maybe(value).boxed()
}

fn seldom(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    weighted(0.15, value).boxed()
}

fn one_of(values: Vec<Value>) -> BoxedStrategy<Value> {
    select(values).boxed()
}

fn pod() -> BoxedStrategy<Value> {
    object(vec![
        ("metadata", weighted(0.97, metadata()).boxed()),
        ("spec", always(spec())),
    ])
}

fn metadata() -> BoxedStrategy<Value> {
    object(vec![
        ("name", sometimes(one_of(vec![json!("gateway")]))),
        (
            "annotations",
            weighted(
                0.95,
                prop_oneof![1 => Just(Value::Null), 30 => annotations()],
            )
            .boxed(),
        ),
    ])
}

fn annotations() -> BoxedStrategy<Value> {
    let ours = vec(
        (
            select(TABLE.iter().map(|row| row.name).collect::<Vec<_>>()),
            setting(),
        ),
        0..4,
    );
    let others = btree_map("[a-z]{1,4}[./~][a-z]{1,4}", "\\PC{0,8}", 0..3);
    let scraped = seldom(one_of(vec![json!("9102"), json!("metrics"), json!("")]));
    let status = seldom(one_of(vec![
        json!("{}"),
        json!("stale"),
        json!(
            r#"{"version":"0.0.9","added":["/spec/containers","/metadata"],"changed":{"/spec/terminationGracePeriodSeconds":{"was":7,"now":305},"/spec/containers":{"was":null}}}"#
        ),
    ]));
    let inject = weighted(
        0.8,
        one_of(
            vec![json!("true"); 9]
                .into_iter()
                .chain([json!("false")])
                .collect(),
        ),
    );
    (ours, others, scraped, status, inject)
        .prop_map(|(ours, others, scraped, status, inject)| {
            let mut map: Map<String, Value> = others
                .into_iter()
                .map(|(key, value)| (key, json!(value)))
                .collect();
            for (name, values) in ours.into_iter().filter(|(name, _)| *name != "inject") {
                map.insert(format!("drainhook.io/{name}"), json!(values.of(name)));
            }
            map.extend(scraped.map(|port| ("prometheus.io/port".to_owned(), port)));
            map.extend(status.map(|text| ("drainhook.io/status".to_owned(), text)));
            map.extend(inject.map(|word| ("drainhook.io/inject".to_owned(), word)));
            Value::Object(map)
        })
        .boxed()
}

/// A value for any key: one that is good for its kind, or nonsense.
#[derive(Clone, Debug)]
struct SettingText {
    good: usize,
    nonsense: Option<String>,
}

fn setting() -> impl Strategy<Value = SettingText> {
    (0usize..6, weighted(0.04, "\\PC{0,10}"))
        .prop_map(|(good, nonsense)| SettingText { good, nonsense })
}

impl SettingText {
    fn of(&self, name: &str) -> String {
        if let Some(nonsense) = &self.nonsense {
            return nonsense.clone();
        }
        let good: &[&str] = match name {
            "envoy" => &["a", "b", "a,b", "c"],
            "admin" => &[
                "9901",
                "127.0.0.1:19000",
                "unix:///run/admin/admin.sock",
                "a=1,b=2",
                "a=8090",
            ],
            "wait-for" => &["quiet", "connections"],
            "drain-timeout" => &["300s", "2m", "65s", "1500ms", "4s"],
            "drain-listeners" => &["auto", "always", "never"],
            "min-open-connections" => &["0", "3"],
            "exclude-listeners" => &["admin-gw,8443", "$(HOME)", "a b,\"c\""],
            "wait-containers" => &["all", "none", "c", "d", "b,c"],
            "pre-stop" => &["keep", "replace", "reject"],
            "mode" => &["auto", "native", "container"],
            "port" => &["8090", "8091", "9901", "8080"],
            "image" => &["registry.example/shutdown-manager:v1", "mine@sha256:0"],
            "image-pull-policy" => &["Always", "IfNotPresent", "Never"],
            "image-pull-secrets" => &["one", "one,two.example"],
            "cpu-request" | "cpu-limit" => &["5m", "10m", "0.1"],
            "memory-request" | "memory-limit" => &["8Mi", "16Mi", "64Mi"],
            "run-as-user" => &["0", "101", "65532"],
            "log-level" => &["debug", "info"],
            _ => &["0s", "1s", "1500ms", "90s", "2m"],
        };
        good[self.good % good.len()].to_owned()
    }
}

fn spec() -> BoxedStrategy<Value> {
    let security = object(vec![
        ("runAsUser", sometimes(one_of(vec![json!(0), json!(1000)]))),
        ("runAsGroup", sometimes(one_of(vec![json!(0), json!(1000)]))),
    ]);
    let windows = one_of(vec![json!("linux"), json!("linux"), json!("windows")]);
    object(vec![
        (
            "containers",
            always(containers(&["a", "b", "c", "d"], 1..4, false)),
        ),
        (
            "initContainers",
            sometimes(prop_oneof![
                1 => Just(Value::Null),
                8 => containers(&["i", "j"], 0..3, true),
            ]),
        ),
        ("hostNetwork", seldom(any::<bool>().prop_map(Value::from))),
        (
            "terminationGracePeriodSeconds",
            sometimes(one_of(
                [0, 1, 30, 45, 304, 305, 306, 3600]
                    .map(|seconds| json!(seconds))
                    .to_vec(),
            )),
        ),
        (
            "restartPolicy",
            seldom(one_of(vec![
                json!("Always"),
                json!("Never"),
                json!("OnFailure"),
            ])),
        ),
        ("os", seldom(object(vec![("name", always(windows))]))),
        (
            "resources",
            seldom(object(vec![(
                "limits",
                sometimes(Just(json!({"cpu": "1"}))),
            )])),
        ),
        (
            "securityContext",
            sometimes(prop_oneof![1 => Just(Value::Null), 8 => security]),
        ),
        (
            "imagePullSecrets",
            sometimes(one_of(vec![
                json!([]),
                json!([{"name": "one"}]),
                json!([{"name": "own"}, {}]),
                Value::Null,
            ])),
        ),
    ])
}

fn containers(
    names: &'static [&'static str],
    count: std::ops::Range<usize>,
    init: bool,
) -> BoxedStrategy<Value> {
    (vec(container(init), count), any::<prop::sample::Index>())
        .prop_map(move |(containers, first)| {
            let offset = first.index(names.len());
            let named = containers
                .into_iter()
                .enumerate()
                .map(|(index, mut container)| {
                    container["name"] = json!(names[(offset + index) % names.len()]);
                    container
                });
            named.collect::<Vec<_>>().into()
        })
        .boxed()
}

fn container(init: bool) -> BoxedStrategy<Value> {
    let images = [
        "app:1",
        "app:2",
        "envoyproxy/envoy:v1.36.2",
        "envoyproxy/envoy:v1.36.2",
        "envoy-gateway:1",
        "",
    ];
    let args = vec![
        json!(["-c", "/etc/envoy/envoy.yaml"]),
        json!([
            "--config-yaml",
            "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 19000}}}"
        ]),
        json!([
            "--config-yaml",
            "admin: {address: {pipe: {path: /run/admin/admin.sock}}}"
        ]),
        json!(["--config-yaml", "{"]),
        json!([
            "--base-id",
            "1",
            "--drain-time-s",
            "10",
            "--drain-strategy",
            "immediate"
        ]),
        json!(["shutdown-manager"]),
    ];
    let user = object(vec![
        ("runAsUser", sometimes(one_of(vec![json!(0), json!(101)]))),
        ("runAsGroup", sometimes(one_of(vec![json!(101)]))),
        ("seLinuxOptions", seldom(Just(json!({"level": "s0:c1,c2"})))),
    ]);
    let bounds = one_of(vec![
        json!({"cpu": "1", "memory": "1Gi"}),
        json!({"cpu": 1}),
        json!({"memory": "64Mi"}),
        json!({}),
    ]);
    let resources = object(vec![
        ("limits", sometimes(bounds.clone())),
        ("requests", seldom(bounds)),
    ]);
    let restart = one_of(vec![json!("Always"), json!("Always"), Value::Null]);
    let mounts = vec![
        json!([{"name": "admin", "mountPath": "/run/admin"}]),
        json!([{"name": "admin", "mountPath": "/run", "subPath": "x", "unknown": 1}]),
        json!([]),
    ];
    object(vec![
        (
            "image",
            sometimes(one_of(images.map(|image| json!(image)).to_vec())),
        ),
        (
            "command",
            seldom(one_of(vec![
                json!(["envoy"]),
                json!(["sh", "-c", "exec envoy -c x"]),
                json!(["app"]),
            ])),
        ),
        ("args", sometimes(one_of(args))),
        (
            "env",
            seldom(one_of(vec![
                json!([{"name": "A", "value": "b"}]),
                json!([{"name": "SHUTDOWN_MANAGER_PORT", "value": "x"}]),
            ])),
        ),
        (
            "ports",
            seldom(one_of(vec![
                json!([{"name": "http", "containerPort": 8080}]),
                json!([{"name": "admin", "containerPort": 9901, "hostPort": 9901}]),
                json!([{"containerPort": 8090}]),
                json!([{"containerPort": 8090, "protocol": "UDP"}]),
            ])),
        ),
        ("lifecycle", seldom(lifecycle())),
        ("livenessProbe", seldom(probe())),
        ("readinessProbe", seldom(probe())),
        ("startupProbe", seldom(probe())),
        ("resources", sometimes(resources)),
        ("securityContext", sometimes(user)),
        ("volumeMounts", sometimes(one_of(mounts))),
        (
            "restartPolicy",
            if init {
                sometimes(restart)
            } else {
                Just(None).boxed()
            },
        ),
    ])
}

fn lifecycle() -> BoxedStrategy<Value> {
    let hook = one_of(vec![
        json!({"exec": {"command": ["sleep", "5"]}}),
        json!({"httpGet": {"path": "/drain", "port": 9000}}),
        json!({"httpGet": {"path": "/shutdown", "port": 8090}}),
        json!({"httpGet": {"path": "/wait", "port": 8090, "httpHeaders": [{"name": "X-Drainhook-Token", "value": "left"}]}}),
        json!({"tcpSocket": {"port": 1}}),
        json!({"sleep": {"seconds": 5}}),
        Value::Null,
    ]);
    let filled = object(vec![
        ("preStop", sometimes(hook)),
        (
            "postStart",
            sometimes(Just(json!({"sleep": {"seconds": 1}}))),
        ),
    ]);
    prop_oneof![1 => Just(Value::Null), 8 => filled].boxed()
}

fn probe() -> BoxedStrategy<Value> {
    let http = one_of(vec![
        json!({"path": "/ready", "port": 8002}),
        json!({"path": "/server_info", "port": 9901}),
        json!({"path": "/", "port": "http"}),
    ]);
    let filled = object(vec![
        ("httpGet", sometimes(http)),
        (
            "terminationGracePeriodSeconds",
            seldom(one_of(vec![json!(3), Value::Null])),
        ),
    ]);
    prop_oneof![1 => Just(Value::Null), 8 => filled].boxed()
}

fn namespace() -> BoxedStrategy<Namespace> {
    let ours = vec(
        (
            select(TABLE.iter().map(|row| row.name).collect::<Vec<_>>()),
            setting(),
        ),
        0..3,
    );
    (ours, any::<bool>(), any::<bool>())
        .prop_map(|(ours, opts_in, openshift)| {
            let mut namespace = Namespace {
                name: "shop".into(),
                ..Namespace::default()
            };
            for (name, text) in ours {
                namespace
                    .annotations
                    .insert(format!("drainhook.io/{name}"), text.of(name));
            }
            if opts_in {
                namespace
                    .labels
                    .insert("drainhook.io/inject".into(), "enabled".into());
            }
            if openshift {
                let range = (
                    "openshift.io/sa.scc.uid-range".into(),
                    "1000700000/10000".into(),
                );
                namespace.annotations.extend([range]);
            }
            namespace
        })
        .boxed()
}

fn configuration() -> BoxedStrategy<Configuration> {
    let version = select(vec![None, Some(28), Some(30), Some(32), Some(34)]);
    let defaults = vec(
        (
            select(TABLE.iter().map(|row| row.name).collect::<Vec<_>>()),
            setting(),
        ),
        0..3,
    );
    (version, defaults, any::<bool>(), any::<bool>())
        .prop_map(|(minor, defaults, image_choice, lenient)| {
            let texts: Vec<(&str, String)> = defaults
                .into_iter()
                .map(|(name, text)| (name, text.of(name)))
                .collect();
            let pairs = texts.iter().map(|(name, text)| (*name, text.as_str()));
            Configuration {
                // What is refused when it is read never gets here.
                defaults: InstallationDefaults::from_pairs(pairs).unwrap_or_default(),
                kubernetes: minor.map(|minor| KubernetesVersion { major: 1, minor }),
                image_choice,
                unknown_keys: if lenient {
                    UnknownKeys::Warn
                } else {
                    UnknownKeys::Deny
                },
            }
        })
        .boxed()
}
