//! From a request to its answer.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    REFERRER_POLICY, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde::Serialize;

use crate::ops::http::access::{Access, Refusal};
use crate::ops::http::board::Board;
use crate::ops::http::exposition::Form;
use crate::ops::http::limits::GUESS_COSTS;
use crate::ops::http::page::Page;

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";

/// What is here, for whoever asks for something else.
const DIRECTORY: &str = "there is nothing here. There are: / (status page), /metrics, /health/live, /health/ready, \
                         /api/status, /api/history\n";

/// Everything that answers.
#[derive(Debug)]
pub struct Site {
    access: Access,
    page: Page,
    /// What is shown.
    pub board: Board,
}

type Answer = Response<Full<Bytes>>;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource {
    Page,
    Metrics,
    Live,
    Ready,
    Status,
    History,
}

impl Resource {
    /// By its path, to the letter: nothing is decoded, cleaned or looked for in a folder.
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Page,
            "/metrics" => Self::Metrics,
            "/health/live" => Self::Live,
            "/health/ready" => Self::Ready,
            "/api/status" => Self::Status,
            "/api/history" => Self::History,
            _ => return None,
        })
    }
}

/// `/health/ready`
#[derive(Debug, Serialize)]
struct Readiness<'a> {
    ready: bool,
    buffering: bool,
    queued: u64,
    summary: &'a str,
}

impl Site {
    /// For whoever `access` lets in.
    #[must_use]
    pub fn new(access: Access, board: Board) -> Self {
        Self {
            access,
            page: Page::new(),
            board,
        }
    }

    /// Answers one request. HEAD is answered as GET; hyper leaves the body out.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (wait, mut answer) = self.answer_to(request.method(), request.uri(), request.headers());
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
        protect(answer.headers_mut());
        answer
    }

    /// The answer, and how long it is held back.
    fn answer_to(
        &self,
        method: &Method,
        uri: &hyper::Uri,
        headers: &HeaderMap,
    ) -> (Option<Duration>, Answer) {
        let resource = Resource::at(uri.path());
        // It says one bit, and those who ask it are simple.
        if resource != Some(Resource::Live)
            && let Err(refusal) = self.access.check(headers, uri.authority())
        {
            return (refusal.costs(), refusal.answer());
        }
        if method != Method::GET && method != Method::HEAD {
            return (None, wrong_method());
        }
        let answer = match resource {
            Some(resource) => self.show(resource, headers),
            None => answer(StatusCode::NOT_FOUND, PLAIN, DIRECTORY),
        };
        (None, answer)
    }

    fn show(&self, resource: Resource, headers: &HeaderMap) -> Answer {
        match resource {
            Resource::Page => {
                let mut page = answer(StatusCode::OK, "text/html; charset=utf-8", self.page.html.clone());
                let policy = self.page.policy.clone();
                page.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
                page
            }
            Resource::Metrics => {
                let wanted = headers
                    .get_all(ACCEPT)
                    .iter()
                    .filter_map(|accept| accept.to_str().ok());
                let form = Form::accepted(&wanted.collect::<Vec<_>>().join(","));
                let mut metrics = answer(StatusCode::OK, form.content_type(), self.board.metrics(form));
                metrics
                    .headers_mut()
                    .insert(VARY, HeaderValue::from_static("accept"));
                metrics
            }
            Resource::Live => self.live(),
            Resource::Ready => self.ready(),
            Resource::Status => answer(StatusCode::OK, JSON, self.board.status()),
            Resource::History => answer(StatusCode::OK, JSON, self.board.history()),
        }
    }

    /// 503 when the service manager's watchdog would not be fed.
    fn live(&self) -> Answer {
        match self.board.state().health.is_live {
            true => answer(StatusCode::OK, JSON, r#"{"live":true}"#),
            false => answer(StatusCode::SERVICE_UNAVAILABLE, JSON, r#"{"live":false}"#),
        }
    }

    fn ready(&self) -> Answer {
        let state = self.board.state();
        let readiness = Readiness {
            ready: state.health.is_ready,
            buffering: state.health.is_buffering,
            queued: state.lanes.iter().map(|lane| lane.ledger.queued).sum(),
            summary: &state.health.summary,
        };
        let status = match readiness.ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        // A text, two switches and a number always become JSON.
        answer(status, JSON, serde_json::to_vec(&readiness).unwrap_or_default())
    }
}

impl Refusal {
    /// How long it is held back.
    fn costs(&self) -> Option<Duration> {
        (*self == Self::Wrong).then_some(GUESS_COSTS)
    }

    fn answer(&self) -> Answer {
        match self {
            Self::Host => answer(
                StatusCode::MISDIRECTED_REQUEST,
                PLAIN,
                "without a token only names of this machine are answered, such as localhost or 127.0.0.1: this keeps web pages from \
                 asking in your name. Use one of them, or write token_file in [http]\n",
            ),
            Self::NoToken => answer(
                StatusCode::SERVICE_UNAVAILABLE,
                PLAIN,
                "the token file cannot be used; the log says why\n",
            ),
            Self::Missing => unauthorised("a token is needed"),
            Self::Wrong => unauthorised("that is not the token"),
        }
    }
}

fn unauthorised(what: &str) -> Answer {
    let text = format!(
        "{what}: send the contents of token_file as \"Authorization: Bearer TOKEN\", or as the password of any user name\n"
    );
    let mut answer = answer(StatusCode::UNAUTHORIZED, PLAIN, text);
    for scheme in [
        "Bearer realm=\"edgeferry\"",
        "Basic realm=\"edgeferry\", charset=\"UTF-8\"",
    ] {
        let scheme = HeaderValue::from_static(scheme);
        answer.headers_mut().append(WWW_AUTHENTICATE, scheme);
    }
    answer
}

fn wrong_method() -> Answer {
    let text = "this is for reading: GET and HEAD are answered\n";
    let mut answer = answer(StatusCode::METHOD_NOT_ALLOWED, PLAIN, text);
    let allowed = HeaderValue::from_static("GET, HEAD");
    answer.headers_mut().insert(ALLOW, allowed);
    answer
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// What every answer says: it is to be kept nowhere, taken for what it says it is, and shown in nobody's frame.
fn protect(headers: &mut HeaderMap) {
    const RULES: [(HeaderName, &str); 5] = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, rule) in RULES {
        headers.insert(name, HeaderValue::from_static(rule));
    }
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
}

#[cfg(test)]
impl Site {
    /// How large the page is.
    pub(super) fn page_bytes(&self) -> usize {
        self.page.html.len()
    }
}
