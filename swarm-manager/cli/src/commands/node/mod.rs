//! `node`: the hosts of the swarm.

mod inspect;
mod ls;
mod pretty;
mod ps;
mod rm;
mod update;

use super::{Arguments, Command, handler, leaf, no_flags};

pub(super) const COMMANDS: &[Command] = &[
    leaf(
        "demote",
        "Demote one or more nodes from manager in the swarm",
        "NODE [NODE...]",
        Arguments::AtLeast(1),
        (no_flags, handler!(update::demote)),
    ),
    leaf(
        "inspect",
        "Display detailed information on one or more nodes",
        "[OPTIONS] self|NODE [NODE...]",
        Arguments::AtLeast(1),
        (inspect::flags, handler!(inspect::run)),
    ),
    leaf(
        "ls",
        "List nodes in the swarm",
        "[OPTIONS]",
        Arguments::None,
        (ls::flags, handler!(ls::run)),
    )
    .alias(&["list"]),
    leaf(
        "promote",
        "Promote one or more nodes to manager in the swarm",
        "NODE [NODE...]",
        Arguments::AtLeast(1),
        (no_flags, handler!(update::promote)),
    ),
    leaf(
        "ps",
        "List tasks running on one or more nodes, defaults to current node",
        "[OPTIONS] [NODE...]",
        Arguments::AtLeast(0),
        (super::tasks::flags, handler!(ps::run)),
    ),
    leaf(
        "rm",
        "Remove one or more nodes from the swarm",
        "[OPTIONS] NODE [NODE...]",
        Arguments::AtLeast(1),
        (rm::flags, handler!(rm::run)),
    )
    .alias(&["remove"]),
    leaf(
        "update",
        "Update a node",
        "[OPTIONS] NODE",
        Arguments::Exactly(1),
        (update::flags, handler!(update::run)),
    ),
];
