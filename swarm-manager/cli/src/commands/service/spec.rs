//! The spec of a new service from its flags. Pure; networks are resolved by the caller.

use serde_json::{Map, Value, json};

use crate::error::CliError;
use crate::flags::Matches;
use crate::values::object::{ensure, from_pairs, put};
use crate::values::{mount, publish, shell};

/// Builds the spec. `networks` are attachments with ids; `env_files` the variables read from files.
pub(super) fn build(
    matches: &Matches,
    networks: Vec<Value>,
    env_files: Vec<String>,
) -> Result<Value, CliError> {
    let mut task = Map::new();
    task.insert("ContainerSpec".to_owned(), container(matches, env_files)?);
    task.insert("Resources".to_owned(), resources(matches));
    if let Some(policy) = restart_policy(matches) {
        task.insert("RestartPolicy".to_owned(), policy);
    }
    let mut placement = Map::new();
    put(&mut placement, "Constraints", matches.list("constraint"));
    task.insert("Placement".to_owned(), Value::Object(placement));
    put(&mut task, "Networks", networks);
    task.insert("ForceUpdate".to_owned(), 0.into());
    Ok(json!({
        "Name": matches.text("name"),
        "Labels": from_pairs(matches.list("label")),
        "TaskTemplate": task,
        "Mode": mode(matches)?,
        "EndpointSpec": endpoint(matches),
    }))
}

fn container(matches: &Matches, env_files: Vec<String>) -> Result<Value, CliError> {
    let (image, args) = matches
        .args
        .split_first()
        .ok_or_else(|| CliError::refused("no image"))?;
    let mut container = Map::new();
    container.insert("Image".to_owned(), image.as_str().into());
    put(
        &mut container,
        "Labels",
        Value::Object(from_pairs(matches.list("container-label"))),
    );
    put(&mut container, "Command", words(matches, "entrypoint"));
    put(&mut container, "Args", args);
    put(&mut container, "Hostname", matches.text("hostname"));
    put(
        &mut container,
        "Env",
        environment(env_files, matches.list("env")),
    );
    put(&mut container, "Dir", matches.text("workdir"));
    put(&mut container, "User", matches.text("user"));
    container.insert("Init".to_owned(), matches.on("init").into());
    put(&mut container, "Mounts", mounts(matches, "mount"));
    if let Some(grace) = matches.nanos("stop-grace-period") {
        container.insert("StopGracePeriod".to_owned(), grace.into());
    }
    container.insert("DNSConfig".to_owned(), json!({}));
    Ok(Value::Object(container))
}

/// A flag's shell words.
pub(super) fn words(matches: &Matches, name: &str) -> Vec<String> {
    shell::split(matches.text(name)).unwrap_or_default()
}

/// A flag's mounts.
pub(super) fn mounts(matches: &Matches, name: &str) -> Vec<Value> {
    matches
        .list(name)
        .iter()
        .filter_map(|text| mount::parse(text).ok())
        .collect()
}

/// A flag's published ports.
pub(super) fn ports(matches: &Matches, name: &str) -> Vec<publish::Port> {
    matches
        .list(name)
        .iter()
        .filter_map(|text| publish::parse(text).ok())
        .flatten()
        .collect()
}

/// Variables in order; a later value of a name replaces the earlier one.
fn environment(files: Vec<String>, flags: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for variable in files.into_iter().chain(flags.iter().cloned()) {
        let name = variable.split('=').next().unwrap_or_default();
        let assigns = format!("{name}=");
        kept.retain(|known| *known == variable || !known.starts_with(&assigns));
        kept.push(variable);
    }
    kept
}

fn resources(matches: &Matches) -> Value {
    let mut limits = Map::new();
    put(&mut limits, "NanoCPUs", matches.nano_cpus("limit-cpu"));
    put(&mut limits, "MemoryBytes", matches.bytes("limit-memory"));
    put(&mut limits, "Pids", matches.int("limit-pids"));
    let mut reservations = Map::new();
    put(
        &mut reservations,
        "NanoCPUs",
        matches.nano_cpus("reserve-cpu"),
    );
    put(
        &mut reservations,
        "MemoryBytes",
        matches.bytes("reserve-memory"),
    );
    json!({"Limits": limits, "Reservations": reservations})
}

/// The flags of the restart policy.
pub(super) const RESTART_FLAGS: &[&str] = &[
    "restart-condition",
    "restart-delay",
    "restart-max-attempts",
    "restart-window",
];

/// The restart policy a swarm gives to services that set none.
pub(super) fn default_restart_policy() -> Value {
    json!({"Condition": "any", "Delay": 5_000_000_000_i64, "MaxAttempts": 0})
}

fn restart_policy(matches: &Matches) -> Option<Value> {
    matches.any_changed(RESTART_FLAGS).then(|| {
        let mut policy = default_restart_policy();
        set_restart_policy(&mut policy, matches);
        policy
    })
}

/// Sets the fields of a restart policy that flags were given for.
pub(super) fn set_restart_policy(policy: &mut Value, matches: &Matches) {
    let policy = ensure(policy, &[]);
    if let Some(condition) = matches.given_text("restart-condition") {
        policy.insert("Condition".to_owned(), condition.into());
    }
    if let Some(delay) = matches.nanos("restart-delay") {
        policy.insert("Delay".to_owned(), delay.into());
    }
    if let Some(attempts) = matches.uint("restart-max-attempts") {
        policy.insert("MaxAttempts".to_owned(), attempts.into());
    }
    if let Some(window) = matches.nanos("restart-window") {
        policy.insert("Window".to_owned(), window.into());
    }
}

fn mode(matches: &Matches) -> Result<Value, CliError> {
    let replicas = matches.uint("replicas");
    let concurrent = matches.uint("max-concurrent");
    let mode = matches.text("mode");
    check_counts(mode, matches)?;
    let mut counts = Map::new();
    match mode {
        "global" => Ok(json!({"Global": {}})),
        "global-job" => Ok(json!({"GlobalJob": {}})),
        "replicated" => {
            // Zero is a number of replicas, so it is sent too.
            counts.extend(replicas.map(|count| ("Replicas".to_owned(), count.into())));
            Ok(json!({"Replicated": counts}))
        }
        "replicated-job" => {
            let most = concurrent.or(replicas);
            counts.extend(most.map(|count| ("MaxConcurrent".to_owned(), count.into())));
            counts.extend(replicas.map(|count| ("TotalCompletions".to_owned(), count.into())));
            Ok(json!({"ReplicatedJob": counts}))
        }
        other => Err(CliError::refused(format!(
            "Unknown mode: {other}, only replicated and global supported"
        ))),
    }
}

/// Refuses counts that the mode has no use for.
fn check_counts(mode: &str, matches: &Matches) -> Result<(), CliError> {
    let global = matches!(mode, "global" | "global-job");
    let most = matches.uint("replicas-max-per-node").unwrap_or_default();
    let reason = if global && matches.uint("replicas").is_some() {
        "replicas can only be used with replicated or replicated-job mode"
    } else if global && most > 0 {
        "replicas-max-per-node can only be used with replicated or replicated-job mode"
    } else if (global || mode == "replicated") && matches.uint("max-concurrent").is_some() {
        "max-concurrent can only be used with replicated-job mode"
    } else {
        return Ok(());
    };
    Err(CliError::refused(reason))
}

fn endpoint(matches: &Matches) -> Value {
    let mut endpoint = Map::new();
    put(
        &mut endpoint,
        "Mode",
        matches.text("endpoint-mode").to_lowercase(),
    );
    let ports: Vec<Value> = ports(matches, "publish")
        .iter()
        .map(publish::Port::to_json)
        .collect();
    put(&mut endpoint, "Ports", ports);
    Value::Object(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::service::table;
    use crate::flags::parse;

    pub(super) fn spec(words: &[&str]) -> Result<Value, String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let matches = parse(&table::create(), &words, false).map_err(|e| e.to_string())?;
        build(&matches, Vec::new(), Vec::new()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_plainest_service_is_dockers() {
        assert_eq!(
            spec(&[
                "--name",
                "job",
                "--mode",
                "replicated-job",
                "--replicas",
                "2",
                "busybox",
                "true"
            ])
            .unwrap(),
            json!({"Name": "job", "Labels": {}, "TaskTemplate": {
                "ContainerSpec": {"Image": "busybox", "Args": ["true"], "Init": false,
                                  "DNSConfig": {}},
                "Resources": {"Limits": {}, "Reservations": {}}, "Placement": {},
                "ForceUpdate": 0},
                "Mode": {"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 2}},
                "EndpointSpec": {"Mode": "vip"}})
        );
    }

    #[test]
    fn every_flag_has_its_field() {
        let spec = spec(&[
            "--replicas",
            "0",
            "--entrypoint",
            "sh -c",
            "-w",
            "/w",
            "-u",
            "1:2",
            "--hostname",
            "h",
            "--stop-grace-period",
            "3s",
            "--container-label",
            "a=b",
            "--limit-cpu",
            "1.5",
            "--limit-pids",
            "9",
            "--reserve-memory",
            "1g",
            "--restart-condition",
            "none",
            "--restart-window",
            "1m",
            "--endpoint-mode",
            "DNSRR",
            "--mount",
            "type=tmpfs,dst=/t",
            "img",
        ])
        .unwrap();
        let container = &spec["TaskTemplate"]["ContainerSpec"];
        assert_eq!(container["Command"], json!(["sh", "-c"]));
        assert_eq!(container["Dir"], "/w");
        assert_eq!(container["User"], "1:2");
        assert_eq!(container["Hostname"], "h");
        assert_eq!(container["StopGracePeriod"], 3_000_000_000_i64);
        assert_eq!(container["Labels"], json!({"a": "b"}));
        assert_eq!(
            container["Mounts"],
            json!([{"Type": "tmpfs", "Target": "/t"}])
        );
        assert_eq!(
            spec["TaskTemplate"]["Resources"],
            json!({"Limits": {"NanoCPUs": 1_500_000_000_i64, "Pids": 9},
                   "Reservations": {"MemoryBytes": 1_073_741_824_i64}})
        );
        assert_eq!(
            spec["TaskTemplate"]["RestartPolicy"],
            json!({"Condition": "none", "Delay": 5_000_000_000_i64, "MaxAttempts": 0,
                   "Window": 60_000_000_000_i64})
        );
        assert_eq!(spec["Mode"], json!({"Replicated": {"Replicas": 0}}));
        assert_eq!(spec["EndpointSpec"], json!({"Mode": "dnsrr"}));
    }

    #[test]
    fn modes_that_do_not_fit_are_refused() {
        for (words, text) in [
            (
                vec!["--mode", "foo", "x"],
                "Unknown mode: foo, only replicated and global supported",
            ),
            (
                vec!["--mode", "global", "--replicas", "2", "x"],
                "replicas can only be used with replicated or replicated-job mode",
            ),
            (
                vec!["--max-concurrent", "2", "x"],
                "max-concurrent can only be used with replicated-job mode",
            ),
        ] {
            assert_eq!(spec(&words).unwrap_err(), text);
        }
    }

    #[test]
    fn a_later_variable_replaces_an_earlier_one() {
        let files = vec!["A=1".to_owned(), "B=2".to_owned()];
        let flags = ["A=3".to_owned(), "C".to_owned()];
        assert_eq!(environment(files, &flags), ["B=2", "A=3", "C"]);
    }
}
