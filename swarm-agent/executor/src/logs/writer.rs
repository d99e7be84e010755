//! Appends records to a log and rotates it. A full disk must never stop a container: what cannot be
//! written is counted, and said in the log as soon as there is room again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::LogSource;
use super::files;
use super::format::encode;
use crate::Timestamp;
use crate::spec::LogRotation;

#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    rotation: LogRotation,
    file: File,
    size_bytes: u64,
    buffer: Vec<u8>,
    buffered_lines: u64,
    lost_lines: u64,
}

impl LogWriter {
    pub(crate) fn open(path: PathBuf, rotation: LogRotation) -> io::Result<Self> {
        let file = open_append(&path)?;
        let size_bytes = file.metadata()?.len();
        let buffer = Vec::new();
        Ok(Self {
            path,
            rotation,
            file,
            size_bytes,
            buffer,
            buffered_lines: 0,
            lost_lines: 0,
        })
    }

    /// Takes a line; it is on its way to the file after the next [`Self::flush`].
    pub(crate) fn push(&mut self, source: LogSource, time: Timestamp, text: &[u8]) {
        let before = self.buffer.len();
        encode(&mut self.buffer, source, time, text);
        self.buffered_lines += 1;
        let total = self.size_bytes.saturating_add(self.buffer.len() as u64);
        let has_earlier = self.size_bytes > 0 || before > 0;
        if has_earlier && self.rotation.max_size_bytes.is_some_and(|max| total > max) {
            // Lines up to this one belong to the old file.
            let line = self.buffer.split_off(before);
            self.buffered_lines -= 1;
            self.flush(time);
            self.rotate();
            self.buffer = line;
            self.buffered_lines = 1;
        }
    }

    /// Writes what was pushed with one call, so that a reader sees whole lines.
    pub(crate) fn flush(&mut self, now: Timestamp) {
        if self.buffer.is_empty() {
            return;
        }
        if self.lost_lines > 0 {
            self.report_loss(now);
        }
        match self.file.write_all(&self.buffer) {
            Ok(()) => self.size_bytes += self.buffer.len() as u64,
            Err(_) => self.lost_lines += self.buffered_lines,
        }
        self.buffer.clear();
        self.buffered_lines = 0;
    }

    fn report_loss(&mut self, now: Timestamp) {
        let mut record = Vec::new();
        let text = format!("{} log lines lost: no room for them\n", self.lost_lines);
        // The newline ends a record that was cut short when the disk ran full.
        record.push(b'\n');
        encode(&mut record, LogSource::Stderr, now, text.as_bytes());
        if self.file.write_all(&record).is_ok() {
            self.size_bytes += record.len() as u64;
            self.lost_lines = 0;
        }
    }

    /// A rotation that fails leaves the log growing in place, which loses nothing.
    fn rotate(&mut self) {
        let rotated = files::rotate(&self.path, self.rotation.max_files);
        if let Ok(file) = rotated.and_then(|()| open_append(&self.path)) {
            self.file = file;
            self.size_bytes = 0;
        }
    }
}

fn open_append(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_stay_below_the_limit_and_lines_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("json.log");
        let rotation = LogRotation {
            max_size_bytes: Some(200),
            max_files: 3,
        };
        let mut writer = LogWriter::open(path.clone(), rotation).unwrap();
        for number in 0..10 {
            writer.push(
                LogSource::Stdout,
                Timestamp(number),
                format!("line {number}\n").as_bytes(),
            );
            if number % 3 == 0 {
                writer.flush(Timestamp(number));
            }
        }
        writer.flush(Timestamp(10));
        let mut lines = Vec::new();
        for index in (0..3).rev() {
            let text = fs::read_to_string(files::generation(&path, index)).unwrap();
            assert!(text.len() <= 200);
            lines.extend(text.lines().map(str::to_owned));
        }
        assert!(!files::generation(&path, 3).exists());
        let numbers: Vec<String> = lines
            .iter()
            .map(|line| super::super::format::decode(line.as_bytes()).unwrap().text)
            .collect();
        let expected: Vec<String> = (4..10).map(|number| format!("line {number}\n")).collect();
        assert_eq!(numbers, expected, "two lines a file, three files");
    }

    #[test]
    fn a_full_disk_is_reported_when_there_is_room_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("json.log");
        let mut writer = LogWriter::open(path.clone(), LogRotation::default()).unwrap();
        let good = std::mem::replace(
            &mut writer.file,
            OpenOptions::new().write(true).open("/dev/full").unwrap(),
        );
        writer.push(LogSource::Stdout, Timestamp(1), b"lost 1\n");
        writer.push(LogSource::Stdout, Timestamp(1), b"lost 2\n");
        writer.flush(Timestamp(1));
        writer.file = good;
        writer.push(LogSource::Stdout, Timestamp(2), b"kept\n");
        writer.flush(Timestamp(2));
        let text = fs::read_to_string(path).unwrap();
        assert!(
            text.contains("2 log lines lost: no room for them"),
            "{text}"
        );
        assert!(text.contains("kept") && !text.contains("lost 1"), "{text}");
    }
}
