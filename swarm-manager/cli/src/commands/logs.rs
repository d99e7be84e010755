//! Log streams: taking the frames of stdout and stderr apart, and the prefix that names a task.

use std::collections::BTreeMap;
use std::io::Write;

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;

use super::resolve::Names;
use crate::app::App;
use crate::error::{CliError, Outcome};
use crate::flags::{Flag, Kind, Matches, flag};
use crate::values::object::{number, text};
use crate::values::since;

const SINCE_HELP: &str = "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)";

/// The flags of container and service logs alike.
pub(super) fn flags() -> Vec<Flag> {
    vec![
        flag("follow", Kind::Bool, "Follow log output").short('f'),
        flag("since", Kind::Text, SINCE_HELP),
        flag("timestamps", Kind::Bool, "Show timestamps").short('t'),
        flag("details", Kind::Bool, "Show extra details provided to logs"),
        flag(
            "tail",
            Kind::Text,
            "Number of lines to show from the end of the logs",
        )
        .short('n')
        .default("all"),
    ]
}

/// The query of a log request.
pub(super) fn query(
    app: &App,
    matches: &Matches,
    details: bool,
) -> Result<Vec<(&'static str, String)>, CliError> {
    let mut query = vec![("stdout", "1".to_owned()), ("stderr", "1".to_owned())];
    for bound in ["since", "until"] {
        let Some(given) = matches.given_text(bound).filter(|text| !text.is_empty()) else {
            continue;
        };
        let moment = since::parse(given, app.now(), &app.terminal.zone).ok_or_else(|| {
            CliError::refused(format!(
                "invalid value for {bound:?}: failed to parse value as time or duration: {given:?}"
            ))
        })?;
        query.push((bound, moment));
    }
    for (name, on) in [
        ("timestamps", matches.on("timestamps")),
        ("follow", matches.on("follow")),
        ("details", details),
    ] {
        if on {
            query.push((name, "1".to_owned()));
        }
    }
    query.push(("tail", matches.text("tail").to_owned()));
    Ok(query)
}

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Out,
    Err,
}

/// Copies a stream without frames (a task with a terminal) to standard output.
pub(super) async fn copy_raw(app: &mut App, answer: Response<Incoming>) -> Outcome {
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            app.terminal.out.write_all(&data)?;
            app.terminal.out.flush()?;
        }
    }
    Ok(())
}

/// Takes a framed stream apart and hands each payload to `prefix` before printing it.
pub(super) async fn copy_framed(
    app: &mut App,
    answer: Response<Incoming>,
    mut prefix: Option<Prefix>,
) -> Outcome {
    let mut body = answer.into_body();
    let mut pending = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        pending.extend_from_slice(&data);
        while let Some((source, payload)) = next_frame(&mut pending)? {
            let shown = match &mut prefix {
                Some(prefix) => prefix
                    .apply(app, &String::from_utf8_lossy(&payload))
                    .await?
                    .into(),
                None => payload,
            };
            let out = match source {
                Source::Out => &mut app.terminal.out,
                Source::Err => &mut app.terminal.err,
            };
            out.write_all(&shown)?;
            out.flush()?;
        }
    }
    Ok(())
}

fn broken(source: hyper::Error) -> CliError {
    CliError::Transport {
        route: "logs".to_owned(),
        source: source.into(),
    }
}

/// Cuts one whole frame off: a byte for the stream, three zeros, the length, the payload.
fn next_frame(pending: &mut BytesMut) -> Result<Option<(Source, Vec<u8>)>, CliError> {
    const HEADER: usize = 8;
    if pending.len() < HEADER {
        return Ok(None);
    }
    let length = u32::from_be_bytes([pending[4], pending[5], pending[6], pending[7]]) as usize;
    if pending.len() < HEADER + length {
        return Ok(None);
    }
    let kind = pending[0];
    pending.advance(HEADER);
    let payload = pending.split_to(length).to_vec();
    match kind {
        0 | 1 => Ok(Some((Source::Out, payload))),
        2 => Ok(Some((Source::Err, payload))),
        3 => Err(CliError::refused(format!(
            "error from daemon in stream: {}",
            String::from_utf8_lossy(&payload)
        ))),
        other => Err(CliError::refused(format!(
            "unrecognized input header: {other}"
        ))),
    }
}

/// Puts `service.slot.task@node    | ` in front of service log lines.
#[derive(Debug)]
pub(super) struct Prefix {
    pub(super) names: Names,
    pub(super) timestamps: bool,
    pub(super) details: bool,
    pub(super) task_ids: bool,
    pub(super) trunc: bool,
    /// The width of the longest slot number.
    pub(super) width: usize,
    pub(super) known: BTreeMap<[String; 3], String>,
}

impl Prefix {
    async fn apply(&mut self, app: &App, line: &str) -> Result<String, CliError> {
        let parts = split_line(line, self.timestamps);
        let (stamp, context, message) = parts
            .ok_or_else(|| CliError::refused(format!("invalid context in log message: {line}")))?;
        let mut details = parse_details(context);
        let mut take = |what: &str| {
            let key = format!("com.docker.swarm.{what}.id");
            let missing = || CliError::refused(format!("missing {what} id in details: {context}"));
            details.remove(&key).ok_or_else(missing)
        };
        let ids = [take("node")?, take("service")?, take("task")?];
        let name = if let Some(name) = self.known.get(&ids) {
            name.clone()
        } else {
            let name = self.name(app, &ids).await?;
            self.known.insert(ids, name.clone());
            name
        };
        let mut shown = String::new();
        if let Some(stamp) = stamp {
            shown.push_str(stamp);
            shown.push(' ');
        }
        shown.push_str(&name);
        shown.push_str("    | ");
        if self.details {
            let pairs: Vec<String> = details.iter().map(|(k, v)| format!("{k}={v}")).collect();
            shown.push_str(&pairs.join(","));
            shown.push(' ');
        }
        shown.push_str(message);
        Ok(shown)
    }

    async fn name(
        &mut self,
        app: &App,
        [node, service, task]: &[String; 3],
    ) -> Result<String, CliError> {
        let node = self.names.node(app, node).await;
        let service = self.names.service(app, service).await;
        let task = app.client.get(&format!("/tasks/{task}"), &[]).await?;
        let slot = number(&task, "/Slot").to_string();
        let mut name = format!("{service}.{slot}");
        if self.task_ids {
            let id = text(&task, "/ID");
            name.push('.');
            name.push_str(if self.trunc {
                crate::format::text::short_id(id)
            } else {
                id
            });
        }
        let padding = " ".repeat(self.width.saturating_sub(slot.len()));
        Ok(format!("{name}@{node}{padding}"))
    }
}

/// Splits a line into its stamp (when asked for), details and message.
fn split_line(line: &str, timestamps: bool) -> Option<(Option<&str>, &str, &str)> {
    let (stamp, rest) = if timestamps {
        let (stamp, rest) = line.split_once(' ')?;
        (Some(stamp), rest)
    } else {
        (None, line)
    };
    let (details, message) = rest.split_once(' ')?;
    Some((stamp, details, message))
}

/// `k=v,k=v` with percent-encoded keys and values.
fn parse_details(text: &str) -> BTreeMap<String, String> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=')?;
        Some((unescape(key), unescape(value)))
    };
    text.split(',').filter_map(pair).collect()
}

fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let decoded = hex
            .and_then(|two| u8::from_str_radix(two, 16).ok())
            .filter(|_| *byte == b'%');
        if let Some(letter) = decoded {
            out.push(letter);
            rest = &after[2..];
        } else {
            out.push(if *byte == b'+' { b' ' } else { *byte });
            rest = after;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_wherever_the_chunks_end() {
        let mut pending = BytesMut::new();
        let mut seen = Vec::new();
        for byte in [
            &[1, 0, 0, 0, 0, 0, 0, 3][..],
            b"a b",
            &[2, 0, 0, 0, 0, 0, 0, 1],
            b"c",
        ]
        .concat()
        {
            pending.extend_from_slice(&[byte]);
            seen.extend(next_frame(&mut pending).unwrap());
        }
        assert_eq!(
            seen,
            [(Source::Out, b"a b".to_vec()), (Source::Err, b"c".to_vec())]
        );
        let mut bad = BytesMut::from(&[9, 0, 0, 0, 0, 0, 0, 0][..]);
        assert!(next_frame(&mut bad).is_err());
        let mut failed = BytesMut::from(&[3, 0, 0, 0, 0, 0, 0, 2, b'n', b'o'][..]);
        assert_eq!(
            next_frame(&mut failed).unwrap_err().to_string(),
            "error from daemon in stream: no"
        );
    }

    #[test]
    fn lines_split_into_stamp_details_message() {
        assert_eq!(
            split_line("a=1 hello world\n", false),
            Some((None, "a=1", "hello world\n"))
        );
        assert_eq!(
            split_line("T a=1 x\n", true),
            Some((Some("T"), "a=1", "x\n"))
        );
        assert_eq!(split_line("x", false), None);
        let details = parse_details("a.b=c%2Fd,e=f%20g");
        assert_eq!(details["a.b"], "c/d");
        assert_eq!(details["e"], "f g");
    }
}
