//! What the stock client (28.2) says without asking anybody, case by case: `tests/captures/refusals.txt` is its terminal for
//! wrong arguments, flags and values, and for `--help`. Ours must say the same under its own name, with the same exit code.

#![expect(
    clippy::unwrap_used,
    reason = "a recording that does not read is a failed test"
)]

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use swarm_manager_cli::{Clock, Terminal, run_with};

/// Both streams in the order they were written.
#[derive(Clone, Default)]
struct Screen(Rc<RefCell<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A recorded command line with what was on the terminal after it.
struct Case {
    line: String,
    shown: String,
    code: u8,
}

fn cases() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/refusals.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let recorded = text.split("$ docker ").skip(1);
    recorded
        .map(|recorded| {
            let (line, rest) = recorded.split_once('\n').unwrap();
            let (shown, code) = rest.rsplit_once("[exit ").unwrap();
            Case {
                line: line.to_owned(),
                shown: shown.to_owned(),
                code: code.trim_end().trim_end_matches(']').parse().unwrap(),
            }
        })
        .collect()
}

/// The words of a line, of which some are in double quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn refusals_and_help_texts_are_the_stock_clients() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let nobody = Some("unix:///nonexistent/swarm.sock".to_owned());
    for Case { line, shown, code } in cases() {
        let screen = Screen::default();
        let terminal = Terminal {
            out: Box::new(screen.clone()),
            err: Box::new(screen.clone()),
            input: Box::new(std::io::empty()),
            screen: None,
            interactive: false,
            clock: Clock::Stopped(Timestamp::UNIX_EPOCH),
            zone: TimeZone::UTC,
        };
        let ours = runtime.block_on(run_with(&words(&line), nobody.clone(), terminal));
        let said = String::from_utf8(screen.0.borrow().clone()).unwrap();
        assert_eq!(said.replace("swarm-manager", "docker"), shown, "{line}");
        assert_eq!(ours, code, "{line}");
    }
}
