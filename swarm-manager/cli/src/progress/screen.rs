//! Progress lines as bytes: redrawn in place on a screen, one after the other in a file or pipe.

use std::collections::BTreeMap;

use super::Line;
use crate::format::append;

/// A screen narrower than this shows no bars.
const WIDE: usize = 110;

/// What has been drawn so far.
#[derive(Debug)]
pub(crate) struct Screen {
    width: Option<usize>,
    rows: BTreeMap<String, usize>,
}

impl Screen {
    /// A screen of some width, or none for files and pipes.
    pub(crate) fn new(width: Option<usize>) -> Self {
        Self {
            width,
            rows: BTreeMap::new(),
        }
    }

    /// The bytes that show `line`.
    pub(crate) fn draw(&mut self, line: &Line) -> String {
        match self.width {
            Some(width) => self.draw_on_screen(line, width),
            None => Self::draw_in_file(line),
        }
    }

    /// Lines with a bar change too often to be worth a line of a file each.
    fn draw_in_file(line: &Line) -> String {
        let is_bar = line.bar.is_some_and(|(_, total)| total > 0);
        if is_bar {
            String::new()
        } else {
            format!("{}{}\n", prefix(line), line.text)
        }
    }

    fn draw_on_screen(&mut self, line: &Line, width: usize) -> String {
        if line.lasting {
            self.rows.clear();
            return format!("{}{}\n", prefix(line), line.text);
        }
        let next = self.rows.len();
        let mut out = String::new();
        let row = *self.rows.entry(line.id.clone()).or_insert_with(|| {
            out.push('\n');
            next
        });
        let up = self.rows.len() - row;
        let bar = line
            .bar
            .map_or_else(String::new, |bar| draw_bar(bar, width));
        append(
            &mut out,
            format_args!(
                "\x1b[{up}A\x1b[2K\r{}{} {bar}\r\x1b[{up}B",
                prefix(line),
                line.text
            ),
        );
        out
    }
}

fn prefix(line: &Line) -> String {
    if line.id.is_empty() {
        String::new()
    } else {
        format!("{}: ", line.id)
    }
}

fn draw_bar((done, total): (u32, u32), width: usize) -> String {
    if total == 0 || width <= WIDE {
        return String::new();
    }
    let steps = (u64::from(done) * 100 / u64::from(total) / 2).min(50);
    let steps = usize::try_from(steps).unwrap_or(50);
    format!("[{}>{}] ", "=".repeat(steps), " ".repeat(50 - steps))
}
