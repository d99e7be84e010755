//! Several files that change together. First everything new is written to one file, `next`, which appears whole or not at all;
//! from then on it counts instead of the files it is about, until each of them is replaced and it is removed. So no crash, and
//! no reader, sees a key beside a certificate it does not belong to.

use std::{collections::BTreeMap, fs, io, path::Path};

use super::credentials::{CredentialsError, replace_file};

/// Holds the files that are about to be replaced.
const STAGED: &str = "next";
/// First line of it.
const HEADER: &str = "swarm-files 1";

/// Replaces files of `dir` (name, text, mode), all or none.
pub(super) fn replace_together(
    dir: &Path,
    files: &[(&str, &str, u32)],
) -> Result<(), CredentialsError> {
    finish(dir)?;
    let path = dir.join(STAGED);
    replace_file(&path, print(files).as_bytes(), 0o640)
        .map_err(|source| CredentialsError { path, source })?;
    finish(dir)
}

/// Carries out what is staged, if anything is.
pub(super) fn finish(dir: &Path) -> Result<(), CredentialsError> {
    let path = dir.join(STAGED);
    let Some(text) = content(&path)? else {
        return Ok(());
    };
    for (name, mode, text) in parse(&text).map_err(|source| damaged(&path, source))? {
        let file = dir.join(name);
        replace_file(&file, text.as_bytes(), mode)
            .map_err(|source| CredentialsError { path: file, source })?;
    }
    let removed = fs::remove_file(&path).and_then(|()| fs::File::open(dir)?.sync_all());
    removed.map_err(|source| CredentialsError { path, source })
}

/// What is staged, by name; `None` if nothing is.
pub(super) fn read(dir: &Path) -> Result<Option<BTreeMap<String, String>>, CredentialsError> {
    let path = dir.join(STAGED);
    let Some(text) = content(&path)? else {
        return Ok(None);
    };
    let files = parse(&text).map_err(|source| damaged(&path, source))?;
    let named = files
        .into_iter()
        .map(|(name, _mode, text)| (name.to_owned(), text.to_owned()));
    Ok(Some(named.collect()))
}

fn content(path: &Path) -> Result<Option<String>, CredentialsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CredentialsError {
            path: path.to_owned(),
            source,
        }),
    }
}

fn damaged(path: &Path, source: io::Error) -> CredentialsError {
    CredentialsError {
        path: path.to_owned(),
        source,
    }
}

/// Each file as a line with its name, mode and length, followed by its text.
fn print(files: &[(&str, &str, u32)]) -> String {
    let files = files.iter().map(|(name, content, mode)| {
        let length = content.len();
        format!("{name} {mode:o} {length}\n{content}")
    });
    std::iter::once(format!("{HEADER}\n"))
        .chain(files)
        .collect()
}

fn parse(text: &str) -> io::Result<Vec<(&str, u32, &str)>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "is damaged");
    let mut rest = text
        .strip_prefix(HEADER)
        .and_then(|rest| rest.strip_prefix('\n'))
        .ok_or_else(invalid)?;
    let mut files = Vec::new();
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').ok_or_else(invalid)?;
        let mut words = line.split(' ');
        let (Some(name), Some(mode), Some(length), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(invalid());
        };
        let mode = u32::from_str_radix(mode, 8).map_err(|_| invalid())?;
        let length: usize = length.parse().map_err(|_| invalid())?;
        if name.is_empty() || name.contains('/') {
            return Err(invalid());
        }
        let (content, after) = after.split_at_checked(length).ok_or_else(invalid)?;
        files.push((name, mode, content));
        rest = after;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: [(&str, &str, u32); 2] = [("a", "old a\n", 0o640), ("b", "old b", 0o644)];
    const NEW: [(&str, &str, u32); 2] = [("a", "new a", 0o640), ("b", "", 0o644)];

    fn files(dir: &Path) -> (String, String) {
        let staged = read(dir).unwrap().unwrap_or_default();
        let one = |name: &str| {
            let on_disk = || fs::read_to_string(dir.join(name)).unwrap();
            staged.get(name).cloned().unwrap_or_else(on_disk)
        };
        (one("a"), one("b"))
    }

    /// Whichever step a crash comes after, a reader sees all old or all new files, and so does the next writer.
    #[test]
    fn files_change_together_wherever_it_stops() {
        let old = ("old a\n".to_owned(), "old b".to_owned());
        let new = ("new a".to_owned(), String::new());
        for steps in 0..=3 {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path();
            replace_together(dir, &OLD).unwrap();
            assert_eq!(files(dir), old);
            fs::write(dir.join("next.new"), "half").unwrap();
            if steps > 0 {
                replace_file(&dir.join(STAGED), print(&NEW).as_bytes(), 0o640).unwrap();
            }
            for (name, text, mode) in NEW.iter().take(steps.max(1) - 1) {
                replace_file(&dir.join(name), text.as_bytes(), *mode).unwrap();
            }
            let expected = if steps == 0 { &old } else { &new };
            assert_eq!(&files(dir), expected, "after {steps} steps");
            finish(dir).unwrap();
            assert_eq!(&files(dir), expected, "after {steps} steps");
            assert!(!dir.join(STAGED).exists());
        }
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for text in [
            "",
            "x",
            "swarm-files 1\na 640 9\nshort",
            "swarm-files 1\n../a 640 0\n",
        ] {
            fs::write(dir.path().join(STAGED), text).unwrap();
            let error = finish(dir.path()).unwrap_err().to_string();
            assert!(error.ends_with("next: is damaged"), "{error}");
        }
    }
}
