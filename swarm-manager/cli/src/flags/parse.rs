//! Splits arguments into flag values and positional arguments. Knows nothing of commands.

use std::collections::BTreeMap;

use super::{Flag, Kind};
use crate::values::{cpus, duration, go, size};

/// Why the arguments could not be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FlagError {
    #[error("unknown flag: --{0}")]
    UnknownLong(String),
    #[error("unknown shorthand flag: {0:?} in -{1}")]
    UnknownShort(char, String),
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    #[error("flag needs an argument: --{0}")]
    MissingLong(String),
    #[error("flag needs an argument: {0:?} in -{1}")]
    MissingShort(char, String),
    #[error("invalid argument {value:?} for {flag:?} flag: {reason}")]
    Value {
        value: String,
        flag: String,
        reason: String,
    },
    /// The user asked for the help text.
    #[error("help requested")]
    Help,
}

/// The flags that were given and the arguments left over.
#[derive(Debug, Default, Clone)]
pub(crate) struct Matches {
    flags: Vec<Flag>,
    values: BTreeMap<&'static str, Vec<String>>,
    pub args: Vec<String>,
}

/// Parses `input`. With `interspersed` flags may follow positional arguments; without, the first
/// positional argument ends the flags (`service create IMAGE COMMAND -x`).
pub(crate) fn parse(
    flags: &[Flag],
    input: &[String],
    interspersed: bool,
) -> Result<Matches, FlagError> {
    let mut matches = Matches {
        flags: flags.to_vec(),
        ..Matches::default()
    };
    let mut rest = input.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            matches.args.extend(rest.by_ref().cloned());
        } else if let Some(long) = word.strip_prefix("--") {
            matches.take_long(long, &mut rest)?;
        } else if word.len() > 1 && word.starts_with('-') {
            matches.take_shorts(&word[1..], &mut rest)?;
        } else {
            matches.args.push(word.clone());
            if !interspersed {
                matches.args.extend(rest.by_ref().cloned());
            }
        }
    }
    Ok(matches)
}

impl Matches {
    fn take_long<'a>(
        &mut self,
        word: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), FlagError> {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
        if name.is_empty() || name.starts_with('-') {
            return Err(FlagError::Syntax(format!("--{word}")));
        }
        let Some(flag) = self.flags.iter().copied().find(|flag| flag.name == name) else {
            let help = name == "help";
            return Err(if help {
                FlagError::Help
            } else {
                FlagError::UnknownLong(name.into())
            });
        };
        let value = match inline {
            Some(value) => value,
            None if flag.kind == Kind::Bool => "true".to_owned(),
            None => rest
                .next()
                .cloned()
                .ok_or_else(|| FlagError::MissingLong(name.to_owned()))?,
        };
        self.put(&flag, &value)
    }

    fn take_shorts<'a>(
        &mut self,
        cluster: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), FlagError> {
        let mut left = cluster;
        while let Some(letter) = left.chars().next() {
            left = &left[letter.len_utf8()..];
            let Some(flag) = self.flags.iter().copied().find(|f| f.short == Some(letter)) else {
                let help = letter == 'h';
                return Err(if help {
                    FlagError::Help
                } else {
                    FlagError::UnknownShort(letter, cluster.to_owned())
                });
            };
            if let Some(value) = left.strip_prefix('=') {
                return self.put(&flag, value);
            }
            if flag.kind == Kind::Bool {
                self.put(&flag, "true")?;
                continue;
            }
            if !left.is_empty() {
                return self.put(&flag, left);
            }
            let missing = || FlagError::MissingShort(letter, cluster.to_owned());
            let value = rest.next().cloned().ok_or_else(missing)?;
            return self.put(&flag, &value);
        }
        Ok(())
    }

    fn put(&mut self, flag: &Flag, value: &str) -> Result<(), FlagError> {
        let kept = flag.kind.check(value).map_err(|reason| FlagError::Value {
            value: value.to_owned(),
            flag: flag.display(),
            reason,
        })?;
        self.values.entry(flag.name).or_default().push(kept);
        Ok(())
    }

    /// Only arguments, no flags.
    pub(crate) fn of_args(args: Vec<String>) -> Self {
        Self {
            args,
            ..Self::default()
        }
    }

    /// The first given flag that is not honoured yet.
    pub(crate) fn refused(&self) -> Option<&'static str> {
        self.flags
            .iter()
            .find(|flag| !flag.honoured && self.changed(flag.name))
            .map(|f| f.name)
    }

    /// Whether any flag was given.
    pub(crate) fn any(&self) -> bool {
        !self.values.is_empty()
    }

    /// Whether the flag was given.
    pub(crate) fn changed(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Whether any of the flags was given.
    pub(crate) fn any_changed(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.changed(name))
    }

    /// The names of the flags that were given.
    pub(crate) fn given(&self) -> impl Iterator<Item = &str> {
        self.values.keys().copied()
    }

    /// The last value given.
    pub(crate) fn given_text(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .and_then(|all| all.last())
            .map(String::as_str)
    }

    /// The last value given, else the flag's default.
    pub(crate) fn text(&self, name: &str) -> &str {
        let default = || {
            self.flags
                .iter()
                .find(|f| f.name == name)
                .map_or("", |f| f.default)
        };
        self.given_text(name).unwrap_or_else(default)
    }

    /// Every value given.
    pub(crate) fn list(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// A boolean flag.
    pub(crate) fn on(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// An unsigned number, when given.
    pub(crate) fn uint(&self, name: &str) -> Option<u64> {
        self.given_text(name)
            .and_then(|text| go::parse_uint(text, 64).ok())
    }

    /// A signed number, when given.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.given_text(name)
            .and_then(|text| go::parse_int(text).ok())
    }

    /// A duration in nanoseconds, when given.
    pub(crate) fn nanos(&self, name: &str) -> Option<i64> {
        self.given_text(name)
            .and_then(|text| duration::parse(text).ok())
    }

    /// A size in bytes, when given.
    pub(crate) fn bytes(&self, name: &str) -> Option<i64> {
        self.given_text(name)
            .and_then(|text| size::parse(text).ok())
    }

    /// Billionths of a CPU, when given.
    pub(crate) fn nano_cpus(&self, name: &str) -> Option<i64> {
        self.given_text(name)
            .and_then(|text| cpus::parse(text).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::super::flag;
    use super::*;

    const FLAGS: &[Flag] = &[
        flag("detach", Kind::Bool, "").short('d'),
        flag("env", Kind::Env, "").short('e'),
        flag("publish", Kind::Port, "").short('p'),
        flag("replicas", Kind::Uint, ""),
        flag("mode", Kind::Text, "").default("replicated"),
        flag("init", Kind::Bool, "").later(),
    ];

    fn run(words: &[&str], interspersed: bool) -> Result<Matches, FlagError> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        parse(FLAGS, &words, interspersed)
    }

    #[test]
    fn every_spelling_of_a_value_is_taken() {
        let m = run(
            &[
                "-de",
                "A=1",
                "-eB=2",
                "--env=C=3",
                "-p=80:80",
                "--replicas",
                "3",
            ],
            true,
        )
        .unwrap();
        assert!(m.on("detach"));
        assert_eq!(m.list("env"), ["A=1", "B=2", "C=3"]);
        assert_eq!(m.uint("replicas"), Some(3));
        assert_eq!(m.text("mode"), "replicated");
        assert!(!m.changed("mode"));
    }

    #[test]
    fn booleans_take_a_value_only_after_an_equals_sign() {
        let m = run(&["--detach=false", "x"], true).unwrap();
        assert!(!m.on("detach"));
        assert!(m.changed("detach"));
        let m = run(&["--detach", "false"], true).unwrap();
        assert!(m.on("detach"));
        assert_eq!(m.args, ["false"]);
    }

    #[test]
    fn flags_after_the_image_belong_to_the_command() {
        let m = run(&["--replicas", "2", "busybox", "sleep", "-d", "1"], false).unwrap();
        assert_eq!(m.args, ["busybox", "sleep", "-d", "1"]);
        assert!(!m.on("detach"));
        let m = run(&["web", "-d"], true).unwrap();
        assert_eq!(m.args, ["web"]);
        assert!(m.on("detach"));
        let m = run(&["-d", "--", "--replicas"], true).unwrap();
        assert_eq!(m.args, ["--replicas"]);
    }

    #[test]
    fn errors_have_the_texts_of_docker() {
        for (words, text) in [
            (vec!["--foo"], "unknown flag: --foo"),
            (vec!["-Z"], "unknown shorthand flag: 'Z' in -Z"),
            (vec!["--replicas"], "flag needs an argument: --replicas"),
            (vec!["-p"], "flag needs an argument: 'p' in -p"),
            (
                vec!["--replicas", "abc"],
                "invalid argument \"abc\" for \"--replicas\" flag: \
                 strconv.ParseUint: parsing \"abc\": invalid syntax",
            ),
            (
                vec!["--detach=foo"],
                "invalid argument \"foo\" for \"-d, --detach\" flag: \
                 strconv.ParseBool: parsing \"foo\": invalid syntax",
            ),
            (vec!["--=x"], "bad flag syntax: --=x"),
        ] {
            assert_eq!(run(&words, true).unwrap_err().to_string(), text);
        }
        assert_eq!(run(&["--help"], true).unwrap_err(), FlagError::Help);
    }

    #[test]
    fn a_flag_that_is_not_honoured_is_reported() {
        assert_eq!(run(&["--init"], true).unwrap().refused(), Some("init"));
        assert_eq!(run(&["-d"], true).unwrap().refused(), None);
    }
}
