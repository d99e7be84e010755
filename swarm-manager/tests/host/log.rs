//! What a manager says while it runs.

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::ChildStderr,
    sync::watch,
};

use super::within;

/// A log that is read as it is written; whoever waits for a line is woken by it.
pub(super) struct Log(watch::Receiver<String>);

impl Log {
    /// Reads until the manager ends; `shown` also prints what it reads.
    #[expect(
        clippy::print_stderr,
        reason = "the manager's log helps when a test fails"
    )]
    pub(super) fn read(from: ChildStderr, shown: bool) -> Self {
        let (sender, said) = watch::channel(String::new());
        tokio::spawn(async move {
            let mut lines = BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if shown {
                    eprintln!("{line}");
                }
                sender.send_modify(|text| {
                    text.push_str(&line);
                    text.push('\n');
                });
            }
        });
        Self(said)
    }

    /// Waits until `text` was said that many times.
    pub(super) async fn says(&self, text: &str, times: usize) {
        let mut said = self.0.clone();
        let seen = said.wait_for(|log| log.matches(text).count() >= times);
        let ended = within(text, seen).await.is_err();
        assert!(!ended, "the manager ended: {}", self.0.borrow().as_str());
    }

    /// How often `text` was said so far.
    pub(super) fn times(&self, text: &str) -> usize {
        self.0.borrow().matches(text).count()
    }

    /// All of it, once the manager has ended.
    pub(super) async fn whole(mut self) -> String {
        within("the end of the log", async {
            while self.0.changed().await.is_ok() {}
        })
        .await;
        self.0.borrow().clone()
    }
}
