//! `/mutate` without connections, limits and a log: what a review costs by itself.

use drainhook_certs::provider;
use thiserror::Error;

use super::{
    api::{Engine as _, EngineError, OptedIn},
    cluster::Cluster,
    engine::Decider,
    metrics::Metrics,
    review::{Review, ReviewError},
};
use crate::{KubernetesVersion, UnknownKeys};

/// Answers admission reviews from bytes to bytes, as the server does for pods that opted in
/// themselves, with the defaults that are built in and nothing known of the namespaces.
#[derive(Debug)]
pub struct Reviewer(Decider);

/// Why there is no answer.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct ReviewerError(#[from] Cause);

#[derive(Debug, Error)]
enum Cause {
    #[error(transparent)]
    Review(#[from] ReviewError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the answer cannot be written: {0}")]
    Answer(#[from] serde_json::Error),
}

impl ReviewerError {
    /// Whether the body is not to blame: the server would answer 500.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        matches!(
            self.0,
            Cause::Engine(EngineError::Defect(_)) | Cause::Answer(_)
        )
    }
}

impl Reviewer {
    /// For a cluster of this version.
    #[must_use]
    pub fn new(kubernetes: Option<KubernetesVersion>) -> Self {
        Self(Decider {
            defaults: None,
            cluster: Cluster::new(kubernetes, Metrics::new()),
            image_choice: false,
            unknown_keys: UnknownKeys::Deny,
            random: provider().secure_random,
        })
    }

    /// Reads the body of a review, decides, and writes the body of the answer.
    ///
    /// # Errors
    /// When the body is no review, its object is no JSON that can be read, or the decision is wrong.
    pub fn mutate(&self, body: &[u8]) -> Result<Vec<u8>, ReviewerError> {
        Ok(self.answer(body)?)
    }

    fn answer(&self, body: &[u8]) -> Result<Vec<u8>, Cause> {
        let review = Review::parse(body)?;
        let answer = self.0.mutate(&review, OptedIn::Object)?;
        Ok(answer.to_json(&review.uid)?)
    }
}
