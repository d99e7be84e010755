//! Log streams: the request's options, the frames of the multiplexed stream, and what stands in front of a line.

use std::collections::BTreeMap;

use swarm_core::{
    id::{NodeId, ServiceId, TaskId},
    time::Timestamp,
};

use crate::{
    Refusal,
    json::{parse_moment, rfc3339_fixed},
};

/// Content type of framed streams.
pub const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
/// Content type of a terminal's stream.
pub const RAW: &str = "application/vnd.docker.raw-stream";
/// Length of a frame's header.
const HEADER_LEN: usize = 8;

/// What a reader of logs wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Wait for more.
    pub follow: bool,
    /// Nothing before; zero for no limit.
    pub since: Timestamp,
    /// Nothing after; zero for no limit.
    pub until: Timestamp,
    /// Last lines only; `None` for all.
    pub tail: Option<u64>,
    /// Put the moment in front of each line.
    pub timestamps: bool,
    /// Put attributes in front of each line.
    pub details: bool,
}

/// Which of a process's streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Whose line it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOrigin {
    /// Where it ran.
    pub node: NodeId,
    /// The service.
    pub service: ServiceId,
    /// The task.
    pub task: TaskId,
}

/// A line, or a piece of a very long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written.
    pub timestamp: Timestamp,
    /// Stream.
    pub source: LogSource,
    /// Bytes with the newline.
    pub data: Vec<u8>,
    /// Whose it is; `None` in a container's own log.
    pub origin: Option<LogOrigin>,
    /// Attributes the log driver kept.
    pub attributes: BTreeMap<String, String>,
}

/// Go's boolean parameters: absent and the words of refusal are false, everything else is true.
pub fn flag(query: &BTreeMap<String, String>, name: &str) -> bool {
    query.get(name).is_some_and(|value| {
        !matches!(
            value.trim().to_ascii_lowercase().as_str(),
            "" | "0" | "no" | "false" | "none"
        )
    })
}

impl LogOptions {
    /// Reads the parameters; `swarm` tells a service's or task's log from a container's.
    pub fn from_query(query: &BTreeMap<String, String>, swarm: bool) -> Result<Self, Refusal> {
        let moment = |name: &'static str| {
            let text = query.get(name).map_or("", String::as_str);
            parse_moment(text).ok_or_else(|| Refusal::Parameter {
                name,
                value: text.to_owned(),
            })
        };
        let options = Self {
            stdout: flag(query, "stdout"),
            stderr: flag(query, "stderr"),
            follow: flag(query, "follow"),
            since: moment("since")?,
            until: moment("until")?,
            tail: tail(query.get("tail").map_or("", String::as_str), swarm)?,
            timestamps: flag(query, "timestamps"),
            details: flag(query, "details"),
        };
        if options.stdout || options.stderr {
            Ok(options)
        } else {
            Err(Refusal::NoLogStream { swarm })
        }
    }

    /// Whether a reader wants this line.
    pub fn accepts(&self, line: &LogLine) -> bool {
        let source = match line.source {
            LogSource::Stdout => self.stdout,
            LogSource::Stderr => self.stderr,
        };
        source
            && line.timestamp >= self.since
            && (self.until.is_zero() || line.timestamp <= self.until)
    }

    /// The line as it goes to the reader; framed unless it comes from a terminal.
    pub fn encode(&self, line: &LogLine, terminal: bool) -> Vec<u8> {
        let mut text = Vec::with_capacity(line.data.len() + 64);
        if self.timestamps {
            text.extend_from_slice(rfc3339_fixed(line.timestamp).as_bytes());
            text.push(b' ');
        }
        if self.details {
            text.extend_from_slice(details(line).as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(&line.data);
        if terminal {
            text
        } else {
            frame(line.source, &text)
        }
    }
}

/// How many lines; `None` for all. Docker takes anything that is no number for "all" in a container's log alone.
fn tail(text: &str, swarm: bool) -> Result<Option<u64>, Refusal> {
    match text.parse::<i64>() {
        _ if text.is_empty() || text == "all" => Ok(None),
        Ok(lines) if lines < 0 && swarm => Err(Refusal::NegativeTail),
        Ok(lines) => Ok(u64::try_from(lines).ok()),
        Err(_) if swarm => Err(Refusal::Tail),
        Err(_) => Ok(None),
    }
}

/// Attributes of a line: `k=v` joined by commas, both escaped as in a query.
fn details(line: &LogLine) -> String {
    let mut attributes = line.attributes.clone();
    if let Some(origin) = &line.origin {
        for (key, value) in [
            ("com.docker.swarm.node.id", origin.node.as_str()),
            ("com.docker.swarm.service.id", origin.service.as_str()),
            ("com.docker.swarm.task.id", origin.task.as_str()),
        ] {
            attributes.insert(key.to_owned(), value.to_owned());
        }
    }
    let pair = |(key, value): (&String, &String)| format!("{}={}", escape(key), escape(value));
    attributes.iter().map(pair).collect::<Vec<_>>().join(",")
}

/// Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    use core::fmt::Write as _;
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            _ => write!(escaped, "%{byte:02X}").expect("a String takes all that is written to it"),
        }
        escaped
    })
}

/// One frame: stream number, three zeros, length in network byte order, payload.
pub fn frame(source: LogSource, payload: &[u8]) -> Vec<u8> {
    let number = match source {
        LogSource::Stdout => 1,
        LogSource::Stderr => 2,
    };
    let length = u32::try_from(payload.len()).expect("log lines are split far below 4 GiB");
    let mut bytes = Vec::with_capacity(HEADER_LEN + payload.len());
    bytes.extend_from_slice(&[number, 0, 0, 0]);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Why a byte stream is no framed log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized stream number {number} in a multiplexed log stream")]
pub struct UnknownStream {
    /// The first byte of the header.
    pub number: u8,
}

/// Takes a framed stream apart, however it was cut on the way.
#[derive(Clone, Debug, Default)]
pub struct FrameDecoder {
    pending: Vec<u8>,
}

impl FrameDecoder {
    /// Adds bytes from the wire.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole frame, if it has arrived.
    pub fn next_frame(&mut self) -> Result<Option<(LogSource, Vec<u8>)>, UnknownStream> {
        let Some((header, rest)) = self.pending.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let [number, _, _, _, length @ ..] = *header;
        let source = match number {
            0 | 1 => LogSource::Stdout,
            2 | 3 => LogSource::Stderr,
            number => return Err(UnknownStream { number }),
        };
        let length = u32::from_be_bytes(length) as usize;
        let Some(payload) = rest.get(..length).map(<[u8]>::to_vec) else {
            return Ok(None);
        };
        self.pending.drain(..HEADER_LEN + length);
        Ok(Some((source, payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> LogLine {
        LogLine {
            timestamp: Timestamp(1_795_359_157_500_000_000),
            source: LogSource::Stderr,
            data: b"hello\n".to_vec(),
            origin: Some(LogOrigin {
                node: "aaaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap(),
                service: "bbbbbbbbbbbbbbbbbbbbbbbbb".parse().unwrap(),
                task: "ccccccccccccccccccccccccc".parse().unwrap(),
            }),
            attributes: BTreeMap::from([("a b".to_owned(), "c/d".to_owned())]),
        }
    }

    #[test]
    fn a_line_carries_what_was_asked_for() {
        let options = LogOptions {
            timestamps: true,
            details: true,
            ..LogOptions::default()
        };
        let text = String::from_utf8(options.encode(&line(), true)).unwrap();
        assert_eq!(
            text,
            "2026-11-22T14:52:37.500000000Z a+b=c%2Fd,com.docker.swarm.node.id=aaaaaaaaaaaaaaaaaaaaaaaaa,\
             com.docker.swarm.service.id=bbbbbbbbbbbbbbbbbbbbbbbbb,com.docker.swarm.task.id=ccccccccccccccccccccccccc hello\n"
        );
        let framed = LogOptions::default().encode(&line(), false);
        assert_eq!(framed, b"\x02\0\0\0\0\0\0\x06hello\n");
    }

    #[test]
    fn frames_survive_any_cut() {
        let mut wire = frame(LogSource::Stdout, b"one\n");
        wire.extend(frame(LogSource::Stderr, b""));
        wire.extend(frame(LogSource::Stderr, b"two\n"));
        for cut in 0..=wire.len() {
            let mut decoder = FrameDecoder::default();
            let mut frames = Vec::new();
            for part in [&wire[..cut], &wire[cut..]] {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    frames.push(frame);
                }
            }
            let expected: Vec<(LogSource, Vec<u8>)> = vec![
                (LogSource::Stdout, b"one\n".to_vec()),
                (LogSource::Stderr, Vec::new()),
                (LogSource::Stderr, b"two\n".to_vec()),
            ];
            assert_eq!(frames, expected, "cut at {cut}");
        }
        let mut decoder = FrameDecoder::default();
        decoder.push(b"HTTP/1.1");
        assert_eq!(decoder.next_frame(), Err(UnknownStream { number: b'H' }));
    }

    #[test]
    fn parameters() {
        let query = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let options = LogOptions::from_query(
            &query(&[
                ("stdout", "1"),
                ("stderr", "false"),
                ("tail", "2"),
                ("since", "5"),
            ]),
            true,
        )
        .unwrap();
        assert_eq!(
            (options.stdout, options.stderr, options.tail),
            (true, false, Some(2))
        );
        assert_eq!(options.since, Timestamp(5_000_000_000));
        assert!(!options.accepts(&line()));
        let all =
            LogOptions::from_query(&query(&[("stderr", "1"), ("tail", "all")]), true).unwrap();
        assert_eq!(all.tail, None);
        let tail = |lines, swarm| {
            LogOptions::from_query(&query(&[("stderr", "1"), ("tail", lines)]), swarm)
                .map(|options| options.tail)
                .map_err(|refusal| refusal.to_string())
        };
        assert_eq!(
            tail("foo", true).unwrap_err(),
            "tail value must be a positive integer or \"all\""
        );
        assert_eq!(
            tail("-3", true).unwrap_err(),
            "negative tail values not supported"
        );
        assert_eq!(
            (tail("foo", false), tail("-3", false)),
            (Ok(None), Ok(None))
        );
        assert!(all.accepts(&line()));
        assert_eq!(
            LogOptions::from_query(&query(&[]), true)
                .unwrap_err()
                .status(),
            500
        );
        assert_eq!(
            LogOptions::from_query(&query(&[]), false)
                .unwrap_err()
                .status(),
            400
        );
    }
}
