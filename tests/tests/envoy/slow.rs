//! What a drain waits for.

use std::net::SocketAddr;

use anyhow::Result;
use drainhook_tests::{
    client::{Http1, Pending, Reply, WebSocket},
    sidecar::{Answer, Hook},
};

use crate::stage::{Stage, WEB, holds};

/// What is answered only when the upstream is told to.
pub(crate) const SLOW: &str = "/hold/slow";

/// A request that is under way until the upstream is told to answer it, and its client, whose
/// connection stays open for as long as this lives.
pub(crate) struct Slow<C = Http1> {
    request: Pending,
    client: C,
}

impl<C> Slow<C> {
    pub(crate) fn is_finished(&self) -> bool {
        self.request.is_finished()
    }
}

impl Stage {
    /// A request to `web` over HTTP/1.1.
    pub(crate) async fn slow(&self) -> Result<Slow> {
        self.slow_at(self.at(WEB)).await
    }

    /// A request over HTTP/1.1.
    pub(crate) async fn slow_at(&self, address: SocketAddr) -> Result<Slow> {
        let mut client = Http1::connect(address).await?;
        let request = client.request(SLOW);
        self.under_way(request, client).await
    }

    /// A request for [`SLOW`] over whatever.
    pub(crate) async fn under_way<C>(&self, request: Pending, client: C) -> Result<Slow<C>> {
        self.upstream().arrived("slow").await?;
        Ok(Slow { request, client })
    }

    /// Lets a request be answered.
    pub(crate) async fn release<C>(&self, slow: Slow<C>) -> Result<(Reply, C)> {
        self.upstream().release("slow");
        Ok((slow.request.reply().await?, slow.client))
    }

    /// Drains, and sees that the drain waits for this request and ends once it is answered.
    pub(crate) async fn drain_behind<C>(&self, slow: Slow<C>) -> Result<(Reply, Answer)> {
        let hook = self.hook_told().await?;
        self.ends_behind(hook, slow).await
    }

    /// Sees that a drain waits for this request and ends once it is answered.
    pub(crate) async fn ends_behind<C>(
        &self,
        hook: Hook,
        slow: Slow<C>,
    ) -> Result<(Reply, Answer)> {
        holds(&hook).await;
        assert!(!slow.is_finished());
        let (reply, client) = self.release(slow).await?;
        assert_eq!((reply.status, reply.body.as_str()), (200, "held"));
        let answer = hook.answer().await?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        drop(client);
        Ok((reply, answer))
    }

    /// A websocket through `web`.
    pub(crate) async fn websocket(&self) -> Result<WebSocket> {
        let mut socket = WebSocket::connect(self.at(WEB)).await?;
        socket.echo("open").await?;
        Ok(socket)
    }

    /// Envoy is another process between two looks of the sidecar, which sees no gap.
    pub(crate) async fn restart_envoy_unseen(&mut self) -> Result<()> {
        self.sidecar.pause()?;
        self.envoy.restart().await?;
        self.sidecar.resume()
    }
}
