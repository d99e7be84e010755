//! `info`: this host and its swarm.

use std::fmt::Display;

use serde_json::{Value, json};

use super::{Arguments, Command, Matches, handler, inspect_format, leaf};
use crate::app::App;
use crate::error::{CliError, Outcome};
use crate::format::append;
use crate::format::human;
use crate::template::{Mode, Template};
use crate::values::object::{has, list, number, on, sorted, text, texts};

pub(super) const INFO: Command = leaf(
    "info",
    "Display system-wide information",
    "[OPTIONS]",
    Arguments::None,
    (|| vec![inspect_format()], handler!(run)),
);

async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let answer = app.client.get("/info", &[]).await;
    let version = env!("CARGO_PKG_VERSION");
    match matches.text("format") {
        "" => {}
        source => {
            let source = if source == "json" {
                "{{json .}}"
            } else {
                source
            };
            let template = Template::parse(source).map_err(CliError::TemplateSyntax)?;
            let mut info = answer?;
            info["ClientInfo"] = json!({"Version": version, "Debug": false});
            return app.put(&(template.execute(&info, Mode::Rows)? + "\n"));
        }
    }
    app.put(&format!(
        "Client:\n Version:    {version}\n Debug Mode: false\n\nServer:\n"
    ))?;
    let info = match answer {
        Ok(info) => info,
        Err(error @ CliError::Daemon { .. }) => {
            app.warn(format_args!("ERROR: {error}"))?;
            return Err(CliError::refused("errors pretty printing info"));
        }
        Err(error) => return Err(error),
    };
    let mut page = Page::default();
    server(&mut page, &info);
    app.put(&(page.0 + "\n"))?;
    for warning in texts(&info, "/Warnings") {
        app.warn(warning)?;
    }
    Ok(())
}

/// The text being written.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, label: &str, value: impl Display) {
        append(&mut self.0, format_args!("{label} {value}\n"));
    }

    fn heading(&mut self, text: &str) {
        append(&mut self.0, format_args!("{text}\n"));
    }

    fn nonempty(&mut self, label: &str, value: &str) {
        if !value.is_empty() {
            self.line(label, value);
        }
    }

    fn pairs(&mut self, indent: &str, pairs: &[Value]) {
        for pair in pairs {
            append(
                &mut self.0,
                format_args!("{indent}{}: {}\n", text(pair, "/0"), text(pair, "/1")),
            );
        }
    }

    fn items(&mut self, heading: &str, indent: &str, items: &[&str]) {
        if !items.is_empty() {
            self.heading(heading);
            for item in items {
                append(&mut self.0, format_args!("{indent}{item}\n"));
            }
        }
    }
}

fn server(page: &mut Page, info: &Value) {
    page.line(" Containers:", number(info, "/Containers"));
    page.line("  Running:", number(info, "/ContainersRunning"));
    page.line("  Paused:", number(info, "/ContainersPaused"));
    page.line("  Stopped:", number(info, "/ContainersStopped"));
    page.line(" Images:", number(info, "/Images"));
    page.nonempty(" Server Version:", text(info, "/ServerVersion"));
    page.nonempty(" Storage Driver:", text(info, "/Driver"));
    page.pairs("  ", list(info, "/DriverStatus"));
    page.pairs(" ", list(info, "/SystemStatus"));
    page.nonempty(" Logging Driver:", text(info, "/LoggingDriver"));
    page.nonempty(" Cgroup Driver:", text(info, "/CgroupDriver"));
    page.nonempty(" Cgroup Version:", text(info, "/CgroupVersion"));
    page.heading(" Plugins:");
    page.line("  Volume:", texts(info, "/Plugins/Volume").join(" "));
    page.line("  Network:", texts(info, "/Plugins/Network").join(" "));
    page.nonempty(
        "  Authorization:",
        &texts(info, "/Plugins/Authorization").join(" "),
    );
    page.line("  Log:", texts(info, "/Plugins/Log").join(" "));
    page.items(" CDI spec directories:", "  ", &texts(info, "/CDISpecDirs"));
    page.line(" Swarm:", text(info, "/Swarm/LocalNodeState"));
    swarm(page, &info["Swarm"]);
    runtimes(page, info);
    host(page, info);
    registries(page, info);
    page.line(" Live Restore Enabled:", on(info, "/LiveRestoreEnabled"));
    page.nonempty(" Product License:", text(info, "/ProductLicense"));
    let pools = list(info, "/DefaultAddressPools");
    if !pools.is_empty() {
        page.heading(" Default Address Pools:");
        for pool in pools {
            let (base, size) = (text(pool, "/Base"), number(pool, "/Size"));
            page.heading(&format!("   Base: {base}, Size: {size}"));
        }
    }
}

fn swarm(page: &mut Page, swarm: &Value) {
    let state = text(swarm, "/LocalNodeState");
    if matches!(state, "" | "inactive" | "locked") {
        return;
    }
    page.line("  NodeID:", text(swarm, "/NodeID"));
    page.nonempty("  Error:", text(swarm, "/Error"));
    page.line("  Is Manager:", on(swarm, "/ControlAvailable"));
    let healthy = text(swarm, "/Error").is_empty() && state != "error";
    if has(swarm, "/Cluster") && on(swarm, "/ControlAvailable") && healthy {
        cluster(page, swarm);
    }
    page.line("  Node Address:", text(swarm, "/NodeAddr"));
    let mut managers: Vec<&str> = list(swarm, "/RemoteManagers")
        .iter()
        .map(|manager| text(manager, "/Addr"))
        .collect();
    managers.sort_unstable();
    page.items("  Manager Addresses:", "   ", &managers);
}

fn cluster(page: &mut Page, swarm: &Value) {
    let cluster = &swarm["Cluster"];
    page.line("  ClusterID:", text(cluster, "/ID"));
    page.line("  Managers:", number(swarm, "/Managers"));
    page.line("  Nodes:", number(swarm, "/Nodes"));
    if has(cluster, "/DefaultAddrPool") {
        let pools = texts(cluster, "/DefaultAddrPool").join("  ");
        page.line("  Default Address Pool:", pools + "  ");
        page.line("  SubnetSize:", number(cluster, "/SubnetSize"));
    }
    if number(cluster, "/DataPathPort") > 0 {
        page.line("  Data Path Port:", number(cluster, "/DataPathPort"));
    }
    let spec = &cluster["Spec"];
    page.heading("  Orchestration:");
    let limit = number(spec, "/Orchestration/TaskHistoryRetentionLimit");
    page.line("   Task History Retention Limit:", limit);
    raft(page, spec);
    page.heading("  Dispatcher:");
    let heartbeat = number(spec, "/Dispatcher/HeartbeatPeriod");
    page.line("   Heartbeat Period:", human::duration(heartbeat));
    authority(page, spec);
    page.line(
        "  Autolock Managers:",
        on(spec, "/EncryptionConfig/AutoLockManagers"),
    );
    page.line(
        "  Root Rotation In Progress:",
        on(cluster, "/RootRotationInProgress"),
    );
}

fn raft(page: &mut Page, spec: &Value) {
    page.heading("  Raft:");
    page.line(
        "   Snapshot Interval:",
        number(spec, "/Raft/SnapshotInterval"),
    );
    if has(spec, "/Raft/KeepOldSnapshots") {
        let kept = number(spec, "/Raft/KeepOldSnapshots");
        page.line("   Number of Old Snapshots to Retain:", kept);
    }
    page.line("   Heartbeat Tick:", number(spec, "/Raft/HeartbeatTick"));
    page.line("   Election Tick:", number(spec, "/Raft/ElectionTick"));
}

fn authority(page: &mut Page, spec: &Value) {
    page.heading("  CA Configuration:");
    let expiry = number(spec, "/CAConfig/NodeCertExpiry");
    page.line("   Expiry Duration:", human::duration(expiry));
    page.line("   Force Rotate:", number(spec, "/CAConfig/ForceRotate"));
    let signing = text(spec, "/CAConfig/SigningCACert").trim();
    if !signing.is_empty() {
        page.heading(&format!("   Signing CA Certificate: \n{signing}\n"));
    }
    let external = list(spec, "/CAConfig/ExternalCAs");
    if !external.is_empty() {
        page.heading("   External CAs:");
        for ca in external {
            page.heading(&format!(
                "     {}: {}",
                text(ca, "/Protocol"),
                text(ca, "/URL")
            ));
        }
    }
}

fn runtimes(page: &mut Page, info: &Value) {
    let names: Vec<&str> = sorted(info, "/Runtimes")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    if !names.is_empty() {
        page.line(" Runtimes:", names.join(" "));
        page.line(" Default Runtime:", text(info, "/DefaultRuntime"));
    }
    if text(info, "/OSType") != "linux" {
        return;
    }
    page.line(" Init Binary:", text(info, "/InitBinary"));
    page.line(" containerd version:", text(info, "/ContainerdCommit/ID"));
    page.line(" runc version:", text(info, "/RuncCommit/ID"));
    page.line(" init version:", text(info, "/InitCommit/ID"));
    let options = texts(info, "/SecurityOptions");
    if options.is_empty() {
        return;
    }
    page.heading(" Security Options:");
    for option in options {
        let pairs: Vec<(&str, &str)> = option
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let find = |key| {
            pairs
                .iter()
                .find(|(k, _)| *k == key)
                .map(|(_, value)| *value)
        };
        page.heading(&format!("  {}", find("name").unwrap_or(option)));
        if let Some(profile) = find("profile") {
            page.line("   Profile:", profile);
        }
    }
}

fn host(page: &mut Page, info: &Value) {
    page.nonempty(" Kernel Version:", text(info, "/KernelVersion"));
    page.nonempty(" Operating System:", text(info, "/OperatingSystem"));
    page.nonempty(" OSType:", text(info, "/OSType"));
    page.nonempty(" Architecture:", text(info, "/Architecture"));
    page.line(" CPUs:", number(info, "/NCPU"));
    page.line(" Total Memory:", human::bytes(number(info, "/MemTotal")));
    page.nonempty(" Name:", text(info, "/Name"));
    page.nonempty(" ID:", text(info, "/ID"));
    page.line(" Docker Root Dir:", text(info, "/DockerRootDir"));
    page.line(" Debug Mode:", on(info, "/Debug"));
    if on(info, "/Debug") {
        page.line("  File Descriptors:", number(info, "/NFd"));
        page.line("  Goroutines:", number(info, "/NGoroutines"));
        page.line("  System Time:", text(info, "/SystemTime"));
        page.line("  EventsListeners:", number(info, "/NEventsListener"));
    }
    page.nonempty(" HTTP Proxy:", text(info, "/HttpProxy"));
    page.nonempty(" HTTPS Proxy:", text(info, "/HttpsProxy"));
    page.nonempty(" No Proxy:", text(info, "/NoProxy"));
    page.items(" Labels:", "  ", &texts(info, "/Labels"));
    page.line(" Experimental:", on(info, "/ExperimentalBuild"));
}

fn registries(page: &mut Page, info: &Value) {
    let insecure = sorted(info, "/RegistryConfig/IndexConfigs")
        .into_iter()
        .filter(|(_, index)| !on(index, "/Secure"))
        .map(|(_, index)| text(index, "/Name"));
    let ranges = texts(info, "/RegistryConfig/InsecureRegistryCIDRs");
    let shown: Vec<&str> = insecure.chain(ranges).collect();
    page.items(" Insecure Registries:", "  ", &shown);
    page.items(
        " Registry Mirrors:",
        "  ",
        &texts(info, "/RegistryConfig/Mirrors"),
    );
}
