//! One HTTP/1.1 exchange over a plain TCP connection: enough for the registry of a lab and for
//! asking a task for its page. A new connection each time, because each is balanced anew.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, bail};

const AT_MOST: Duration = Duration::from_secs(5);

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `GET path`; the text of an answer of 200.
pub fn get(server: SocketAddr, path: &str) -> anyhow::Result<String> {
    let answer = request("GET", server, path, &[], &[])?;
    if answer.status != 200 {
        bail!(
            "http://{server}{path} answered {}: {}",
            answer.status,
            answer.text()
        );
    }
    Ok(answer.text())
}

/// One request and its answer.
pub fn request(
    method: &str,
    server: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Answer> {
    let context = || format!("{method} http://{server}{path}");
    let mut stream = TcpStream::connect_timeout(&server, AT_MOST).with_context(context)?;
    stream.set_read_timeout(Some(AT_MOST))?;
    stream.set_write_timeout(Some(AT_MOST))?;
    let mut message = Vec::new();
    write!(
        message,
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n"
    )?;
    for (name, value) in headers {
        write!(message, "{name}: {value}\r\n")?;
    }
    write!(message, "Content-Length: {}\r\n\r\n", body.len())?;
    message.extend_from_slice(body);
    stream.write_all(&message).with_context(context)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(context)?;
    parse(&answer).with_context(context)
}

fn parse(bytes: &[u8]) -> anyhow::Result<Answer> {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("the answer has no head")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .context("the answer has no status")?;
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer {
        status,
        headers,
        body: bytes[end + 4..].to_vec(),
    };
    if answer.header("transfer-encoding").is_some() {
        answer.body = dechunk(&answer.body)?;
    }
    Ok(answer)
}

fn dechunk(mut bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes
            .windows(2)
            .position(|window| window == b"\r\n")
            .context("no chunk size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end])?, 16)?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(bytes.get(..size).context("a chunk is cut short")?);
        bytes = bytes.get(size + 2..).context("a chunk is cut short")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_status_headers_and_body() {
        let answer = parse(b"HTTP/1.1 202 Accepted\r\nLocation: /x\r\n\r\nhello").unwrap();
        assert_eq!(answer.status, 202);
        assert_eq!(answer.header("location"), Some("/x"));
        assert_eq!(answer.text(), "hello");
    }

    #[test]
    fn a_chunked_body_is_put_together() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(parse(bytes).unwrap().text(), "abcde");
    }

    #[test]
    fn a_cut_answer_is_refused() {
        assert!(parse(b"HTTP/1.1 200 OK\r\n").is_err());
        assert!(dechunk(b"5\r\nab").is_err());
    }
}
