//! A server on loopback and a client that can misbehave.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use drainhook_certs::{FilesOptions, Source, install, provider, server_config};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::serve::{
    connections::{Connections, Patience},
    port::Port,
    stop::Stop,
};

/// A TLS port that runs, and all that a test may look at.
pub(super) struct Live {
    pub(super) address: SocketAddr,
    pub(super) api: TestApi,
    pub(super) connections: Arc<Connections>,
    pub(super) stop: Stop,
    pub(super) task: JoinHandle<usize>,
    roots: Arc<rustls::ClientConfig>,
}

pub(super) struct Settings {
    pub(super) connections: u64,
    pub(super) patience: Patience,
    pub(super) limits: Limits,
    pub(super) close_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 1024,
            patience: Patience::default(),
            limits: Limits::default(),
            close_within: Duration::from_secs(30),
        }
    }
}

/// One HTTP/1.1 answer.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Live {
    pub(super) async fn start(settings: Settings) -> Self {
        Self::start_with(Box::new(decider()), settings).await
    }

    pub(super) async fn start_with(engine: Box<dyn Engine>, settings: Settings) -> Self {
        install();
        let issued = rcgen::generate_simple_self_signed(["drainhook.test".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let [certificate, key] = ["tls.crt", "tls.key"].map(|name| directory.path().join(name));
        std::fs::write(&certificate, issued.cert.pem()).unwrap();
        std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
        // Loaded before this returns; nothing reloads it here.
        let source = Source::files(FilesOptions::new(certificate, key));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = TestApi::with(engine, settings.limits);
        let connections =
            Connections::new(settings.connections, settings.patience, api.metrics.clone());
        let (stop, stopping) = Stop::new();
        let port = Port {
            name: "test",
            listener,
            tls: Some(Arc::new(server_config(source.resolver, None).unwrap())),
            connections: connections.clone(),
            router: api.router.clone(),
            stopping,
            close_within: settings.close_within,
        };
        // It ends with the test.
        tokio::spawn(connections.clone().watch());
        let task = tokio::spawn(port.serve());
        let roots = trusting(issued.cert.der().clone());
        Self {
            address,
            api,
            connections,
            stop,
            task,
            roots,
        }
    }

    pub(super) async fn connect(&self) -> TlsStream<TcpStream> {
        self.connect_from(IpAddr::from([127, 0, 0, 1]))
            .await
            .unwrap()
    }

    /// From an address of its own: to the server, another peer.
    pub(super) async fn connect_from(&self, peer: IpAddr) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_by(self.roots.clone(), peer).await
    }

    /// With these protocols of ALPN, the favourite first.
    pub(super) async fn connect_offering(
        &self,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = rustls::ClientConfig::clone(&self.roots);
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        let peer = IpAddr::from([127, 0, 0, 1]);
        self.connect_by(Arc::new(config), peer).await
    }

    async fn connect_by(
        &self,
        config: Arc<rustls::ClientConfig>,
        peer: IpAddr,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = self.connect_without_tls(peer).await?;
        let name = ServerName::try_from("drainhook.test").unwrap();
        TlsConnector::from(config).connect(name, stream).await
    }

    pub(super) async fn connect_without_tls(&self, peer: IpAddr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(peer, 0))?;
        socket.connect(self.address).await
    }

    /// A whole exchange on a connection of its own.
    pub(super) async fn ask(&self) -> Received {
        let mut stream = self.connect().await;
        exchange(&mut stream, &usual_request()).await.unwrap()
    }

    /// Waits until nobody listens any more, and all that is going to be closed at once with the port is.
    pub(super) async fn until_port_closed(&self) {
        self.until(|live| std::net::TcpStream::connect(live.address).is_err())
            .await;
    }

    /// Lets the server go on until `condition` holds. The bound is for a test that would hang.
    pub(super) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(120), async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(
            waited.await.is_ok(),
            "what the test waits for does not come"
        );
    }
}

fn trusting(root: CertificateDer<'static>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// The bytes of a usual review's request.
pub(super) fn usual_request() -> Vec<u8> {
    request(&review("u-live", &envoy_pod()).to_string())
}

pub(super) fn request(body: &str) -> Vec<u8> {
    let head = head(body.len());
    format!("{head}{body}").into_bytes()
}

/// The head of a request whose body has this length.
pub(super) fn head(length: usize) -> String {
    format!(
        "POST /mutate?timeout=5s HTTP/1.1\r\nHost: drainhook.test\r\nContent-Type: \
         application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
) -> std::io::Result<Received> {
    stream.write_all(request).await?;
    stream.flush().await?;
    receive(stream).await
}

pub(super) async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Received> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let field = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    let length = field("content-length:").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Received { status, head, body })
}

impl Received {
    pub(super) fn is_patched(&self) -> bool {
        let text = String::from_utf8_lossy(&self.body);
        self.status == 200 && text.contains("u-live") && text.contains("JSONPatch")
    }

    pub(super) fn says_close(&self) -> bool {
        self.head.contains("connection: close")
    }
}

/// Whether the server has closed the connection.
pub(super) async fn is_closed<S: AsyncRead + Unpin>(stream: &mut S) -> bool {
    let mut one = [0];
    !matches!(stream.read(&mut one).await, Ok(read) if read > 0)
}
