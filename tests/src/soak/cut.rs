//! What a killed process may cost, and no more.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    load::{Failure, Mix, Outcome, Record, Request},
    stage::{Deployed, Life},
};

/// For so long after the deletion of a pod connections may still be sent there where nobody has seen when the
/// last one was: the news has to travel from the API server to the controller of endpoints and from there to
/// every kube-proxy. A second or two, and more where every core is busy.
const NEWS: Duration = Duration::from_secs(5);

/// Clients and whoever kills look at the clock in different threads.
const READING: Duration = Duration::from_millis(200);

/// A short request takes less than this where nobody comes late.
const SHORT: Duration = Duration::from_millis(500);

/// The end of an Envoy by force, when it may have had requests in flight.
///
/// Two sorts of requests may be lost with it: those that were in flight in the pod when it ended, and
/// those on connections that were sent to the pod before everybody knew of its deletion. Whatever else
/// fails has another reason.
#[derive(Clone, Debug)]
pub struct Cut {
    pod: String,
    address: SocketAddr,
    service: SocketAddr,
    /// When everybody knew that it ends.
    news: Instant,
    killed: Instant,
    over: Instant,
    long: bool,
}

impl Cut {
    /// In a pod that was told to end and is gone, where something was killed at this moment: Envoy, or what
    /// the kubelet has then ended it for.
    ///
    /// # Errors
    /// When the pod had no address, or nobody saw that it was told to end.
    pub fn new(gateway: &Deployed<'_>, life: &Life, killed: Instant) -> Result<Self> {
        let pod = life.name().to_owned();
        let address = life.address;
        let address = address.with_context(|| format!("{pod} had no address"))?;
        let told = life.deleted;
        let told = told.with_context(|| format!("{pod} was not told to end"))?;
        // The kubelet takes a moment to end Envoy where it was not Envoy that was killed.
        let over = life.ended_by("envoy").or(life.gone).unwrap_or(killed);
        Ok(Self {
            pod,
            address: SocketAddr::new(address, gateway.ports().traffic),
            service: gateway.service(),
            news: life.unknown.unwrap_or(told + NEWS),
            killed,
            over: over.max(killed),
            long: false,
        })
    }

    /// The same where every request was given the time of a short one: only the long sorts may be lost, but
    /// where the clients themselves came late, so that short ones may have taken long.
    #[must_use]
    pub fn of_long_requests(self, record: &Record) -> Self {
        let before = self.killed.checked_sub(SHORT).unwrap_or(self.killed);
        let long = record.lag(before, self.over) < SHORT;
        Self { long, ..self }
    }

    /// The same where the pod was sent no new connections any more from this moment on, before it was told to end.
    #[must_use]
    pub fn passed_over_since(self, moment: Instant) -> Self {
        Self {
            news: self.news.min(moment),
            ..self
        }
    }

    /// The pod.
    pub fn pod(&self) -> &str {
        &self.pod
    }

    /// Whether a failed request was lost by it.
    pub fn hit(&self, request: &Request) -> bool {
        let reached = match request.endpoint {
            Some(endpoint) if endpoint == self.address => request.sent <= self.over + READING,
            // Nobody has ever answered on its connection, which was made when it was sent.
            Some(endpoint) if endpoint == self.service => request.sent <= self.news,
            _ => false,
        };
        // Whoever waits for an address that is gone waits for as long as he likes.
        let waits = matches!(
            request.outcome,
            Outcome::Failed(Failure::TimedOut | Failure::Unreachable(_))
        );
        let then = request.ended + READING >= self.killed
            && (waits || request.ended <= self.over.max(self.news) + READING);
        reached && then && (!self.long || request.kind.is_long())
    }

    /// The most requests that can have been lost by it: what the clients of this mix have in flight at a
    /// time, and the connections that they make until the news has travelled.
    pub fn most(&self, mix: &Mix) -> usize {
        if self.long {
            return mix.long_at_once();
        }
        let news = self.news.saturating_duration_since(self.killed);
        let connections = mix.connections_a_second() * news.as_secs_f64();
        mix.at_once() + connections.ceil() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Kind;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    const POD: u8 = 1;
    const OTHER: u8 = 2;
    const SERVICE: u8 = 3;

    /// Told to end at 0 s, killed at 8 s, over at 9 s.
    fn hit(endpoint: u8, sent: i32, ended: i32, failure: Failure) -> bool {
        let (cut, told) = cut_and_told();
        cut.hit(&request(Kind::Slow, told, (endpoint, sent, ended), failure))
    }

    fn cut_and_told() -> (Cut, Instant) {
        let told = Instant::now() + Duration::from_secs(100);
        let cut = Cut {
            pod: "it".to_owned(),
            address: address(POD),
            service: address(SERVICE),
            news: told + NEWS,
            killed: told + Duration::from_secs(8),
            over: told + Duration::from_secs(9),
            long: false,
        };
        (cut, told)
    }

    /// A request that was sent to an endpoint and ended at these tenths of a second.
    fn request(
        kind: Kind,
        told: Instant,
        (endpoint, sent, ended): (u8, i32, i32),
        failure: Failure,
    ) -> Request {
        let at = |tenths: i32| match u64::try_from(tenths) {
            Ok(after) => told + Duration::from_millis(after * 100),
            Err(_) => told - Duration::from_millis(u64::from(tenths.unsigned_abs()) * 100),
        };
        Request {
            kind,
            endpoint: Some(address(endpoint)),
            sent: at(sent),
            ended: at(ended),
            outcome: Outcome::Failed(failure),
        }
    }

    fn broken() -> Failure {
        Failure::Unanswered("broken".to_owned())
    }

    #[test]
    fn what_was_in_flight_in_the_pod_is_lost_by_it() {
        assert!(hit(POD, 50, 85, broken()));
        assert!(hit(POD, 89, 90, broken()));
    }

    #[test]
    fn what_failed_before_or_was_sent_after_has_another_reason() {
        assert!(!hit(POD, 50, 70, broken()));
        assert!(!hit(POD, 95, 96, broken()));
        assert!(!hit(SERVICE, 10, 70, broken()));
    }

    #[test]
    fn a_short_request_is_not_excused_where_only_long_ones_may_be_lost() {
        let (cut, told) = cut_and_told();
        let cut = Cut { long: true, ..cut };
        let hit = |kind| cut.hit(&request(kind, told, (POD, 50, 85), broken()));
        assert!(hit(Kind::Slow) && hit(Kind::Http2Stream));
        assert!(!hit(Kind::Short) && !hit(Kind::KeepAlive) && !hit(Kind::Http2));
    }

    #[test]
    fn another_pod_is_not_excused() {
        assert!(!hit(OTHER, 50, 85, broken()));
    }

    #[test]
    fn a_connection_through_the_service_counts_until_the_news_has_travelled() {
        assert!(hit(SERVICE, 40, 85, broken()));
        assert!(!hit(SERVICE, 60, 85, broken()));
    }

    #[test]
    fn one_that_nobody_answers_fails_when_its_client_has_waited_enough() {
        assert!(hit(SERVICE, 40, 640, Failure::TimedOut));
        assert!(!hit(SERVICE, 40, 640, broken()));
    }

    #[test]
    fn what_can_be_lost_is_bounded_by_the_clients() {
        let told = Instant::now();
        let cut = |killed: u64| {
            let killed = told + Duration::from_secs(killed);
            Cut {
                pod: "it".to_owned(),
                address: address(POD),
                service: address(SERVICE),
                news: told + NEWS,
                killed,
                over: killed,
                long: false,
            }
        };
        let mix = Mix::small();
        assert_eq!(cut(5).most(&mix), mix.at_once());
        assert_eq!(cut(60).most(&mix), mix.at_once());
        let long = Cut {
            long: true,
            ..cut(0)
        };
        assert_eq!(long.most(&mix), mix.long_at_once());
        let a_second = mix.connections_a_second() as usize;
        assert_eq!(cut(3).most(&mix), mix.at_once() + 2 * a_second);
    }
}
