//! The commands: the tree of names, and one file per command. A command reads its flags, asks the
//! server, and prints; what is decided on the way is in the pure modules.

mod container;
mod info;
mod inspect;
mod logs;
mod network;
mod node;
mod resolve;
mod service;
mod swarm;
mod tasks;
mod version;
mod wait;

use crate::command::{Arguments, Command, Leaf, Node, Section};
use crate::flags::{Flag, Kind, Matches, flag};

/// Names a command's function as a handler.
macro_rules! handler {
    ($function:path) => {
        |app, matches| Box::pin($function(app, matches))
    };
}
use handler;

/// A command without aliases of its own group that takes flags before and after its arguments.
const fn leaf(
    name: &'static str,
    about: &'static str,
    usage: &'static str,
    arguments: Arguments,
    (flags, run): (fn() -> Vec<Flag>, crate::command::Handler),
) -> Command {
    let leaf = Leaf {
        usage,
        arguments,
        interspersed: true,
        also: "",
        flags,
        run,
    };
    Command {
        name,
        aliases: &[],
        about,
        section: Section::Other,
        node: Node::Leaf(leaf),
    }
}

impl Command {
    const fn alias(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    const fn section(self, section: Section) -> Self {
        Self { section, ..self }
    }

    /// Replaces the line of names in the help text.
    const fn also(self, also: &'static str) -> Self {
        match self.node {
            Node::Leaf(leaf) => Self {
                node: Node::Leaf(Leaf { also, ..leaf }),
                ..self
            },
            Node::Group(_) => self,
        }
    }

    /// Flags end at the first argument.
    const fn flags_first(self) -> Self {
        match self.node {
            Node::Leaf(leaf) => Self {
                node: Node::Leaf(Leaf {
                    interspersed: false,
                    ..leaf
                }),
                ..self
            },
            Node::Group(_) => self,
        }
    }
}

const fn group(
    name: &'static str,
    about: &'static str,
    section: Section,
    commands: &'static [Command],
) -> Command {
    Command {
        name,
        aliases: &[],
        about,
        section,
        node: Node::Group(commands),
    }
}

/// Every command.
pub(crate) const COMMANDS: &[Command] = &[
    container::PS.section(Section::Common),
    version::VERSION.section(Section::Common),
    info::INFO.section(Section::Common),
    group(
        "container",
        "Manage containers",
        Section::Management,
        container::COMMANDS,
    ),
    group(
        "network",
        "Manage networks",
        Section::Management,
        network::COMMANDS,
    ),
    group("node", "Manage Swarm nodes", Section::Swarm, node::COMMANDS),
    group(
        "service",
        "Manage Swarm services",
        Section::Swarm,
        service::COMMANDS,
    ),
    group("swarm", "Manage Swarm", Section::Swarm, swarm::COMMANDS),
    container::LOGS,
    container::RM,
];

const fn no_flags() -> Vec<Flag> {
    Vec::new()
}

const FORMAT_HELP: &str = "Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates";

const INSPECT_FORMAT_HELP: &str = "Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates";

/// `--format` of a list.
const fn list_format() -> Flag {
    flag("format", Kind::Text, FORMAT_HELP)
}

/// `--format` of an inspection.
const fn inspect_format() -> Flag {
    flag("format", Kind::Text, INSPECT_FORMAT_HELP).short('f')
}

/// `--filter`.
const fn filter_flag() -> Flag {
    flag(
        "filter",
        Kind::Filter,
        "Filter output based on conditions provided",
    )
    .short('f')
}

/// The given filters as name and value.
fn filter_pairs(matches: &Matches) -> Vec<(&str, &str)> {
    matches
        .list("filter")
        .iter()
        .filter_map(|text| text.split_once('='))
        .collect()
}

/// The `filters` parameter, none without filters.
fn filter_query(matches: &Matches) -> Option<String> {
    let pairs = filter_pairs(matches);
    (!pairs.is_empty()).then(|| crate::client::filters(pairs))
}
