//! One log line as a line of JSON, the way Docker's json-file driver writes it:
//! `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.678Z"}`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{LogLine, LogSource};
use crate::Timestamp;

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    stream: LogSource,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Appends the record and a newline to `buffer`. Bytes that are not UTF-8 become U+FFFD, as in Docker.
pub(crate) fn encode(buffer: &mut Vec<u8>, source: LogSource, time: Timestamp, text: &[u8]) {
    let time = Cow::Owned(time.to_string());
    let record = Record {
        log: String::from_utf8_lossy(text),
        stream: source,
        time,
    };
    // Strings and a unit enum always serialise, and writing to memory does not fail.
    let json = serde_json::to_vec(&record).unwrap_or_default();
    buffer.extend_from_slice(&json);
    buffer.push(b'\n');
}

/// `None` for a line that is not a record: a torn write, or a foreign hand in the file.
pub(crate) fn decode(line: &[u8]) -> Option<LogLine> {
    let record: Record<'_> = serde_json::from_slice(line).ok()?;
    Some(LogLine {
        source: record.stream,
        time: Timestamp::parse(&record.time)?,
        text: record.log.into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_dockers_and_read_back() {
        let mut buffer = Vec::new();
        encode(
            &mut buffer,
            LogSource::Stderr,
            Timestamp(1_500_000_000),
            b"a \"q\" \x01 \xff\n",
        );
        let text = String::from_utf8(buffer).unwrap();
        assert_eq!(
            text,
            "{\"log\":\"a \\\"q\\\" \\u0001 \u{fffd}\\n\",\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:01.5Z\"}\n"
        );
        let line = decode(text.as_bytes()).unwrap();
        assert_eq!(line.source, LogSource::Stderr);
        assert_eq!(line.time, Timestamp(1_500_000_000));
        assert_eq!(line.text, "a \"q\" \u{1} \u{fffd}\n");
        for torn in [
            "",
            "{",
            &text[..20],
            "{\"log\":\"x\",\"stream\":\"other\",\"time\":\"\"}",
        ] {
            assert_eq!(decode(torn.as_bytes()), None, "{torn}");
        }
    }
}
