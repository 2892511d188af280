//! A server that runs, and clients of it.

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use drainhook_tests::{
    cluster::{Authority, Identity, Metrics},
    process::Process,
    product,
    volume::Volume,
    wait::until,
};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header::{CONNECTION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A review of a pod with one Envoy that a real API server sent.
pub(crate) const REVIEW: &str = include_str!("../../../webhook/tests/reviews/deployment-pod.json");

/// The name that the server's certificates are for.
pub(crate) const NAME: &str = "drainhook.test";

/// `drainhook serve --certs files`, with a mounted certificate.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) certificates: Volume,
    /// Who has signed the first certificate.
    pub(crate) authority: Authority,
    plain: SocketAddr,
    _directory: TempDir,
}

/// How somebody asks.
#[derive(Clone)]
pub(crate) struct Client {
    server: SocketAddr,
    tls: Arc<ClientConfig>,
    from: IpAddr,
}

/// A connection that is kept.
pub(crate) struct Connection {
    sender: SendRequest<BoxBody<Bytes, anyhow::Error>>,
    /// The server's certificate, PEM without its frame.
    pub(crate) certificate: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// It is the last one of its connection.
    pub(crate) is_last: bool,
    pub(crate) body: Bytes,
}

impl Server {
    /// With these flags, ready.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        Self::start_as(command(), flags).await
    }

    /// As in a pod that gets no token of its ServiceAccount, ready.
    pub(crate) async fn start_without_token(flags: &[&str]) -> Self {
        let mut command = command();
        command
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", "1")
            // Nor may it find what belongs to whoever runs the tests.
            .env("HOME", "/nonexistent");
        Self::start_as(command, flags).await
    }

    async fn start_as(command: Command, flags: &[&str]) -> Self {
        let server = Self::launch(command, flags).await;
        server.until_page("/readyz", "HTTP/1.1 200").await;
        server
    }

    /// Not ready yet, and perhaps it never will be.
    pub(crate) async fn launch(mut command: Command, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::generate("server").unwrap();
        let identity = authority.server(&[NAME], &[]).unwrap();
        let place = directory.path().join("tls");
        let [certificate, key] = files(&identity);
        let published = authority.certificate();
        let mounted = [certificate, key, ("ca.crt", &*published)];
        let certificates = Volume::mount(place, &mounted).unwrap();
        command
            .arg("--certs=files")
            .arg(format!("--cert={}", certificates.file("tls.crt").display()))
            .arg(format!("--key={}", certificates.file("tls.key").display()))
            .args(flags);
        let process = Process::spawn("drainhook serve", command).unwrap();
        let ports = until("the ports", async || {
            let log = process.log();
            let line = log.lines().find(|line| line.contains("\"serving\""))?;
            let line: Value = serde_json::from_str(line).ok()?;
            let port = |name: &str| line[name].as_str()?.parse().ok();
            Some((port("tls")?, port("plain")?))
        });
        let (address, plain) = ports.await.unwrap();
        Self {
            process,
            address,
            certificates,
            authority,
            plain,
            _directory: directory,
        }
    }

    /// Mounts another certificate.
    pub(crate) fn certify(&mut self, identity: &Identity) {
        self.certificates.swap(&files(identity)).unwrap();
    }

    /// A client on loopback that trusts the first certificate's authority.
    pub(crate) fn client(&self) -> Client {
        self.client_trusting(&self.authority.certificate())
    }

    /// A client that trusts these authorities, PEM.
    pub(crate) fn client_trusting(&self, authorities: &str) -> Client {
        self.client_with(authorities, None)
    }

    /// A client that shows this certificate.
    pub(crate) fn client_showing(&self, identity: &Identity) -> Client {
        self.client_with(&self.authority.certificate(), Some(identity))
    }

    /// What the plain port answers, head and all.
    pub(crate) async fn page(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.plain).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        Ok(page)
    }

    /// Waits until a page of the plain port has this in it.
    pub(crate) async fn until_page(&self, path: &str, has: &str) {
        let what = format!("{has} in {path}");
        until(&what, async || {
            self.page(path).await.ok()?.contains(has).then_some(())
        })
        .await
        .unwrap();
    }

    /// A metric, summed over all samples whose labels include these.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        Metrics::parse(&self.page("/metrics").await.unwrap()).sum(name, labels)
    }

    fn client_with(&self, authorities: &str, shown: Option<&Identity>) -> Client {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => config.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config
                    .with_client_auth_cert(vec![certificate], key)
                    .unwrap()
            }
        };
        Client {
            server: self.address,
            tls: Arc::new(config),
            from: IpAddr::from([127, 0, 0, 1]),
        }
    }
}

impl Client {
    /// The same from another address: another peer, to the server.
    pub(crate) fn from(&self, address: [u8; 4]) -> Self {
        Self {
            from: address.into(),
            ..self.clone()
        }
    }

    pub(crate) async fn connect_without_tls(&self) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        // Many more connections are made than there are ports in a minute.
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        let stream = socket.connect(self.server).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    pub(crate) async fn connect_tls(&self) -> Result<TlsStream<TcpStream>> {
        let stream = self.connect_without_tls().await?;
        let name = ServerName::try_from(NAME)?;
        let tls = TlsConnector::from(self.tls.clone());
        Ok(tls.connect(name, stream).await?)
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        let stream = self.connect_tls().await?;
        let chain = stream.get_ref().1.peer_certificates();
        let certificate = chain.and_then(<[_]>::first).context("no certificate")?;
        let certificate = certificate.to_vec();
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its end is told by the next request.
        tokio::spawn(connection);
        Ok(Connection {
            sender,
            certificate,
        })
    }

    /// Asks once, on a connection of its own.
    pub(crate) async fn ask(&self) -> Result<Answer> {
        self.connect().await?.ask().await
    }
}

impl Connection {
    /// Asks what the server is there for.
    pub(crate) async fn ask(&mut self) -> Result<Answer> {
        self.send(whole(REVIEW)).await
    }

    /// Posts this body.
    pub(crate) async fn send(&mut self, body: BoxBody<Bytes, anyhow::Error>) -> Result<Answer> {
        self.sender.ready().await?;
        let request = Request::post("/mutate?timeout=5s")
            .header(HOST, NAME)
            .header(CONTENT_TYPE, "application/json")
            .body(body)?;
        let answer = self.sender.send_request(request).await?;
        let closes = answer.headers().get(CONNECTION);
        Ok(Answer {
            status: answer.status(),
            is_last: closes.is_some_and(|value| value == "close"),
            body: answer.into_body().collect().await?.to_bytes(),
        })
    }
}

impl Answer {
    /// An error where the pod did not get its drain.
    pub(crate) fn patched(self) -> Result<Self> {
        let text = String::from_utf8_lossy(&self.body);
        ensure!(
            self.status == StatusCode::OK && text.contains("JSONPatch"),
            "{}: {text}",
            self.status
        );
        Ok(self)
    }
}

/// A body that is there at once.
pub(crate) fn whole(text: impl Into<Bytes>) -> BoxBody<Bytes, anyhow::Error> {
    let never = |never: std::convert::Infallible| match never {};
    Full::new(text.into()).map_err(never).boxed()
}

/// `drainhook serve` on ports that are free, without anything that it could find a cluster by.
pub(crate) fn command() -> Command {
    let mut command = Command::new(product::drainhook().unwrap());
    command.args(["serve", "--bind=127.0.0.1", "--port=0", "--plain-port=0"]);
    for variable in ["KUBECONFIG", "KUBERNETES_SERVICE_HOST"] {
        command.env_remove(variable);
    }
    command
}

fn files(identity: &Identity) -> [(&str, &str); 2] {
    [
        ("tls.crt", &identity.certificate),
        ("tls.key", &identity.key),
    ]
}
