//! The endpoints.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use tower::{ServiceExt, service_fn};
use tracing::warn;

use super::{TOKEN_HEADER, status};
use crate::{group::Group, report::Report};

type App = State<Arc<Group>>;

/// What is said to who comes without the token. In a log it is the one hint at a hook that does not
/// work: the kubelet does not look at the status.
const NO_TOKEN: &str = "the header x-drainhook-token is missing or wrong";

/// All endpoints.
pub(super) fn router(group: Arc<Group>) -> Router {
    // GET is what a hook sends, POST what a person would; HEAD asks for nothing to happen.
    let guarded = Router::new()
        .route("/shutdown", get(shutdown).post(shutdown).head(not_by_head))
        .route(
            "/shutdown/{name}",
            get(shutdown_one).post(shutdown_one).head(not_by_head),
        )
        .route("/wait", get(wait).post(wait).head(not_by_head))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&group), guard));
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/status", get(status::status))
        .route("/metrics", get(metrics))
        .merge(guarded)
        .with_state(group);
    // Outside of the routing, which goes by the path.
    let one_slash = service_fn(move |mut request: Request| {
        let router = router.clone();
        async move {
            if let Some(uri) = without_extra_slashes(request.uri()) {
                *request.uri_mut() = uri;
            }
            router.oneshot(request).await
        }
    });
    Router::new().fallback_service(one_slash)
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn shutdown(State(group): App) -> Response {
    drain(&group, None).await
}

async fn shutdown_one(State(group): App, Path(name): Path<String>) -> Response {
    drain(&group, Some(&name)).await
}

async fn wait(State(group): App) -> Json<Report> {
    Json(group.wait().await)
}

async fn metrics(State(group): App) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], group.metrics().render())
}

async fn not_by_head() -> impl IntoResponse {
    (
        StatusCode::METHOD_NOT_ALLOWED,
        [(header::ALLOW, "GET, POST")],
    )
}

async fn drain(group: &Arc<Group>, name: Option<&str>) -> Response {
    match group.shutdown(name) {
        Ok(ends) => Json(ends.reached().await).into_response(),
        Err(unknown) => {
            warn!("{unknown}: this hook drains nothing");
            (StatusCode::NOT_FOUND, format!("{unknown}\n")).into_response()
        }
    }
}

/// Lets those pass who have the token, where one is set.
async fn guard(State(group): App, headers: HeaderMap, request: Request, next: Next) -> Response {
    let Some(token) = &group.settings().token else {
        return next.run(request).await;
    };
    let given = headers
        .get(TOKEN_HEADER)
        .map(|value| value.as_bytes())
        .unwrap_or_default();
    if token.matches(given) {
        return next.run(request).await;
    }
    if group.metrics().refused() {
        warn!(path = request.uri().path(), "refused: {NO_TOKEN}");
    }
    (StatusCode::FORBIDDEN, format!("{NO_TOKEN}\n")).into_response()
}

/// `//shutdown`, as kubelets before 1.19 ask for it, as `/shutdown`.
fn without_extra_slashes(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let short = format!("/{}", path.trim_matches('/'));
    (short != path).then(|| short.parse().ok())?
}
