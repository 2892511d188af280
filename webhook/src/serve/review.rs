//! The admission review on the wire: `admission.k8s.io/v1`, as the API server sends it and as it
//! wants it answered. <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>
//!
//! The objects inside stay text until somebody decides about them: the envelope is read without
//! making a tree of the whole body, so a review that is refused for its form costs nothing.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use json_patch::Patch;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

/// The request of a review, borrowed from the body.
#[derive(Debug)]
pub(super) struct Review<'body> {
    /// What the answer must repeat.
    pub(super) uid: Cow<'body, str>,
    /// Of the object as it is sent here, after conversion to what the rules ask for.
    pub(super) kind: Kind<'body>,
    /// CREATE, UPDATE, DELETE or CONNECT.
    pub(super) operation: Cow<'body, str>,
    /// Empty for objects that are in no namespace.
    pub(super) namespace: Cow<'body, str>,
    /// Empty where the API server makes the name up only later (`generateName`).
    pub(super) name: Cow<'body, str>,
    /// Nothing will be stored.
    pub(super) dry_run: bool,
    /// The new object; none on DELETE.
    pub(super) object: Option<&'body RawValue>,
}

/// Group, version and kind.
#[derive(Debug, Default, Deserialize, Eq, PartialEq)]
pub(super) struct Kind<'body> {
    #[serde(borrow, default)]
    pub(super) group: Cow<'body, str>,
    #[serde(borrow, default)]
    pub(super) version: Cow<'body, str>,
    #[serde(borrow, default)]
    pub(super) kind: Cow<'body, str>,
}

/// What is answered to a review.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// None allows.
    pub(super) denial: Option<String>,
    /// To be applied to the object.
    pub(super) patch: Option<Patch>,
    /// Shown to whoever sent the object.
    pub(super) warnings: Vec<String>,
    /// For the audit log of the API server: why it was decided so.
    pub(super) reason: &'static str,
}

/// Why a body is no review that could be answered. All of them are HTTP 400: without a uid there is
/// no well-formed answer.
#[derive(Debug, Error)]
pub(super) enum ReviewError {
    #[error("the body is not JSON, or not of the form of an AdmissionReview: {0}")]
    Form(#[from] serde_json::Error),
    #[error(
        "the body is `{api_version}` `{kind}`: this server answers `admission.k8s.io/v1` \
         `AdmissionReview` only"
    )]
    Version { api_version: String, kind: String },
    #[error("the AdmissionReview has no `request`")]
    NoRequest,
    #[error("the AdmissionReview's `request.uid` is missing or empty")]
    NoUid,
    #[error("the AdmissionReview's `request.uid` is longer than {LONGEST_UID} bytes")]
    LongUid,
}

/// Bytes. The API server's are 36; this goes back to whoever sent it, and into the log.
const LONGEST_UID: usize = 128;

impl<'body> Review<'body> {
    /// Reads the envelope.
    ///
    /// # Errors
    ///
    /// [`ReviewError`] for whatever cannot be answered by a well-formed review.
    pub(super) fn parse(body: &'body [u8]) -> Result<Self, ReviewError> {
        let envelope: Envelope<'_> = serde_json::from_slice(body)?;
        let api_version = envelope.api_version.unwrap_or_default();
        let kind = envelope.kind.unwrap_or_default();
        if api_version != "admission.k8s.io/v1" || kind != "AdmissionReview" {
            return Err(ReviewError::Version {
                api_version: shortened(&api_version),
                kind: shortened(&kind),
            });
        }
        let request = envelope.request.ok_or(ReviewError::NoRequest)?;
        let uid = request
            .uid
            .filter(|uid| !uid.is_empty())
            .ok_or(ReviewError::NoUid)?;
        if uid.len() > LONGEST_UID {
            return Err(ReviewError::LongUid);
        }
        Ok(Self {
            uid,
            kind: request.kind.unwrap_or_default(),
            operation: request.operation.unwrap_or_default(),
            namespace: request.namespace.unwrap_or_default(),
            name: request.name.unwrap_or_default(),
            dry_run: request.dry_run.unwrap_or_default(),
            object: request.object.filter(|object| object.get() != "null"),
        })
    }
}

impl Answer {
    /// The body of the HTTP answer.
    ///
    /// # Errors
    ///
    /// None is known: the parts are strings and a patch.
    pub(super) fn to_json(&self, uid: &str) -> Result<Vec<u8>, serde_json::Error> {
        let patch = match &self.patch {
            Some(patch) => Some(BASE64.encode(serde_json::to_vec(patch)?)),
            None => None,
        };
        serde_json::to_vec(&ReviewOut {
            api_version: "admission.k8s.io/v1",
            kind: "AdmissionReview",
            response: ResponseOut {
                uid,
                allowed: self.denial.is_none(),
                patch_type: patch.is_some().then_some("JSONPatch"),
                patch,
                status: self.denial.as_deref().map(|message| StatusOut {
                    status: "Failure",
                    reason: "Invalid",
                    code: 422,
                    message,
                }),
                warnings: &self.warnings,
                audit_annotations: AuditOut {
                    decision: self.reason,
                },
            },
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'body> {
    #[serde(borrow)]
    api_version: Option<Cow<'body, str>>,
    #[serde(borrow)]
    kind: Option<Cow<'body, str>>,
    #[serde(borrow)]
    request: Option<RequestIn<'body>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestIn<'body> {
    #[serde(borrow)]
    uid: Option<Cow<'body, str>>,
    #[serde(borrow)]
    kind: Option<Kind<'body>>,
    #[serde(borrow)]
    operation: Option<Cow<'body, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'body, str>>,
    #[serde(borrow)]
    name: Option<Cow<'body, str>>,
    dry_run: Option<bool>,
    #[serde(borrow)]
    object: Option<&'body RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReviewOut<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: ResponseOut<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseOut<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<StatusOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    audit_annotations: AuditOut,
}

#[derive(Serialize)]
struct StatusOut<'a> {
    status: &'static str,
    reason: &'static str,
    code: u16,
    message: &'a str,
}

#[derive(Serialize)]
struct AuditOut {
    decision: &'static str,
}

/// What a peer sent goes back in a message only as far as a person would read it.
fn shortened(value: &str) -> String {
    value.chars().take(80).collect()
}
