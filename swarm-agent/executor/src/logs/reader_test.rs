//! The reader against a writer in the same process: tails, filters, rotation while following.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::Timestamp;
use crate::logs::LogSource;
use crate::logs::writer::LogWriter;
use crate::spec::LogRotation;

const DEADLINE: Duration = Duration::from_secs(10);

fn writer(log: &Path, max_size_bytes: Option<u64>, max_files: u32) -> LogWriter {
    LogWriter::open(
        log.to_owned(),
        LogRotation {
            max_size_bytes,
            max_files,
        },
    )
    .unwrap()
}

fn write(writer: &mut LogWriter, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let source = if number % 2 == 0 {
            LogSource::Stdout
        } else {
            LogSource::Stderr
        };
        writer.push(source, Timestamp(number), format!("{number}\n").as_bytes());
        writer.flush(Timestamp(number));
    }
}

async fn numbers(stream: LogStream) -> Vec<u64> {
    let lines: Vec<_> = tokio::time::timeout(DEADLINE, stream.collect())
        .await
        .expect("log ends");
    lines
        .into_iter()
        .map(|line: Result<LogLine, Error>| number(&line.unwrap()))
        .collect()
}

fn number(line: &LogLine) -> u64 {
    line.text.trim_end().parse().unwrap()
}

#[tokio::test]
async fn queries_select_lines() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("json.log");
    write(&mut writer(&log, Some(300), 10), 0..20);
    let all = LogQuery::default();
    for (query, expected) in [
        (all.clone(), (0..20).collect::<Vec<_>>()),
        (
            LogQuery {
                tail: Some(0),
                ..all.clone()
            },
            vec![],
        ),
        (
            LogQuery {
                tail: Some(1),
                ..all.clone()
            },
            vec![19],
        ),
        (
            LogQuery {
                tail: Some(7),
                ..all.clone()
            },
            (13..20).collect(),
        ),
        (
            LogQuery {
                tail: Some(99),
                ..all.clone()
            },
            (0..20).collect(),
        ),
        (
            LogQuery {
                stderr: false,
                tail: Some(4),
                ..all.clone()
            },
            vec![16, 18],
        ),
        (
            LogQuery {
                since: Some(Timestamp(17)),
                ..all.clone()
            },
            vec![17, 18, 19],
        ),
        (
            LogQuery {
                until: Some(Timestamp(2)),
                ..all.clone()
            },
            vec![0, 1, 2],
        ),
        (
            LogQuery {
                stdout: false,
                stderr: false,
                ..all
            },
            vec![],
        ),
    ] {
        let found = numbers(read(log.clone(), query.clone(), || true)).await;
        assert_eq!(found, expected, "{query:?}");
    }
}

#[tokio::test]
async fn a_missing_log_is_empty_and_a_torn_line_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("json.log");
    assert!(
        numbers(read(log.clone(), LogQuery::default(), || true))
            .await
            .is_empty()
    );
    write(&mut writer(&log, None, 1), 0..1);
    let mut bytes = std::fs::read(&log).unwrap();
    bytes.extend_from_slice(b"garbage\n{\"log\":\"torn");
    std::fs::write(&log, bytes).unwrap();
    assert_eq!(numbers(read(log, LogQuery::default(), || true)).await, [0]);
}

#[tokio::test]
async fn following_loses_nothing_across_rotations_and_ends_with_the_container() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("json.log");
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let query = LogQuery {
        follow: true,
        tail: Some(1),
        ..LogQuery::default()
    };
    let mut writer = writer(&log, Some(200), 100);
    write(&mut writer, 0..3);
    let mut stream = read(log.clone(), query, move || is_over.load(Ordering::SeqCst));
    for batch in 0..20 {
        let first = tokio::time::timeout(DEADLINE, stream.next())
            .await
            .expect("a line in time");
        assert_eq!(number(&first.unwrap().unwrap()), batch * 5 + 2);
        write(&mut writer, batch * 5 + 3..batch * 5 + 8);
        for expected in 3..7 {
            let line = tokio::time::timeout(DEADLINE, stream.next())
                .await
                .expect("a line in time");
            assert_eq!(number(&line.unwrap().unwrap()), batch * 5 + expected);
        }
    }
    over.store(true, Ordering::SeqCst);
    std::fs::write(directory.path().join("state.json"), "ended").unwrap();
    assert_eq!(numbers(stream).await, [102], "the rest, then the end");
}
