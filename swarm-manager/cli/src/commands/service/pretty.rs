//! The human friendly form of a service, line by line as Docker's. Pure.

use std::collections::BTreeMap;
use std::fmt::Display;

use jiff::Timestamp;
use serde_json::Value;

use crate::format::append;
use crate::format::{human, time};
use crate::values::duration;
use crate::values::object::{has, list, number, on, sorted, text, texts};

/// A service as a page of text. `networks` are names by id.
pub(super) fn show(service: &Value, networks: &BTreeMap<String, String>, now: Timestamp) -> String {
    let mut page = Page::default();
    let spec = &service["Spec"];
    page.line("ID:\t\t", text(service, "/ID"));
    page.line("Name:\t\t", text(spec, "/Name"));
    page.map("Labels:", "", spec, "/Labels", "=");
    mode(&mut page, spec);
    update_status(&mut page, service, now);
    placement(&mut page, &spec["TaskTemplate"]);
    update_config(&mut page, spec, "UpdateConfig", "Update order:      ");
    update_config(&mut page, spec, "RollbackConfig", "Rollback order:    ");
    container(&mut page, &spec["TaskTemplate"]["ContainerSpec"]);
    log_driver(&mut page, &spec["TaskTemplate"]);
    resources(&mut page, &spec["TaskTemplate"]["Resources"]);
    let attached: Vec<&str> = list(spec, "/TaskTemplate/Networks")
        .iter()
        .map(|network| text(network, "/Target"))
        .map(|id| networks.get(id).map_or(id, String::as_str))
        .collect();
    if !attached.is_empty() {
        page.line("Networks: ", format!("{} ", attached.join(" ")));
    }
    page.line("Endpoint Mode:\t", text(spec, "/EndpointSpec/Mode"));
    ports(&mut page, list(service, "/Endpoint/Ports"));
    healthcheck(
        &mut page,
        &spec["TaskTemplate"]["ContainerSpec"]["Healthcheck"],
    );
    format!("{}\n\n", page.0)
}

/// Text whose lines each begin with a newline, so that a line's end can still be added to.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, label: &str, value: impl Display) {
        append(&mut self.0, format_args!("\n{label}{value}"));
    }

    fn heading(&mut self, text: &str) {
        self.line(text, "");
    }

    fn nonempty(&mut self, label: &str, value: &str) {
        if !value.is_empty() {
            self.line(label, value);
        }
    }

    fn map(&mut self, heading: &str, indent: &str, value: &Value, pointer: &str, sign: &str) {
        let pairs = sorted(value, pointer);
        if !pairs.is_empty() {
            self.heading(heading);
        }
        for (key, value) in pairs {
            match value.as_str().unwrap_or_default() {
                "" => self.line(&format!("{indent} {key}"), ""),
                value => self.line(&format!("{indent} {key}{sign}"), value),
            }
        }
    }
}

fn mode(page: &mut Page, spec: &Value) {
    if has(spec, "/Mode/Global") {
        page.line("Service Mode:\t", "Global");
    } else if has(spec, "/Mode/Replicated") {
        page.line("Service Mode:\t", "Replicated");
        if has(spec, "/Mode/Replicated/Replicas") {
            page.line(" Replicas:\t", number(spec, "/Mode/Replicated/Replicas"));
        }
    } else {
        page.heading("Service Mode:");
    }
}

fn update_status(page: &mut Page, service: &Value, now: Timestamp) {
    let state = text(service, "/UpdateStatus/State");
    if state.is_empty() {
        return;
    }
    page.heading("UpdateStatus:");
    page.line(" State:\t\t", state);
    let started = text(service, "/UpdateStatus/StartedAt");
    if !started.is_empty() {
        page.line(" Started:\t", format!("{} ago", time::age(started, now)));
    }
    let completed = text(service, "/UpdateStatus/CompletedAt");
    if state == "completed" && !completed.is_empty() {
        page.line(
            " Completed:\t",
            format!("{} ago", time::age(completed, now)),
        );
    }
    page.line(" Message:\t", text(service, "/UpdateStatus/Message"));
}

fn placement(page: &mut Page, task: &Value) {
    page.heading("Placement:");
    let constraints = texts(task, "/Placement/Constraints");
    if !constraints.is_empty() {
        page.line(" Constraints:\t", format!("[{}]", constraints.join(" ")));
    }
    let spread = |preference: &Value| text(preference, "/Spread/SpreadDescriptor").to_owned();
    let preferences: Vec<String> = list(task, "/Placement/Preferences")
        .iter()
        .map(|preference| format!("spread={}", spread(preference)))
        .collect();
    if !preferences.is_empty() {
        page.line(" Preferences:   ", format!("[{}]", preferences.join(" ")));
    }
    let most = number(task, "/Placement/MaxReplicas");
    if most > 0 {
        page.line(" Max Replicas Per Node:   ", most);
    }
}

fn update_config(page: &mut Page, spec: &Value, name: &str, order_label: &str) {
    let config = &spec[name];
    if config.is_null() {
        return;
    }
    page.heading(&format!("{name}:"));
    page.line(" Parallelism:\t", number(config, "/Parallelism"));
    let delay = number(config, "/Delay");
    if delay > 0 {
        page.line(" Delay:\t\t", duration::format(delay));
    }
    page.line(" On failure:\t", text(config, "/FailureAction"));
    let monitor = number(config, "/Monitor");
    if monitor > 0 {
        page.line(" Monitoring Period: ", duration::format(monitor));
    }
    let ratio = config["MaxFailureRatio"].as_f64().unwrap_or_default();
    page.line(" Max failure ratio: ", ratio);
    page.line(&format!(" {order_label}"), text(config, "/Order"));
}

fn container(page: &mut Page, container: &Value) {
    page.heading("ContainerSpec:");
    page.line(" Image:\t\t", text(container, "/Image"));
    for (label, pointer) in [(" Args:\t\t", "/Args"), (" Env:\t\t", "/Env")] {
        let words = texts(container, pointer);
        if !words.is_empty() {
            page.line(label, words.join(" ") + " ");
        }
    }
    page.nonempty(" Dir:\t\t", text(container, "/Dir"));
    if has(container, "/Init") {
        page.line(" Init:\t\t", on(container, "/Init"));
    }
    page.nonempty(" User: ", text(container, "/User"));
    let add = texts(container, "/CapabilityAdd").join(", ");
    let drop = texts(container, "/CapabilityDrop").join(", ");
    if !add.is_empty() || !drop.is_empty() {
        page.heading("Capabilities:");
    }
    page.nonempty(" Add: ", &add);
    page.nonempty(" Drop: ", &drop);
    page.map("SysCtls:", "", container, "/Sysctls", ": ");
    limits(page, list(container, "/Ulimits"));
    mounts(page, list(container, "/Mounts"));
    for (heading, pointer, name) in [
        ("Configs:", "/Configs", "/ConfigName"),
        ("Secrets:", "/Secrets", "/SecretName"),
    ] {
        let references = list(container, pointer);
        if !references.is_empty() {
            page.heading(heading);
        }
        for reference in references {
            page.line(" Target:\t", text(reference, "/File/Name"));
            page.line("  Source:\t", text(reference, name));
        }
    }
}

fn limits(page: &mut Page, ulimits: &[Value]) {
    let mut sorted: Vec<&Value> = ulimits.iter().collect();
    sorted.sort_by_key(|limit| text(limit, "/Name"));
    if !sorted.is_empty() {
        page.heading("Ulimits:");
    }
    for limit in sorted {
        let (soft, hard) = (number(limit, "/Soft"), number(limit, "/Hard"));
        page.line(
            &format!(" {}: ", text(limit, "/Name")),
            format!("{soft}:{hard}"),
        );
    }
}

fn mounts(page: &mut Page, mounts: &[Value]) {
    if !mounts.is_empty() {
        page.heading("Mounts:");
    }
    for mount in mounts {
        page.line(" Target:\t", text(mount, "/Target"));
        page.line("  Source:\t", text(mount, "/Source"));
        page.line("  ReadOnly:\t", on(mount, "/ReadOnly"));
        page.line("  Type:\t\t", text(mount, "/Type"));
    }
}

fn log_driver(page: &mut Page, task: &Value) {
    if !has(task, "/LogDriver") {
        return;
    }
    page.heading("Log Driver:");
    page.nonempty(" Name:\t\t", text(task, "/LogDriver/Name"));
    page.map(" LogOpts:", " ", task, "/LogDriver/Options", ":       ");
    page.heading("");
}

fn resources(page: &mut Page, resources: &Value) {
    if resources.is_null() {
        return;
    }
    page.heading("Resources:");
    for (heading, group) in [(" Reservations:", "Reservations"), (" Limits:", "Limits")] {
        let group = &resources[group];
        let (cpus, memory) = (number(group, "/NanoCPUs"), number(group, "/MemoryBytes"));
        if cpus > 0 || memory > 0 || number(group, "/Pids") > 0 {
            page.heading(heading);
        }
        if cpus > 0 {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a count of CPUs shown to people"
            )]
            page.line("  CPU:\t\t", cpus as f64 / 1e9);
        }
        if memory > 0 {
            page.line("  Memory:\t", human::bytes(memory));
        }
    }
    let pids = number(resources, "/Limits/Pids");
    if pids > 0 {
        page.line("  PIDs:\t\t", pids);
    }
}

fn ports(page: &mut Page, ports: &[Value]) {
    if ports.is_empty() {
        return;
    }
    page.heading("Ports:");
    for port in ports {
        page.line(" PublishedPort = ", number(port, "/PublishedPort"));
        page.line("  Protocol = ", text(port, "/Protocol"));
        page.line("  TargetPort = ", number(port, "/TargetPort"));
        page.line("  PublishMode = ", text(port, "/PublishMode"));
    }
    page.0.push(' ');
}

fn healthcheck(page: &mut Page, check: &Value) {
    if check.is_null() {
        return;
    }
    page.heading(" Healthcheck:");
    page.line(
        "  Interval = ",
        duration::format(number(check, "/Interval")),
    );
    page.line("  Retries = ", number(check, "/Retries"));
    page.line(
        "  StartPeriod =\t",
        duration::format(number(check, "/StartPeriod")),
    );
    page.line("  Timeout =\t", duration::format(number(check, "/Timeout")));
    let tests = texts(check, "/Test");
    if tests.is_empty() {
        return;
    }
    page.heading("  Tests:");
    for test in tests {
        page.line("\t Test = ", test);
    }
    page.0.push(' ');
}
