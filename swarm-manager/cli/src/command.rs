//! The tree of commands: finding the command that was asked for, checking its arguments, and the
//! help texts. What a command does is in `commands`.

use futures_util::future::LocalBoxFuture;

use crate::app::App;
use crate::error::{CliError, Outcome};
use crate::flags::{self, Flag, FlagError, Matches};
use crate::format::append;

/// The name users call this program by.
pub(crate) const PROGRAM: &str = "swarm-manager";
/// Docker wraps help texts at this width when it does not know the terminal's.
pub(crate) const HELP_WIDTH: usize = 80;

/// Runs a command.
pub(crate) type Handler = for<'a> fn(&'a mut App, &'a Matches) -> LocalBoxFuture<'a, Outcome>;

/// How many arguments a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arguments {
    None,
    Exactly(usize),
    AtLeast(usize),
}

/// The heading a command stands under in the program's help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Common,
    Management,
    Swarm,
    Other,
}

/// A command or a group of commands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Command {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub about: &'static str,
    pub section: Section,
    pub node: Node,
}

/// What a command is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Node {
    Group(&'static [Command]),
    Leaf(Leaf),
}

/// A command that does something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaf {
    /// The usage line behind the command's name.
    pub usage: &'static str,
    pub arguments: Arguments,
    /// Whether flags may follow arguments.
    pub interspersed: bool,
    /// The line of names in the help text, `{}` standing for the program; empty for the aliases.
    pub also: &'static str,
    pub flags: fn() -> Vec<Flag>,
    pub run: Handler,
}

/// What the arguments ask for.
#[derive(Debug)]
pub(crate) enum Request {
    /// Run a command.
    Run { run: Handler, matches: Matches },
    /// Print a help text; `asked` when the user asked for it, else it goes to standard error.
    Help { text: String, asked: bool },
}

/// Finds the command in `words` (without global flags) below `commands`. Help texts are laid out
/// for a terminal of `width` columns.
pub(crate) fn resolve(
    commands: &'static [Command],
    words: &[String],
    width: usize,
) -> Result<Request, CliError> {
    let mut path = PROGRAM.to_owned();
    let mut level = commands;
    let mut about = "";
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        if word == "--help" || word == "-h" {
            return Ok(Request::Help {
                text: group_help(&path, about, level, width),
                asked: true,
            });
        }
        if word.starts_with('-') && word.len() > 1 {
            return Err(flag_error(&unknown_flag(word), &path, &path));
        }
        let known = |c: &&Command| c.name == word || c.aliases.contains(&word.as_str());
        let Some(command) = level.iter().find(known) else {
            return Err(unknown_command(&path, word));
        };
        path = format!("{path} {}", command.name);
        rest = after;
        match &command.node {
            Node::Group(inner) => (level, about) = (inner, command.about),
            Node::Leaf(_) => return resolve_leaf(command, &path, rest, width),
        }
    }
    Ok(Request::Help {
        text: group_help(&path, about, level, width),
        asked: false,
    })
}

/// The error of a flag that stands before a command.
fn unknown_flag(word: &str) -> FlagError {
    match word.strip_prefix("--") {
        Some(long) => FlagError::UnknownLong(long.to_owned()),
        None => FlagError::UnknownShort(word.chars().nth(1).unwrap_or('-'), word[1..].to_owned()),
    }
}

fn resolve_leaf(
    command: &Command,
    path: &str,
    words: &[String],
    width: usize,
) -> Result<Request, CliError> {
    let Node::Leaf(leaf) = &command.node else {
        return Err(unknown_command(path, command.name));
    };
    let table = (leaf.flags)();
    let usage = usage_line(path, leaf);
    let help = || Request::Help {
        text: leaf_help(command, leaf, path, width),
        asked: true,
    };
    let matches = match flags::parse(&table, words, leaf.interspersed) {
        Ok(matches) => matches,
        Err(FlagError::Help) => return Ok(help()),
        Err(problem) => return Err(flag_error(&problem, &usage, path)),
    };
    if let Some(name) = matches.refused() {
        return Err(CliError::Flag {
            problem: format!("flag --{name} is not supported yet"),
            usage,
            path: path.to_owned(),
        });
    }
    check_arguments(leaf.arguments, matches.args.len(), path, &usage)?;
    // `swarm update` without flags explains itself.
    if path.ends_with(" swarm update") && !matches.any() {
        return Ok(help());
    }
    Ok(Request::Run {
        run: leaf.run,
        matches,
    })
}

fn flag_error(problem: &FlagError, usage: &str, path: &str) -> CliError {
    CliError::Flag {
        problem: problem.to_string(),
        usage: usage.to_owned(),
        path: path.to_owned(),
    }
}

/// An unknown flag in front of the command.
pub(crate) fn global_flag_error(problem: &FlagError) -> CliError {
    flag_error(
        problem,
        &format!("{PROGRAM} [OPTIONS] COMMAND [ARG...]"),
        PROGRAM,
    )
}

fn unknown_command(path: &str, word: &str) -> CliError {
    let usage = if path == PROGRAM {
        String::new()
    } else {
        format!("Usage:  {path}\n\n")
    };
    CliError::Arguments {
        text: format!(
            "{PROGRAM}: unknown command: {path} {word}\n\n{usage}\
             Run '{path} --help' for more information"
        ),
    }
}

fn check_arguments(rule: Arguments, given: usize, path: &str, usage: &str) -> Result<(), CliError> {
    let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
    let (needs, see) = match rule {
        Arguments::None if given == 0 => return Ok(()),
        Arguments::Exactly(n) if given == n => return Ok(()),
        Arguments::AtLeast(n) if given >= n => return Ok(()),
        Arguments::None => ("accepts no arguments".to_owned(), "Run"),
        Arguments::Exactly(n) => (format!("requires {n} {}", plural(n)), "Run"),
        Arguments::AtLeast(n) => (format!("requires at least {n} {}", plural(n)), "See"),
    };
    Err(CliError::Arguments {
        text: format!(
            "{PROGRAM}: '{path}' {needs}\n\nUsage:  {usage}\n\n\
             {see} '{path} --help' for more information"
        ),
    })
}

fn usage_line(path: &str, leaf: &Leaf) -> String {
    format!("{path} {}", leaf.usage).trim_end().to_owned()
}

fn leaf_help(command: &Command, leaf: &Leaf, path: &str, width: usize) -> String {
    let mut text = format!("Usage:  {}\n\n{}\n", usage_line(path, leaf), command.about);
    let names = if !leaf.also.is_empty() {
        leaf.also.replace("{}", PROGRAM)
    } else if command.aliases.is_empty() {
        String::new()
    } else {
        let group = path.strip_suffix(command.name).unwrap_or(path);
        let all = std::iter::once(&command.name).chain(command.aliases);
        all.map(|name| format!("{group}{name}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if !names.is_empty() {
        append(&mut text, format_args!("\nAliases:\n  {names}\n"));
    }
    let table = (leaf.flags)();
    if !table.is_empty() {
        append(
            &mut text,
            format_args!("\nOptions:\n{}", flags::usage(&table, width - 1)),
        );
    }
    text
}

fn rows<'a>(commands: impl Iterator<Item = &'a Command>) -> String {
    let mut text = String::new();
    for command in commands {
        append(
            &mut text,
            format_args!(
                "  {:<11} {}
",
                command.name, command.about
            ),
        );
    }
    text
}

/// The help of a group; of the whole program when `path` is its name.
fn group_help(path: &str, about: &str, commands: &'static [Command], width: usize) -> String {
    if path == PROGRAM {
        return root_help(commands, width);
    }
    let mut sorted: Vec<&Command> = commands.iter().collect();
    sorted.sort_by_key(|command| command.name);
    format!(
        "Usage:  {path} COMMAND\n\n{about}\n\nCommands:\n{}\n\
         Run '{path} COMMAND --help' for more information on a command.\n",
        rows(sorted.into_iter())
    )
}

fn root_help(commands: &'static [Command], width: usize) -> String {
    let mut text = format!(
        "Usage:  {PROGRAM} [OPTIONS] COMMAND\n\n\
         A container orchestrator with Docker Swarm's commands and an eBPF data plane\n"
    );
    for (section, heading) in [
        (Section::Common, "Common Commands"),
        (Section::Management, "Management Commands"),
        (Section::Swarm, "Swarm Commands"),
        (Section::Other, "Commands"),
    ] {
        let mut chosen: Vec<&Command> = commands.iter().filter(|c| c.section == section).collect();
        chosen.sort_by_key(|command| command.name);
        append(
            &mut text,
            format_args!("\n{heading}:\n{}", rows(chosen.into_iter())),
        );
    }
    let globals = flags::usage(crate::GLOBAL_FLAGS, width - 1);
    append(
        &mut text,
        format_args!(
            "\nGlobal Options:\n{globals}\n\
         Run '{PROGRAM} COMMAND --help' for more information on a command.\n"
        ),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::COMMANDS;

    fn resolve_words(line: &str) -> Result<Request, CliError> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        resolve(COMMANDS, &words, HELP_WIDTH)
    }

    fn refusal(line: &str) -> (String, u8) {
        let error = resolve_words(line).map(|_| ()).unwrap_err();
        (error.to_string(), error.exit_code())
    }

    fn help(line: &str) -> String {
        match resolve_words(line) {
            Ok(Request::Help { text, .. }) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn argument_errors_have_dockers_texts_and_codes() {
        for (line, code, text) in [
            (
                "swarm join",
                1,
                "swarm-manager: 'swarm-manager swarm join' requires 1 argument\n\n\
                 Usage:  swarm-manager swarm join [OPTIONS] HOST:PORT\n\n\
                 Run 'swarm-manager swarm join --help' for more information",
            ),
            (
                "service create",
                1,
                "swarm-manager: 'swarm-manager service create' requires at least 1 argument\n\n\
                 Usage:  swarm-manager service create [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n\
                 See 'swarm-manager service create --help' for more information",
            ),
            (
                "service creat",
                1,
                "swarm-manager: unknown command: swarm-manager service creat\n\n\
                 Usage:  swarm-manager service\n\n\
                 Run 'swarm-manager service --help' for more information",
            ),
            (
                "foo",
                1,
                "swarm-manager: unknown command: swarm-manager foo\n\n\
                 Run 'swarm-manager --help' for more information",
            ),
            (
                "service ls x",
                1,
                "swarm-manager: 'swarm-manager service ls' accepts no arguments\n\n\
                 Usage:  swarm-manager service ls [OPTIONS]\n\n\
                 Run 'swarm-manager service ls --help' for more information",
            ),
            (
                "service create --foo x",
                125,
                "unknown flag: --foo\n\n\
                 Usage:  swarm-manager service create [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n\
                 Run 'swarm-manager service create --help' for more information",
            ),
            (
                "service create --init x",
                125,
                "flag --init is not supported yet\n\n\
                 Usage:  swarm-manager service create [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n\
                 Run 'swarm-manager service create --help' for more information",
            ),
        ] {
            assert_eq!(refusal(line), (text.to_owned(), code), "{line}");
        }
    }

    #[test]
    fn a_group_alone_explains_itself() {
        let text = help("node");
        assert!(text.starts_with("Usage:  swarm-manager node COMMAND\n\nManage Swarm nodes\n"));
        assert!(text.contains("\n  ls          List nodes in the swarm\n"));
        assert!(help("").contains("\nSwarm Commands:\n  node        Manage Swarm nodes\n"));
        assert!(help("swarm update").starts_with("Usage:  swarm-manager swarm update [OPTIONS]"));
    }

    #[test]
    fn aliases_find_the_same_command() {
        for line in [
            "service list",
            "node list",
            "network remove x",
            "container ps",
            "ps",
        ] {
            assert!(
                matches!(resolve_words(line), Ok(Request::Run { .. })),
                "{line}"
            );
        }
        let text = help("node ls --help");
        assert!(text.contains("Aliases:\n  swarm-manager node ls, swarm-manager node list\n"));
    }
}
