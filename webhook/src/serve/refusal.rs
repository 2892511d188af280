//! Requests that get no review for an answer, and which HTTP status they get instead.

use axum::http::StatusCode;
use thiserror::Error;

use super::{api::EngineError, body::BodyError, review::ReviewError};

/// Everything but an answered review.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("no such path: this server answers /mutate, /mutate/namespace, /warn, /warn/namespace")]
    Path,
    #[error("only POST is answered here")]
    Method,
    #[error("the body must be `Content-Type: application/json`")]
    MediaType,
    #[error("the body must not be compressed: no `Content-Encoding`")]
    Encoding,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("too many requests are under way; try again")]
    Busy,
    #[error(transparent)]
    Review(#[from] ReviewError),
    #[error("{0}")]
    Unreadable(String),
    #[error("{0}")]
    Ours(String),
}

impl Refusal {
    /// The status, and a word for metrics and log.
    pub(super) fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Path => (StatusCode::NOT_FOUND, "path"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type"),
            Self::Encoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding"),
            Self::Body(BodyError::TooLong) => (StatusCode::PAYLOAD_TOO_LARGE, "too_long"),
            Self::Body(BodyError::TooManyValues) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_many_values")
            }
            Self::Body(BodyError::NoMemory) => (StatusCode::TOO_MANY_REQUESTS, "memory"),
            Self::Body(BodyError::Timeout) => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::Body(BodyError::Broken(_)) => (StatusCode::BAD_REQUEST, "broken_body"),
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Self::Review(_) => (StatusCode::BAD_REQUEST, "not_a_review"),
            Self::Unreadable(_) => (StatusCode::BAD_REQUEST, "unreadable_object"),
            Self::Ours(_) => (StatusCode::INTERNAL_SERVER_ERROR, "defect"),
        }
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            EngineError::Unreadable(_) => Self::Unreadable(message),
            EngineError::Defect(_) => Self::Ours(message),
        }
    }
}
