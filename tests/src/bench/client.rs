//! The client: HTTP/1.1 over TLS, by hand, so that little of the machine goes into it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::Server;

/// Asks one server the same again and again.
#[derive(Clone)]
pub(super) struct Client {
    server: SocketAddr,
    tls: Arc<ClientConfig>,
    request: Arc<[u8]>,
    from: IpAddr,
}

/// What came of it.
pub(super) struct Asked {
    pub(super) latencies: Vec<Duration>,
    pub(super) took: Duration,
}

/// Latencies in their order.
#[derive(Debug)]
pub(super) struct Samples(Vec<Duration>);

impl Samples {
    pub(super) fn sorted(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self(latencies)
    }

    /// The latency below which this part of all lies.
    pub(super) fn at(&self, part: f64) -> Duration {
        let index = (self.0.len() as f64 * part) as usize;
        self.0
            .get(index.min(self.0.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

impl Client {
    pub(super) fn new(server: &Server, body: &str) -> Self {
        let length = body.len();
        let head = format!(
            "POST /mutate?timeout=5s HTTP/1.1\r\nHost: drainhook.test\r\nUser-Agent: bench\r\n\
             Content-Type: application/json\r\nAccept: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        Self {
            server: server.address(),
            tls: server.tls(),
            request: [head.as_bytes(), body.as_bytes()].concat().into(),
            from: IpAddr::from([127, 0, 0, 1]),
        }
    }

    /// From this address.
    pub(super) fn from(mut self, address: [u8; 4]) -> Self {
        self.from = address.into();
        self
    }

    /// So many requests over so many connections; every answer must be a patch.
    pub(super) async fn ask(&self, requests: u64, connections: usize) -> Result<Asked> {
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(self.connect().await?);
        }
        let each = requests / connections as u64;
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for mut stream in open {
            let request = self.request.clone();
            tasks.spawn(async move {
                let mut latencies = Vec::with_capacity(each as usize);
                let mut answer = Vec::with_capacity(16 * 1024);
                for _ in 0..each {
                    let began = Instant::now();
                    stream.write_all(&request).await?;
                    stream.flush().await?;
                    receive(&mut stream, &mut answer).await?;
                    latencies.push(began.elapsed());
                    let patched = answer.windows(9).any(|part| part == b"JSONPatch");
                    ensure!(patched, "no patch: {}", String::from_utf8_lossy(&answer));
                }
                anyhow::Ok(latencies)
            });
        }
        let mut latencies = Vec::new();
        while let Some(done) = tasks.join_next().await {
            latencies.extend(done??);
        }
        Ok(Asked {
            latencies,
            took: began.elapsed(),
        })
    }

    /// So many attempts on each of so many connections, whatever comes of them.
    pub(super) async fn hammer(&self, attempts: usize, connections: usize) {
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            let client = self.clone();
            tasks.spawn(async move {
                for _ in 0..attempts {
                    let Ok(mut stream) = client.connect().await else {
                        continue;
                    };
                    let _ = stream.write_all(&client.request).await;
                    let _ = receive(&mut stream, &mut Vec::new()).await;
                }
            });
        }
        tasks.join_all().await;
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        let stream = socket.connect(self.server).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("drainhook.test")?;
        Ok(TlsConnector::from(self.tls.clone())
            .connect(name, stream)
            .await?)
    }
}

/// One answer, head and body.
async fn receive(stream: &mut TlsStream<TcpStream>, answer: &mut Vec<u8>) -> Result<()> {
    answer.clear();
    let mut whole = usize::MAX;
    while answer.len() < whole {
        ensure!(
            stream.read_buf(answer).await? > 0,
            "the connection was closed"
        );
        if whole == usize::MAX
            && let Some(head) = answer.windows(4).position(|part| part == b"\r\n\r\n")
        {
            let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length
                .context("an answer without a length")?
                .trim()
                .parse()?;
            whole = head + 4 + length;
        }
    }
    Ok(())
}
