//! The human friendly form of a node. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::format::human;
use crate::format::text::capitalise;
use crate::format::time;
use crate::values::object::{has, list, number, on, sorted, text};

/// A node as a page of text.
pub(super) fn show(node: &Value) -> String {
    let mut lines = vec![format!("ID:\t\t\t{}", text(node, "/ID"))];
    let name = text(node, "/Spec/Name");
    if !name.is_empty() {
        lines.push(format!("Name:\t\t\t{name}"));
    }
    labels(&mut lines, "Labels:", node, "/Spec/Labels");
    lines.push(format!(
        "Hostname:              \t{}",
        text(node, "/Description/Hostname")
    ));
    let joined = time::go(text(node, "/CreatedAt")).to_lowercase();
    lines.push(format!("Joined at:             \t{joined}"));
    status(&mut lines, node);
    manager(&mut lines, node);
    description(&mut lines, node);
    tls(&mut lines, node);
    lines.join("\n") + "\n"
}

fn labels(lines: &mut Vec<String>, heading: &str, node: &Value, pointer: &str) {
    let pairs = sorted(node, pointer);
    if pairs.is_empty() {
        return;
    }
    lines.push(heading.to_owned());
    for (key, value) in pairs {
        let value = value.as_str().unwrap_or_default();
        let assigned = if value.is_empty() {
            String::new()
        } else {
            format!("={value}")
        };
        lines.push(format!(" - {key}{assigned}"));
    }
}

fn status(lines: &mut Vec<String>, node: &Value) {
    lines.push("Status:".to_owned());
    lines.push(format!(
        " State:\t\t\t{}",
        capitalise(text(node, "/Status/State"))
    ));
    let message = text(node, "/Status/Message");
    if !message.is_empty() {
        lines.push(format!(" Message:              \t{}", capitalise(message)));
    }
    lines.push(format!(
        " Availability:         \t{}",
        capitalise(text(node, "/Spec/Availability"))
    ));
    let address = text(node, "/Status/Addr");
    if !address.is_empty() {
        lines.push(format!(" Address:\t\t{address}"));
    }
}

fn manager(lines: &mut Vec<String>, node: &Value) {
    if !has(node, "/ManagerStatus") {
        return;
    }
    lines.push("Manager Status:".to_owned());
    lines.push(format!(
        " Address:\t\t{}",
        text(node, "/ManagerStatus/Addr")
    ));
    let raft = capitalise(text(node, "/ManagerStatus/Reachability"));
    lines.push(format!(" Raft Status:\t\t{raft}"));
    let leader = if on(node, "/ManagerStatus/Leader") {
        "Yes"
    } else {
        "No"
    };
    lines.push(format!(" Leader:\t\t{leader}"));
}

fn description(lines: &mut Vec<String>, node: &Value) {
    lines.push("Platform:".to_owned());
    lines.push(format!(
        " Operating System:\t{}",
        text(node, "/Description/Platform/OS")
    ));
    lines.push(format!(
        " Architecture:\t\t{}",
        text(node, "/Description/Platform/Architecture")
    ));
    lines.push("Resources:".to_owned());
    let cpus = number(node, "/Description/Resources/NanoCPUs") / 1_000_000_000;
    lines.push(format!(" CPUs:\t\t\t{cpus}"));
    let memory = match number(node, "/Description/Resources/MemoryBytes") {
        0 => String::new(),
        bytes => human::bytes(bytes),
    };
    lines.push(format!(" Memory:\t\t{memory}"));
    let mut plugins: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for plugin in list(node, "/Description/Engine/Plugins") {
        plugins
            .entry(text(plugin, "/Type"))
            .or_default()
            .push(text(plugin, "/Name"));
    }
    if !plugins.is_empty() {
        lines.push("Plugins:".to_owned());
    }
    for (kind, names) in plugins {
        lines.push(format!(" {kind}:\t\t{}", names.join(", ")));
    }
    let version = text(node, "/Description/Engine/EngineVersion");
    lines.push(format!("Engine Version:\t\t{version}"));
    labels(lines, "Engine Labels:", node, "/Description/Engine/Labels");
}

fn tls(lines: &mut Vec<String>, node: &Value) {
    if !has(node, "/Description/TLSInfo/TrustRoot") {
        return;
    }
    lines.push("TLS Info:\n TrustRoot:".to_owned());
    lines.push(text(node, "/Description/TLSInfo/TrustRoot").to_owned());
    let subject = text(node, "/Description/TLSInfo/CertIssuerSubject");
    lines.push(format!(" Issuer Subject:\t{subject}"));
    let key = text(node, "/Description/TLSInfo/CertIssuerPublicKey");
    lines.push(format!(" Issuer Public Key:\t{key}"));
}
