//! HTTP/3.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result};
use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use hyper::Request;
use quinn::{ClientConfig, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::task::JoinHandle;

use super::{HOST, Pending, Reply};
use crate::bootstrap::Identity;

/// A connection of HTTP/3.
pub struct Http3 {
    sender: SendRequest<h3_quinn::OpenStreams, Bytes>,
    connection: JoinHandle<()>,
    _endpoint: Endpoint,
}

impl Http3 {
    /// Connects, and trusts the server's own certificate only.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn connect(address: SocketAddr, server: &Identity) -> Result<Self> {
        let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
        endpoint.set_default_client_config(trusting(server)?);
        let connection = endpoint
            .connect(address, HOST)?
            .await
            .context("no QUIC connection")?;
        let connection = h3_quinn::Connection::new(connection);
        let (mut driver, sender) = h3::client::new(connection).await?;
        let connection = tokio::spawn(async move {
            driver.wait_idle().await;
        });
        Ok(Self {
            sender,
            connection,
            _endpoint: endpoint,
        })
    }

    /// Sends a request, and does not wait for its answer.
    pub fn request(&mut self, path: &str) -> Pending {
        let sender = self.sender.clone();
        let uri = format!("https://{HOST}{path}");
        Pending {
            task: tokio::spawn(exchange(sender, uri)),
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When it fails, in any way that its client would see.
    pub async fn get(&mut self, path: &str) -> Result<Reply> {
        self.request(path).reply().await
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.connection.is_finished()
    }
}

fn trusting(server: &Identity) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(
        server.certificate.as_bytes(),
    )?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(
        config,
    )?)))
}

async fn exchange(
    mut sender: SendRequest<h3_quinn::OpenStreams, Bytes>,
    uri: String,
) -> Result<Reply> {
    let mut stream = sender.send_request(Request::get(uri).body(())?).await?;
    stream.finish().await?;
    let response = stream.recv_response().await?;
    let mut body = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    Ok(Reply {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
