//! Who may ask: by the name of the host, the page that asks, and the key.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::options::Options;
use crate::refusal::Refusal;

/// Refuses what does not come from a page or a program that may ask.
pub(crate) async fn check_host(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    match known(&app.options, request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Refuses who has no key, where one is needed.
pub(crate) async fn check_key(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    match allowed(&app.options, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn known(options: &Options, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let forbidden = |message: String| Refusal::new(StatusCode::FORBIDDEN, message);
    // A page of a stranger whose name leads to this machine (DNS rebinding) names its own host.
    let host = text(headers, header::HOST).or_else(|| uri.authority().map(|a| a.as_str()));
    let host = host.unwrap_or_default();
    if !is_known(options, host) {
        return Err(forbidden(format!(
            "this server is not called `{host}`: start it with --host {}",
            without_port(host)
        )));
    }
    if let Some(origin) = text(headers, header::ORIGIN) {
        let name = origin.split_once("://").map_or("", |(_, name)| name);
        if !is_known(options, name) {
            return Err(forbidden(format!(
                "pages of `{origin}` may not use this server"
            )));
        }
    }
    Ok(())
}

fn allowed(options: &Options, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(key) = &options.api_key else {
        return Ok(());
    };
    let given = text(headers, header::AUTHORIZATION).unwrap_or_default();
    // Clients of A1111 send a name and a password: the password counts.
    let basic = given.strip_prefix("Basic ").and_then(password);
    let bearer = given.strip_prefix("Bearer ").map(str::to_owned);
    let given = bearer.or(basic).unwrap_or_default();
    if bool::from(given.as_bytes().ct_eq(key.as_bytes())) {
        return Ok(());
    }
    let message = "a key is needed: send `Authorization: Bearer KEY`";
    Err(Refusal::new(StatusCode::UNAUTHORIZED, message))
}

/// The password of `NAME:PASSWORD` in base64.
fn password(text: &str) -> Option<String> {
    let decoded = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (_, password) = decoded.split_once(':')?;
    Some(password.to_owned())
}

/// Whether a host, with or without its port, is one of this server's names.
fn is_known(options: &Options, host: &str) -> bool {
    let name = without_port(host);
    let own = options.address.ip().to_string();
    let names = options.hosts.iter().map(String::as_str);
    ["localhost", "127.0.0.1", "[::1]", own.as_str()]
        .into_iter()
        .chain(names)
        .any(|known| known.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: &Options, pairs: &[(header::HeaderName, &str)]) -> Option<StatusCode> {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let headers: HeaderMap = headers.collect();
        let result = known(options, &headers, &Uri::from_static("/"))
            .and_then(|()| allowed(options, &headers));
        result.err().map(|refusal| refusal.into_response().status())
    }

    #[test]
    fn strangers_are_refused() {
        let mut options = Options::in_folder("x");
        options.hosts.push("paint.example".into());
        for host in [
            "localhost:7860",
            "127.0.0.1",
            "[::1]:80",
            "Paint.Example:443",
        ] {
            assert_eq!(refused(&options, &[(header::HOST, host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "",
            "127.0.0.1.evil.example:80",
            "localhost.evil",
        ] {
            let status = refused(&options, &[(header::HOST, host)]);
            assert_eq!(status, Some(StatusCode::FORBIDDEN), "{host}");
        }
        let page = [
            (header::HOST, "localhost"),
            (header::ORIGIN, "http://evil.example"),
        ];
        assert_eq!(refused(&options, &page), Some(StatusCode::FORBIDDEN));
        let own = [
            (header::HOST, "localhost"),
            (header::ORIGIN, "http://localhost:7860"),
        ];
        assert_eq!(refused(&options, &own), None);
    }

    #[test]
    fn a_key_is_needed_where_there_is_one() {
        let mut options = Options::in_folder("x");
        options.api_key = Some("secret".into());
        let host = (header::HOST, "localhost");
        for (given, expected) in [
            ("Bearer secret", None),
            ("Bearer secre", Some(StatusCode::UNAUTHORIZED)),
            ("Bearer ", Some(StatusCode::UNAUTHORIZED)),
            ("Basic bWU6c2VjcmV0", None),
            ("Basic bWU6c2VjcmU=", Some(StatusCode::UNAUTHORIZED)),
            ("Basic ???", Some(StatusCode::UNAUTHORIZED)),
            ("secret", Some(StatusCode::UNAUTHORIZED)),
        ] {
            let headers = [host.clone(), (header::AUTHORIZATION, given)];
            assert_eq!(refused(&options, &headers), expected, "{given}");
        }
        assert_eq!(refused(&options, &[host]), Some(StatusCode::UNAUTHORIZED));
    }
}
