//! Several files that change together. First everything new is written to one file, `next`, which appears whole or not at all;
//! from then on it counts instead of the files it is about, until each of them is replaced and it is removed. So no crash
//! leaves a key beside a certificate it does not belong to. A reader may look while they are replaced one after the other: it
//! reads all of them until none was replaced between two looks.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use super::credentials::{CredentialsError, replace_file};

/// Holds the files that are about to be replaced.
const STAGED: &str = "next";
/// Looks of a reader before it gives up: far more than there are changes in a row.
const LOOKS: usize = 1000;
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
    let Some(staged) = look(&path)? else {
        return Ok(());
    };
    for (name, mode, text) in parse(&staged.text).map_err(|source| damaged(&path, source))? {
        let file = dir.join(name);
        replace_file(&file, text.as_bytes(), mode)
            .map_err(|source| CredentialsError { path: file, source })?;
    }
    let removed = fs::remove_file(&path).and_then(|()| fs::File::open(dir)?.sync_all());
    removed.map_err(|source| CredentialsError { path, source })
}

/// The texts of files of `dir`, as they were all at one moment; `None` for one that is not there.
pub(super) fn read_together<const N: usize>(
    dir: &Path,
    names: [&str; N],
) -> Result<[Option<String>; N], CredentialsError> {
    let look =
        || -> Result<_, CredentialsError> { Ok((look(&dir.join(STAGED))?, look_at(dir, names)?)) };
    let mut seen = look()?;
    for _ in 0..LOOKS {
        let again = look()?;
        if again == seen {
            let (staged, files) = seen;
            let staged = staged.map_or_else(String::new, |staged| staged.text);
            return overlaid(&staged, names, files)
                .map_err(|source| damaged(&dir.join(STAGED), source));
        }
        seen = again;
    }
    Err(CredentialsError {
        path: dir.to_owned(),
        source: io::Error::new(
            io::ErrorKind::ResourceBusy,
            "its files are replaced again and again",
        ),
    })
}

/// What is staged counts instead of the files.
fn overlaid<const N: usize>(
    staged: &str,
    names: [&str; N],
    files: [Option<Seen>; N],
) -> io::Result<[Option<String>; N]> {
    let mut texts = files.map(|file| file.map(|file| file.text));
    if staged.is_empty() {
        return Ok(texts);
    }
    for (name, _mode, text) in parse(staged)? {
        for (_, held) in names.iter().zip(&mut texts).filter(|(of, _)| **of == name) {
            *held = Some(text.to_owned());
        }
    }
    Ok(texts)
}

/// A file as it was found. A file that replaces it is another one, even if its text is the same.
#[derive(PartialEq, Eq)]
struct Seen {
    text: String,
    inode: u64,
    changed: (i64, i64),
}

fn look_at<const N: usize>(
    dir: &Path,
    names: [&str; N],
) -> Result<[Option<Seen>; N], CredentialsError> {
    let mut found = [const { None }; N];
    for (name, seen) in names.iter().zip(&mut found) {
        *seen = look(&dir.join(name))?;
    }
    Ok(found)
}

fn look(path: &Path) -> Result<Option<Seen>, CredentialsError> {
    let open = || -> io::Result<Seen> {
        let mut file = fs::File::open(path)?;
        let about = file.metadata()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(Seen {
            text,
            inode: about.ino(),
            changed: (about.ctime(), about.ctime_nsec()),
        })
    };
    match open() {
        Ok(seen) => Ok(Some(seen)),
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
        let [a, b] = read_together(dir, ["a", "b"]).unwrap();
        (a.unwrap(), b.unwrap())
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
