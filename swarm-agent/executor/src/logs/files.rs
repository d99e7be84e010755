//! Names of a log and its rotated predecessors: `json.log`, `json.log.1` (newest) ... `json.log.N`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// `log` itself for 0, its `generation`-th predecessor else.
pub(crate) fn generation(log: &Path, generation: u32) -> PathBuf {
    if generation == 0 {
        return log.to_owned();
    }
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{generation}"));
    PathBuf::from(name)
}

/// Makes room for a new current file: everything moves one up, what exceeds `max_files` is removed.
pub(crate) fn rotate(log: &Path, max_files: u32) -> io::Result<()> {
    let oldest = max_files.max(1) - 1;
    for index in (0..oldest).rev() {
        ignore_missing(fs::rename(
            generation(log, index),
            generation(log, index + 1),
        ))?;
    }
    if oldest == 0 {
        ignore_missing(fs::remove_file(log))?;
    }
    Ok(())
}

/// Every existing file, oldest first, opened. A rotation in between can neither hide nor repeat one:
/// files only move to higher numbers while we walk up, and one met twice is recognised.
pub(crate) fn open_all(log: &Path) -> io::Result<Vec<File>> {
    let mut newest_first: Vec<File> = Vec::new();
    let mut index = 0;
    loop {
        match File::open(generation(log, index)) {
            Ok(file) => {
                let id = identity(&file)?;
                let seen = newest_first
                    .iter()
                    .map(identity)
                    .collect::<io::Result<Vec<_>>>()?;
                if !seen.contains(&id) {
                    newest_first.push(file);
                }
            }
            // Between rename and create the current file is missing for a moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound && index == 0 => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
        index += 1;
    }
    newest_first.reverse();
    Ok(newest_first)
}

/// The file that was written after `current`, or `None` while `current` is still the newest.
pub(crate) fn successor(log: &Path, current: &File) -> io::Result<Option<File>> {
    let id = identity(current)?;
    let files = open_all(log)?;
    let ids = files.iter().map(identity).collect::<io::Result<Vec<_>>>()?;
    let position = ids.iter().position(|other| *other == id);
    // A file that was rotated away altogether is followed by the oldest that is left.
    let next = position.map_or(0, |position| position + 1);
    Ok(files.into_iter().nth(next))
}

/// Device and inode: stays the same across renames, and is not given away while the file is open.
pub(crate) fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn contents(files: Vec<File>) -> Vec<String> {
        let read = |mut file: File| {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        };
        files.into_iter().map(read).collect()
    }

    #[test]
    fn rotation_keeps_the_newest_and_successors_follow_the_order_of_writing() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("json.log");
        fs::write(&log, "1").unwrap();
        let first = File::open(&log).unwrap();
        assert!(successor(&log, &first).unwrap().is_none());
        for text in ["2", "3", "4"] {
            rotate(&log, 3).unwrap();
            fs::write(&log, text).unwrap();
        }
        assert_eq!(contents(open_all(&log).unwrap()), ["2", "3", "4"]);
        let after_lost = successor(&log, &first).unwrap().unwrap();
        assert_eq!(
            contents(vec![after_lost]),
            ["2"],
            "the first is gone, the oldest follows"
        );
        let third = File::open(generation(&log, 1)).unwrap();
        let fourth = successor(&log, &third).unwrap().unwrap();
        assert!(successor(&log, &fourth).unwrap().is_none());
    }

    #[test]
    fn a_single_file_is_dropped_on_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("json.log");
        fs::write(&log, "1").unwrap();
        rotate(&log, 1).unwrap();
        assert!(!log.exists());
        assert!(open_all(&log).unwrap().is_empty());
    }
}
