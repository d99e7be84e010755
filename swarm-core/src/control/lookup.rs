//! Finding the object a user names: exact identifier, then exact name, then identifier prefix if only one matches.

use alloc::{format, vec::Vec};

use super::{Code, ControlError, Reason};
use crate::{
    model::{Network, Node, Service, Task},
    store::Store,
};

fn not_found(kind: &str, given: &str) -> ControlError {
    ControlError::new(Code::NotFound, format!("{kind} {given} not found"))
}

/// The only candidate, or why there is none.
fn only<'a, T>(mut found: Vec<&'a T>, kind: &str, given: &str) -> Result<&'a T, ControlError> {
    match (found.pop(), found.len()) {
        (None, _) => Err(not_found(kind, given)),
        (Some(one), 0) => Ok(one),
        (Some(_), others) => {
            let matches = others.saturating_add(1);
            let text = format!("{kind} {given} is ambiguous ({matches} matches found)");
            Err(ControlError::new(Code::InvalidArgument, text).because(Reason::Ambiguous))
        }
    }
}

/// Looks in this order: exact identifier, exact name (several are ambiguous), identifier prefix.
fn find<'a, T: 'a>(
    objects: impl Iterator<Item = &'a T> + Clone,
    id: impl Fn(&T) -> &str,
    name: impl Fn(&T) -> bool,
    kind: &str,
    given: &str,
) -> Result<&'a T, ControlError> {
    if given.is_empty() {
        return Err(not_found(kind, given));
    }
    if let Some(exact) = objects.clone().find(|object| id(object) == given) {
        return Ok(exact);
    }
    let named: Vec<&T> = objects.clone().filter(|object| name(object)).collect();
    if !named.is_empty() {
        return only(named, kind, given);
    }
    let prefixed = objects.filter(|object| id(object).starts_with(given));
    only(prefixed.collect(), kind, given)
}

/// The service a user names.
pub fn find_service<'a>(store: &'a Store, given: &str) -> Result<&'a Service, ControlError> {
    let services: Vec<&Service> = store.services().collect();
    find(
        services.into_iter(),
        |service| service.id.as_str(),
        |service| service.spec.annotations.name == given,
        "service",
        given,
    )
}

/// The network a user names.
pub fn find_network<'a>(store: &'a Store, given: &str) -> Result<&'a Network, ControlError> {
    let networks: Vec<&Network> = store.networks().collect();
    find(
        networks.into_iter(),
        |network| network.id.as_str(),
        |network| network.spec.annotations.name == given,
        "network",
        given,
    )
}

/// The node a user names: by hostname or name, identifier or its prefix. ("self" is the caller's business.)
pub fn find_node<'a>(store: &'a Store, given: &str) -> Result<&'a Node, ControlError> {
    let nodes: Vec<&Node> = store.nodes().collect();
    let named = |node: &Node| {
        let hostname = node.description.as_ref();
        node.spec.annotations.name == given
            || hostname.is_some_and(|description| description.hostname == given)
    };
    find(
        nodes.into_iter(),
        |node| node.id.as_str(),
        named,
        "node",
        given,
    )
}

/// The task a user names: by identifier, its prefix, or the name `service.slot.id` or `service.slot` of a task
/// (`service.node` of a global service's).
pub fn find_task<'a>(store: &'a Store, given: &str) -> Result<&'a Task, ControlError> {
    let tasks: Vec<&Task> = store.tasks().collect();
    find(
        tasks.into_iter(),
        |task| task.id.as_str(),
        |task| task.container_name() == given,
        "task",
        given,
    )
}
