//! What the other tests rely on: that our nodes are real ones.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use drainhook_tests::{
    cluster::{Cluster, Network},
    stage::{Scene, play},
    wait::until,
};
use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{
    Api,
    api::{AttachParams, DeleteParams, LogParams},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A web server that says which pod answers, and logs what it is asked and by whom.
const SERVER: &str = r##"
busybox=/bin/busybox
$busybox mkdir -p /www/cgi-bin
$busybox cat > /www/cgi-bin/ask <<'END'
#!/bin/sh
echo "asked by $HTTP_USER_AGENT with $HTTP_X_DRAINHOOK_TOKEN at $REQUEST_URI" >/proc/1/fd/1
printf 'Content-Type: text/plain\r\n\r\nthis is %s\n' "$(/bin/busybox hostname)"
END
$busybox chmod +x /www/cgi-bin/ask
trap 'echo "terminated"; exit 0' TERM
$busybox httpd -p 8090 -h /www
echo "serving"
while :; do $busybox sleep 1 & wait; done
"##;

#[test]
fn the_kubelet_calls_the_hook_and_then_sends_the_signal() {
    play(async |scene| {
        let pods: Api<Pod> = Api::namespaced(scene.cluster().client(), scene.namespace());
        let mut pod = server(scene, "front", "node-1");
        pod["spec"]["containers"][0]["lifecycle"] = json!({ "preStop": { "httpGet": {
            "path": "/cgi-bin/ask?why=stop",
            "port": 8090,
            "httpHeaders": [{ "name": "x-drainhook-token", "value": "0123456789abcdef" }],
        } } });
        scene.cluster().apply(&pod).await.unwrap();
        until_logged(&pods, "front", "serving").await;

        let follow = LogParams {
            follow: true,
            ..LogParams::default()
        };
        let log = pods.log_stream("front", &follow).await.unwrap();
        let parameters = DeleteParams::default();
        pods.delete("front", &parameters).await.unwrap();
        let lines: Vec<String> = log.lines().try_collect().await.unwrap();
        let last = lines.iter().rev().take(2).rev().collect::<Vec<_>>();
        let hook = "asked by kube-lifecycle/1.36 with 0123456789abcdef at /cgi-bin/ask?why=stop";
        assert_eq!(last, [hook, "terminated"], "{lines:#?}");
    });
}

#[test]
fn a_service_routes_to_pods_on_every_node_from_every_node() {
    play(async |scene| {
        let cluster = scene.cluster();
        let pods: Api<Pod> = Api::namespaced(cluster.client(), scene.namespace());
        for node in cluster.nodes() {
            let name = format!("on-{}", node.name());
            let server = server(scene, &name, node.name());
            cluster.apply(&server).await.unwrap();
        }
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": "front", "namespace": scene.namespace() },
            "spec": {
                "selector": { "app": "front" },
                "ports": [{ "port": 80, "targetPort": 8090 }],
            },
        });
        cluster.apply(&service).await.unwrap();
        for node in cluster.nodes() {
            until_logged(&pods, &format!("on-{}", node.name()), "serving").await;
        }
        let services: Api<Service> = Api::namespaced(cluster.client(), scene.namespace());
        let service = services.get("front").await.unwrap();
        let ip = service.spec.unwrap().cluster_ip.unwrap();
        let address: SocketAddr = format!("{ip}:80").parse().unwrap();
        for node in cluster.nodes() {
            for wanted in ["this is on-node-1", "this is on-node-2"] {
                let what = format!("\"{wanted}\" through the Service on {}", node.name());
                until(&what, async || {
                    let said = node.namespace().run(move || ask(address)).await.unwrap();
                    said.is_ok_and(|said| said.contains(wanted)).then_some(())
                })
                .await
                .unwrap();
            }
        }

        // A pod on one node reaches the pod on the other, and the API server by its Service.
        let other = pods.get("on-node-2").await.unwrap();
        let other = other.status.unwrap().pod_ip.unwrap();
        let fetch = format!("busybox wget -q -O - http://{other}:8090/cgi-bin/ask");
        let said = exec(&pods, "on-node-1", &fetch).await.unwrap();
        assert_eq!(said, "this is on-node-2\n");
        let connect = "busybox nc -w 5 10.96.0.1 443 </dev/null && echo connected";
        let said = exec(&pods, "on-node-1", connect).await.unwrap();
        assert_eq!(said, "connected\n");
    });
}

#[tokio::test]
async fn a_lost_node_turns_unready_and_the_other_stays() {
    if !Network::available() {
        return;
    }
    let mut cluster = Cluster::start(2).await.unwrap();
    cluster.lose("node-1").unwrap();
    assert!(cluster.lose("node-1").is_err());
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(cluster.client());
    let ready = async |name: &str| {
        let conditions = nodes.get(name).await.ok()?.status?.conditions?;
        let ready = conditions
            .into_iter()
            .find(|condition| condition.type_ == "Ready")?;
        Some(ready.status)
    };
    // On a machine that is busy enough the other one may come late with its word for a while.
    until("node-1 is no longer ready, and node-2 is", async || {
        let [lost, other] = [ready("node-1").await?, ready("node-2").await?];
        (lost == "Unknown" && other == "True").then_some(())
    })
    .await
    .unwrap();
}

fn server(scene: &Scene<'_>, name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": scene.namespace(), "labels": { "app": "front" } },
        "spec": {
            "nodeName": node,
            "containers": [{
                "name": "server",
                "image": scene.cluster().busybox(),
                "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c", SERVER],
            }],
        },
    })
}

async fn until_logged(pods: &Api<Pod>, pod: &str, line: &str) {
    let what = format!("\"{line}\" in the log of pod {pod}");
    let logged = until(&what, async || {
        let log = pods.logs(pod, &LogParams::default()).await.ok()?;
        log.lines().any(|logged| logged == line).then_some(())
    });
    logged.await.unwrap();
}

async fn exec(pods: &Api<Pod>, pod: &str, script: &str) -> Result<String> {
    let script = format!("busybox() {{ /bin/busybox \"$@\"; }}; {script}");
    let mut process = pods
        .exec(pod, ["/bin/sh", "-c", &script], &AttachParams::default())
        .await?;
    let mut said = String::new();
    process
        .stdout()
        .context("no standard output")?
        .read_to_string(&mut said)
        .await?;
    process.join().await?;
    Ok(said)
}

async fn ask(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET /cgi-bin/ask HTTP/1.0\r\n\r\n")
        .await?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await?;
    Ok(said)
}
