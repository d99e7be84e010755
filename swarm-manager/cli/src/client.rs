//! HTTP to the Engine API over a unix socket: one connection per request, version negotiation,
//! and errors as Docker's client words them.
//!
//! Answers are handed on as text or untyped JSON. Typed clients lose fields they do not know, and
//! both `inspect` and `update` must keep every field the server sends.

use std::cell::OnceCell;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::error::CliError;
use crate::format::append;

/// The newest version of the Engine API this client speaks.
pub(crate) const NEWEST_API: (u32, u32) = (1, 51);
/// What a server without the `Api-Version` header speaks.
const OLDEST_API: (u32, u32) = (1, 24);

/// Query parameters.
pub(crate) type Query<'a> = &'a [(&'a str, &'a str)];

/// A client of one socket.
#[derive(Debug)]
pub(crate) struct Client {
    host: String,
    socket: PathBuf,
    version: OnceCell<(u32, u32)>,
}

impl Client {
    /// A client for `unix:///path`. Nothing is connected yet.
    pub(crate) fn new(host: &str) -> Result<Self, CliError> {
        let path = host.strip_prefix("unix://").filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| CliError::Host {
            host: host.to_owned(),
        })?;
        let socket = Path::new(path).to_owned();
        Ok(Self {
            host: host.to_owned(),
            socket,
            version: OnceCell::new(),
        })
    }

    /// The negotiated version: the lower of ours and the server's.
    pub(crate) async fn version(&self) -> Result<(u32, u32), CliError> {
        if let Some(version) = self.version.get() {
            return Ok(*version);
        }
        let mut answer = self.send(Method::HEAD, "/_ping", None, &[]).await?;
        if !answer.status().is_success() {
            answer = self.send(Method::GET, "/_ping", None, &[]).await?;
        }
        let header = answer
            .headers()
            .get("Api-Version")
            .and_then(|value| value.to_str().ok());
        let theirs = header.and_then(parse_version).unwrap_or(OLDEST_API);
        Ok(*self.version.get_or_init(|| theirs.min(NEWEST_API)))
    }

    /// GET, as JSON.
    pub(crate) async fn get(&self, path: &str, query: Query<'_>) -> Result<Value, CliError> {
        let text = self.get_text(path, query).await?;
        parse(&Method::GET, path, &text)
    }

    /// GET with further headers, as JSON.
    pub(crate) async fn get_with(
        &self,
        path: &str,
        query: Query<'_>,
        headers: Query<'_>,
    ) -> Result<Value, CliError> {
        let text = self.call(Method::GET, path, query, None, headers).await?;
        parse(&Method::GET, path, &text)
    }

    /// GET, as the text the server sent.
    pub(crate) async fn get_text(&self, path: &str, query: Query<'_>) -> Result<String, CliError> {
        self.call(Method::GET, path, query, None, &[]).await
    }

    /// GET of a list.
    pub(crate) async fn list(&self, path: &str, query: Query<'_>) -> Result<Vec<Value>, CliError> {
        match self.get(path, query).await? {
            Value::Array(list) => Ok(list),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => Ok(Vec::new()),
        }
    }

    /// GET of a stream.
    pub(crate) async fn stream(
        &self,
        path: &str,
        query: Query<'_>,
    ) -> Result<Response<Incoming>, CliError> {
        self.request(Method::GET, path, query, None, &[]).await
    }

    /// POST; an empty answer is `null`.
    pub(crate) async fn post(
        &self,
        path: &str,
        query: Query<'_>,
        body: &Value,
    ) -> Result<Value, CliError> {
        self.post_with(path, query, body, &[]).await
    }

    /// POST with further headers; a `null` body is none.
    pub(crate) async fn post_with(
        &self,
        path: &str,
        query: Query<'_>,
        body: &Value,
        headers: Query<'_>,
    ) -> Result<Value, CliError> {
        let body = Some(body).filter(|body| !body.is_null());
        let text = self.call(Method::POST, path, query, body, headers).await?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        parse(&Method::POST, path, &text)
    }

    /// DELETE.
    pub(crate) async fn delete(&self, path: &str, query: Query<'_>) -> Result<(), CliError> {
        self.call(Method::DELETE, path, query, None, &[])
            .await
            .map(drop)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        body: Option<&Value>,
        headers: Query<'_>,
    ) -> Result<String, CliError> {
        let answer = self
            .request(method.clone(), path, query, body, headers)
            .await?;
        let bytes = collect(answer, &format!("{method} {path}")).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        body: Option<&Value>,
        headers: Query<'_>,
    ) -> Result<Response<Incoming>, CliError> {
        check_reference(path)?;
        let (major, minor) = self.version().await?;
        let mut target = format!("/v{major}.{minor}{}", escape(path, "/:@+,=$&!*'"));
        for (at, (key, value)) in query.iter().enumerate() {
            let mark = if at == 0 { '?' } else { '&' };
            append(
                &mut target,
                format_args!("{mark}{key}={}", escape(value, "")),
            );
        }
        let answer = self.send(method.clone(), &target, body, headers).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let bytes = collect(answer, &format!("{method} {path}")).await?;
        Err(refusal(status, &target, &String::from_utf8_lossy(&bytes)))
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
        headers: Query<'_>,
    ) -> Result<Response<Incoming>, CliError> {
        let route = format!("{method} {target}");
        let broken = |source: Box<dyn std::error::Error + Send + Sync>| CliError::Transport {
            route: route.clone(),
            source,
        };
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| broken(e.into()))?;
        // The connection ends with the request; its error, if any, reaches the request too.
        drop(tokio::spawn(connection));
        let request = request(method, target, body, headers).map_err(|e| broken(e.into()))?;
        sender
            .send_request(request)
            .await
            .map_err(|e| broken(e.into()))
    }

    async fn connect(&self) -> Result<UnixStream, CliError> {
        UnixStream::connect(&self.socket).await.map_err(|error| {
            let host = self.host.clone();
            if error.kind() == io::ErrorKind::PermissionDenied {
                CliError::Forbidden { host }
            } else {
                CliError::Unreachable { host }
            }
        })
    }
}

/// Refuses to name an object by nothing: `/nodes/` is another path than the user meant. Docker's client says it so.
fn check_reference(path: &str) -> Result<(), CliError> {
    let mut parts = path.trim_start_matches('/').split('/');
    let kind = match parts.next() {
        Some("nodes") => "node",
        Some("services") => "service",
        Some("tasks") => "task",
        Some("networks") => "network",
        Some("containers") => "container",
        Some(_) | None => return Ok(()),
    };
    match parts.next() {
        Some(reference) if reference.trim().is_empty() => Err(CliError::refused(format!(
            "invalid {kind} name or ID: value is empty"
        ))),
        Some(_) | None => Ok(()),
    }
}

fn request(
    method: Method,
    target: &str,
    body: Option<&Value>,
    headers: Query<'_>,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, HeaderValue::from_static("swarm"))
        .header(
            USER_AGENT,
            concat!("swarm-manager/", env!("CARGO_PKG_VERSION"), " (linux)"),
        );
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let bytes = body.map(|value| Bytes::from(value.to_string()));
    if bytes.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    request.body(Full::new(bytes.unwrap_or_default()))
}

async fn collect(answer: Response<Incoming>, route: &str) -> Result<Bytes, CliError> {
    let broken = |source: hyper::Error| CliError::Transport {
        route: route.to_owned(),
        source: source.into(),
    };
    Ok(answer
        .into_body()
        .collect()
        .await
        .map_err(broken)?
        .to_bytes())
}

fn parse(method: &Method, path: &str, text: &str) -> Result<Value, CliError> {
    serde_json::from_str(text).map_err(|source| CliError::Json {
        route: format!("{method} {path}"),
        source,
    })
}

/// The error of an answer: its `message`, its plain text, or at least its status.
fn refusal(status: hyper::StatusCode, target: &str, body: &str) -> CliError {
    let json: Option<Value> = serde_json::from_str(body).ok();
    let message = json.as_ref().and_then(|value| value["message"].as_str());
    let message = match (message, body.trim()) {
        (Some(message), _) => message.trim().to_owned(),
        (None, "") => format!(
            "request returned {status} for API route and version {target}, \
             check if the server supports the requested API version"
        ),
        (None, text) => text.to_owned(),
    };
    CliError::Daemon {
        status: status.as_u16(),
        message,
    }
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Percent-encodes everything but unreserved characters and `keep`.
fn escape(text: &str, keep: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let letter = char::from(byte);
        if byte.is_ascii_alphanumeric()
            || "-._~".contains(letter)
            || (byte.is_ascii() && keep.contains(letter))
        {
            out.push(letter);
        } else {
            append(&mut out, format_args!("%{byte:02X}"));
        }
    }
    out
}

/// The `filters` parameter: `{"name":{"web":true}}`.
pub(crate) fn filters<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut map = std::collections::BTreeMap::<&str, std::collections::BTreeMap<&str, bool>>::new();
    for (name, value) in pairs {
        map.entry(name).or_default().insert(value, true);
    }
    serde_json::to_string(&map).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode as S;

    use super::*;

    #[test]
    fn only_unix_sockets_are_hosts() {
        assert!(Client::new("unix:///run/x.sock").is_ok());
        for host in ["tcp://1.2.3.4:2375", "/run/x.sock", "unix://", ""] {
            let error = Client::new(host).unwrap_err().to_string();
            assert!(error.contains(&format!("`{host}`")), "{error}");
        }
    }

    #[test]
    fn paths_and_queries_are_escaped() {
        assert_eq!(escape("/services/a b?c", "/"), "/services/a%20b%3Fc");
        assert_eq!(escape("{\"a\":1}é", ""), "%7B%22a%22%3A1%7D%C3%A9");
        assert_eq!(
            filters([("name", "web"), ("id", "x"), ("name", "db")]),
            r#"{"id":{"x":true},"name":{"db":true,"web":true}}"#
        );
    }

    #[test]
    fn nothing_is_no_reference() {
        let refusal = |path| check_reference(path).map_err(|error| error.to_string());
        for (path, kind) in [
            ("/nodes/", "node"),
            ("/nodes/ ", "node"),
            ("/services//logs", "service"),
            ("/networks/", "network"),
            ("/containers//json", "container"),
        ] {
            let text = format!("invalid {kind} name or ID: value is empty");
            assert_eq!(refusal(path), Err(text), "{path}");
        }
        for path in [
            "/nodes",
            "/nodes/x/update",
            "/swarm",
            "/containers/json",
            "/",
        ] {
            assert_eq!(refusal(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn errors_are_the_servers_message() {
        let text = |status, body| refusal(status, "/v1.51/x", body).to_string();
        assert_eq!(
            text(S::NOT_FOUND, r#"{"message":"service web not found"}"#),
            "Error response from daemon: service web not found"
        );
        assert_eq!(
            text(S::BAD_REQUEST, "too old\n"),
            "Error response from daemon: too old"
        );
        assert!(text(S::BAD_GATEWAY, "").contains("502 Bad Gateway for API route"));
    }
}
