//! Cuts a byte stream into log lines: at newlines, and inside lines longer than Docker's 16 KiB.

use std::ops::Range;

/// Docker's buffer: longer lines are logged in parts, the parts without a newline.
pub(crate) const MAX_LINE_BYTES: usize = 16 * 1024;

/// Bytes of one stream that are not yet a whole line.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    pending: Vec<u8>,
}

impl LineSplitter {
    /// Takes more bytes and calls `emit` for every line that is complete now.
    pub(crate) fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&[u8])) {
        self.pending.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(line) = next_line(&self.pending, start) {
            emit(&self.pending[line.clone()]);
            start = line.end;
        }
        self.pending.drain(..start);
    }

    /// The stream has ended: what is left is a line without a newline.
    pub(crate) fn finish(&mut self, mut emit: impl FnMut(&[u8])) {
        if !self.pending.is_empty() {
            emit(&self.pending);
            self.pending.clear();
        }
    }
}

fn next_line(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    let rest = &bytes[start..];
    let window = &rest[..rest.len().min(MAX_LINE_BYTES)];
    if let Some(newline) = window.iter().position(|byte| *byte == b'\n') {
        return Some(start..start + newline + 1);
    }
    if rest.len() < MAX_LINE_BYTES {
        return None;
    }
    Some(start..start + character_boundary(window))
}

/// The end of the last whole UTF-8 character, so that a cut never makes two broken ones.
fn character_boundary(window: &[u8]) -> usize {
    let is_start = |byte: u8| byte & 0b1100_0000 != 0b1000_0000;
    let last_start = window.iter().rposition(|byte| is_start(*byte)).unwrap_or(0);
    let width = match window[last_start] {
        0b1100_0000..=0b1101_1111 => 2,
        0b1110_0000..=0b1110_1111 => 3,
        0b1111_0000..=0b1111_0111 => 4,
        0..=0b1011_1111 | 0b1111_1000..=0b1111_1111 => 1,
    };
    if last_start > 0 && last_start + width > window.len() {
        last_start
    } else {
        window.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |line| {
                lines.push(String::from_utf8(line.to_vec()).unwrap());
            });
        }
        splitter.finish(|line| lines.push(String::from_utf8(line.to_vec()).unwrap()));
        lines
    }

    #[test]
    fn lines_across_chunks() {
        assert_eq!(
            split(&[b"a\nb", b"c\n", b"\n", b"last"]),
            ["a\n", "bc\n", "\n", "last"]
        );
        assert!(split(&[]).is_empty());
        assert!(split(&[b""]).is_empty());
    }

    #[test]
    fn long_lines_are_cut_between_characters_and_lose_nothing() {
        let long = "x".repeat(MAX_LINE_BYTES - 1) + "ä" + &"y".repeat(MAX_LINE_BYTES) + "\n";
        let lines = split(&[&long.as_bytes()[..100], &long.as_bytes()[100..]]);
        assert_eq!(lines.concat(), long);
        let lengths: Vec<usize> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE_BYTES - 1, MAX_LINE_BYTES, 3]);
    }
}
