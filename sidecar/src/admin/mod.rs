//! Envoy's admin interface: typed questions, typed answers. What is not known is an error and never
//! a zero.

mod address;
mod client;
mod lines;
mod server_info;

use std::ops::ControlFlow;

use hyper::{Method, StatusCode};

use crate::{
    listeners::{DumpReader, Listener},
    stats::{self, CounterReader, Counters, GaugeReader, Gauges, PrefixReader, Prefixes},
};

pub(crate) use lines::Lines;

pub use address::{Address, parse_addresses};
pub use client::AdminError;
pub use server_info::{ServerInfo, ServerState};

use client::Call;

/// Static listeners without what does not matter here, and dynamic ones, into which no mask reaches.
const LISTENER_QUERIES: [&str; 2] = [
    "?resource=static_listeners&mask=listener.name,listener.stat_prefix,listener.drain_type,\
     listener.address,listener.additional_addresses",
    "?resource=dynamic_listeners",
];

/// The admin interface of one Envoy.
#[derive(Debug, Clone)]
pub struct Admin {
    address: Address,
}

impl Admin {
    /// The admin interface at an address. Nothing is connected yet.
    pub fn new(address: Address) -> Self {
        Self { address }
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether nobody listens there, found by connecting and nothing else.
    pub async fn is_gone(&self) -> bool {
        client::is_refused(&self.address).await
    }

    /// `GET /server_info`.
    ///
    /// # Errors
    ///
    /// Why it is unknown.
    pub async fn server_info(&self) -> Result<ServerInfo, AdminError> {
        let path = "/server_info";
        let mut reader = server_info::Reader::default();
        self.call(&Method::GET, path, "", |piece| reader.take(piece))
            .await?;
        reader
            .finish()
            .map_err(|what| AdminError::Unreadable { path, what })
    }

    /// `GET /ready`: whether it is live and was not told to drain.
    ///
    /// # Errors
    ///
    /// Why that is unknown.
    pub async fn is_ready(&self) -> Result<bool, AdminError> {
        match self
            .call(&Method::GET, "/ready", "", |_| ControlFlow::Continue(()))
            .await
        {
            Ok(()) => Ok(true),
            Err(AdminError::Status {
                status: StatusCode::SERVICE_UNAVAILABLE,
                ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// `POST /healthcheck/fail`: from now on each response tells its client to go elsewhere.
    ///
    /// # Errors
    ///
    /// Why it is unknown whether Envoy was told.
    pub async fn fail_health_check(&self) -> Result<(), AdminError> {
        self.call(&Method::POST, "/healthcheck/fail", "", |_| {
            ControlFlow::Continue(())
        })
        .await
    }

    /// `POST /drain_listeners?graceful&skip_exit`: as above for listeners that do not follow the
    /// health check. Never the plain form, which refuses new connections at once.
    ///
    /// # Errors
    ///
    /// Why it is unknown whether Envoy was told.
    pub async fn drain_listeners(&self) -> Result<(), AdminError> {
        let query = "?graceful&skip_exit";
        self.call(&Method::POST, "/drain_listeners", query, |_| {
            ControlFlow::Continue(())
        })
        .await
    }

    /// The gauges: what is open and in flight now.
    ///
    /// # Errors
    ///
    /// Why it is unknown.
    pub async fn gauges(&self) -> Result<Gauges, AdminError> {
        let mut reader = GaugeReader::default();
        self.call(&Method::GET, "/stats", &stats::GAUGES_QUERY, |piece| {
            reader.take(piece)
        })
        .await?;
        reader.finish().map_err(AdminError::Stats)
    }

    /// The counters: what has come so far.
    ///
    /// # Errors
    ///
    /// Why it is unknown.
    pub async fn counters(&self) -> Result<Counters, AdminError> {
        let mut reader = CounterReader::default();
        let query = &stats::COUNTERS_QUERY;
        self.call(&Method::GET, "/stats", query, |piece| reader.take(piece))
            .await?;
        reader.finish().map_err(AdminError::Stats)
    }

    /// Which HTTP stats belong to which listeners.
    ///
    /// # Errors
    ///
    /// Why it is unknown.
    pub async fn prefixes(&self) -> Result<Prefixes, AdminError> {
        let mut reader = PrefixReader::default();
        let query = &stats::PREFIXES_QUERY;
        self.call(&Method::GET, "/stats", query, |piece| reader.take(piece))
            .await?;
        reader.finish().map_err(AdminError::Stats)
    }

    /// The listeners as configured, static and dynamic, of the whole configuration only these few
    /// fields.
    ///
    /// # Errors
    ///
    /// Why they are unknown.
    pub async fn listeners(&self) -> Result<Vec<Listener>, AdminError> {
        let path = "/config_dump";
        let unreadable = |what: String| AdminError::Unreadable { path, what };
        let mut listeners = Vec::new();
        for query in LISTENER_QUERIES {
            let mut reader = DumpReader::default();
            self.call(&Method::GET, path, query, |piece| reader.take(piece))
                .await?;
            listeners.extend(reader.finish().map_err(unreadable)?);
        }
        Ok(listeners)
    }

    async fn call<F>(
        &self,
        method: &Method,
        path: &'static str,
        query: &str,
        take: F,
    ) -> Result<(), AdminError>
    where
        F: FnMut(&[u8]) -> ControlFlow<()>,
    {
        client::call(
            &self.address,
            Call {
                method,
                path,
                query,
            },
            take,
        )
        .await
    }
}
