//! Reads a container's log: the last lines, then, on demand, every new one as it is written, across
//! rotations, until the container has ended. Wakes up by inotify on the log's folder; never polls.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use futures::StreamExt;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::format::decode;
use super::{LogLine, LogQuery, LogStream, files};
use crate::Error;

const READ_BYTES: usize = 64 * 1024;
/// Lines read ahead of a slow consumer.
const CHANNEL_LINES: usize = 256;

/// Streams the lines of `log` that `query` asks for. `ended` tells whether the last line was
/// written; whatever makes it true must touch the log's folder afterwards.
pub(crate) fn read(
    log: PathBuf,
    query: LogQuery,
    ended: impl Fn() -> bool + Send + 'static,
) -> LogStream {
    let (sender, receiver) = mpsc::channel(CHANNEL_LINES);
    let failed = sender.clone();
    tokio::spawn(async move {
        let reader = Reader {
            log: log.clone(),
            query,
            sender,
        };
        if let Err(error) = reader.run(ended).await {
            // A consumer that went away needs no error.
            drop(failed.send(Err(Error::file("read log", log)(error))).await);
        }
    });
    ReceiverStream::new(receiver).boxed()
}

struct Reader {
    log: PathBuf,
    query: LogQuery,
    sender: mpsc::Sender<Result<LogLine, Error>>,
}

/// Nobody listens any more, or no later line can be wanted.
struct Done;

impl Reader {
    async fn run(self, ended: impl Fn() -> bool) -> io::Result<()> {
        // Before the first look at the files, so that no change falls between.
        let watch = if self.query.follow {
            Some(Watch::new(&self.log)?)
        } else {
            None
        };
        let mut files = files::open_all(&self.log)?;
        if let Some(tail) = self.query.tail {
            files = seek_tail(files, tail)?;
        }
        let mut current = None;
        for file in files {
            let mut open = OpenLog::new(file);
            if self.send_available(&mut open).await?.is_err() {
                return Ok(());
            }
            current = Some(open);
        }
        match watch {
            Some(watch) => self.follow(watch, current, ended).await,
            None => Ok(()),
        }
    }

    async fn follow(
        &self,
        watch: Watch,
        mut current: Option<OpenLog>,
        ended: impl Fn() -> bool,
    ) -> io::Result<()> {
        loop {
            // Asked before reading: what was written before the end is then seen below.
            let over = ended();
            loop {
                if let Some(open) = &mut current
                    && self.send_available(open).await?.is_err()
                {
                    return Ok(());
                }
                let next = match &current {
                    Some(open) => files::successor(&self.log, &open.file)?,
                    None => files::open_all(&self.log)?.into_iter().next(),
                };
                let Some(next) = next else { break };
                // The writer never returns to a file it left, so this is the last of the old one.
                if let Some(open) = &mut current
                    && self.send_available(open).await?.is_err()
                {
                    return Ok(());
                }
                current = Some(OpenLog::new(next));
            }
            if over {
                return Ok(());
            }
            tokio::select! {
                changed = watch.changed() => changed?,
                () = self.sender.closed() => return Ok(()),
            }
        }
    }

    /// Sends every whole line that is in the file now.
    async fn send_available(&self, open: &mut OpenLog) -> io::Result<Result<(), Done>> {
        loop {
            let lines = open.read_lines()?;
            if lines.is_empty() {
                return Ok(Ok(()));
            }
            for line in lines {
                if self.query.is_past(&line) {
                    return Ok(Err(Done));
                }
                if self.query.wants(&line) && self.sender.send(Ok(line)).await.is_err() {
                    return Ok(Err(Done));
                }
            }
        }
    }
}

/// A log file and the begin of a line that is not whole yet.
struct OpenLog {
    file: File,
    partial: Vec<u8>,
}

impl OpenLog {
    fn new(file: File) -> Self {
        Self {
            file,
            partial: Vec::new(),
        }
    }

    /// The next whole lines; empty at the end of the file. Log files are in the page cache: reading
    /// them in place is cheaper than a thread.
    fn read_lines(&mut self) -> io::Result<Vec<LogLine>> {
        let mut buffer = vec![0; READ_BYTES];
        let mut lines = Vec::new();
        while lines.is_empty() {
            let count = self.file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            self.partial.extend_from_slice(&buffer[..count]);
            let whole = self
                .partial
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |at| at + 1);
            lines.extend(
                self.partial[..whole]
                    .split(|b| *b == b'\n')
                    .filter_map(decode),
            );
            self.partial.drain(..whole);
        }
        Ok(lines)
    }
}

/// Drops the files and seeks over the lines before the last `tail`.
fn seek_tail(files: Vec<File>, tail: usize) -> io::Result<Vec<File>> {
    let mut missing = tail;
    let mut kept = Vec::new();
    for (age, mut file) in files.into_iter().rev().enumerate() {
        let length = file.seek(SeekFrom::End(0))?;
        if missing == 0 && age > 0 {
            break;
        }
        let (start, found) = tail_start(&mut file, length, missing)?;
        missing -= found;
        file.seek(SeekFrom::Start(start))?;
        kept.push(file);
    }
    kept.reverse();
    Ok(kept)
}

/// Where the last `wanted` lines of a file start, and how many there are.
fn tail_start(file: &mut File, length: u64, wanted: usize) -> io::Result<(u64, usize)> {
    let mut newlines = 0;
    let mut end = length;
    let mut block = vec![0; READ_BYTES];
    while end > 0 {
        let size = end.min(READ_BYTES as u64);
        let start = end - size;
        let block = &mut block[..usize::try_from(size).unwrap_or(READ_BYTES)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        for (index, _) in block
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
        {
            if newlines == wanted {
                return Ok((start + index as u64 + 1, wanted));
            }
            newlines += 1;
        }
        end = start;
    }
    Ok((0, newlines))
}

/// Wakes when anything changes in a log's folder.
struct Watch {
    inotify: AsyncFd<InotifyDescriptor>,
}

struct InotifyDescriptor(Inotify);

impl AsRawFd for InotifyDescriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watch {
    fn new(log: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let events = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF;
        inotify.add_watch(log.parent().unwrap_or(log), events)?;
        #[expect(
            deprecated,
            reason = "the successor is unsafe; the descriptor is owned and stays open until dropped"
        )]
        let inotify = AsyncFd::new(InotifyDescriptor(inotify))?;
        Ok(Self { inotify })
    }

    async fn changed(&self) -> io::Result<()> {
        loop {
            let mut guard = self.inotify.readable().await?;
            match guard.try_io(|descriptor| Ok(descriptor.get_ref().0.read_events()?)) {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "reader_test.rs"]
mod tests;
