//! What `service update` changes in a spec. Pure; networks are resolved by the caller. Everything
//! no flag names stays as the server sent it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::spec::{
    RESTART_FLAGS, default_restart_policy, mounts, ports, set_restart_policy, words,
};
use crate::error::CliError;
use crate::flags::Matches;
use crate::values::object::{ensure, from_pairs, has, list, number, put, text, texts};
use crate::values::publish::Port;

/// Changes `spec` as the flags say.
pub(super) fn apply(spec: &mut Value, matches: &Matches) -> Result<(), CliError> {
    labels(ensure(spec, &[]), matches, "label");
    container(ensure(spec, &["TaskTemplate", "ContainerSpec"]), matches)?;
    resources(spec, matches);
    if matches.any_changed(RESTART_FLAGS) {
        let task = ensure(spec, &["TaskTemplate"]);
        let policy = task.entry("RestartPolicy").or_insert(Value::Null);
        if policy.is_null() {
            *policy = default_restart_policy();
        }
        set_restart_policy(policy, matches);
    }
    constraints(spec, matches);
    replicas(spec, matches)?;
    if let Some(mode) = matches.given_text("endpoint-mode") {
        put(ensure(spec, &["EndpointSpec"]), "Mode", mode);
    }
    published(spec, matches);
    if matches.on("force") {
        // A number that differs makes every task differ from its specification.
        let forced = number(spec, "/TaskTemplate/ForceUpdate") + 1;
        put(ensure(spec, &["TaskTemplate"]), "ForceUpdate", forced);
    }
    Ok(())
}

fn container(container: &mut Map<String, Value>, matches: &Matches) -> Result<(), CliError> {
    labels(container, matches, "container-label");
    for (flag, field) in [
        ("image", "Image"),
        ("workdir", "Dir"),
        ("user", "User"),
        ("hostname", "Hostname"),
    ] {
        if let Some(value) = matches.given_text(flag) {
            put(container, field, value);
        }
    }
    for (flag, field) in [("args", "Args"), ("entrypoint", "Command")] {
        if matches.changed(flag) {
            put(container, field, words(matches, flag));
        }
    }
    if matches.any_changed(&["env-add", "env-rm"]) {
        environment(container, matches);
    }
    if matches.any_changed(&["mount-add", "mount-rm"]) {
        edit_mounts(container, matches)?;
    }
    if let Some(grace) = matches.nanos("stop-grace-period") {
        container.insert("StopGracePeriod".to_owned(), grace.into());
    }
    Ok(())
}

/// `--X-add` and `--X-rm` of a map of labels.
fn labels(holder: &mut Map<String, Value>, matches: &Matches, flag: &str) {
    let (add, remove) = (format!("{flag}-add"), format!("{flag}-rm"));
    if !matches.any_changed(&[&add, &remove]) {
        return;
    }
    let labels = holder.entry("Labels").or_insert(Value::Null);
    let labels = ensure(labels, &[]);
    for key in matches.list(&remove) {
        labels.shift_remove(key);
    }
    labels.extend(from_pairs(matches.list(&add)));
}

fn environment(container: &mut Map<String, Value>, matches: &Matches) {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let current = Value::Object(container.clone());
    let removed = matches.list("env-rm");
    let mut kept: Vec<String> = texts(&current, "/Env")
        .into_iter()
        .filter(|variable| !removed.contains(&name(variable)))
        .map(str::to_owned)
        .collect();
    for variable in matches.list("env-add") {
        match kept.iter_mut().find(|known| name(known) == name(variable)) {
            Some(known) => known.clone_from(variable),
            None => kept.push(variable.clone()),
        }
    }
    put(container, "Env", kept);
}

fn edit_mounts(container: &mut Map<String, Value>, matches: &Matches) -> Result<(), CliError> {
    let mut by_target: BTreeMap<String, Value> = BTreeMap::new();
    for mount in mounts(matches, "mount-add") {
        if by_target
            .insert(text(&mount, "/Target").to_owned(), mount)
            .is_some()
        {
            return Err(CliError::refused("duplicate mount target"));
        }
    }
    let current = Value::Object(container.clone());
    for mount in list(&current, "/Mounts") {
        by_target
            .entry(text(mount, "/Target").to_owned())
            .or_insert_with(|| mount.clone());
    }
    for target in matches.list("mount-rm") {
        by_target.remove(target);
    }
    let mut all: Vec<Value> = by_target.into_values().collect();
    // Sorted, so that an unchanged set is an unchanged spec.
    all.sort_by(|a, b| {
        let key = |mount| (text(mount, "/Source"), text(mount, "/Target"));
        key(a).cmp(&key(b))
    });
    put(container, "Mounts", all);
    Ok(())
}

fn resources(spec: &mut Value, matches: &Matches) {
    for (group, flags) in [
        (
            "Limits",
            [
                ("limit-cpu", "NanoCPUs"),
                ("limit-memory", "MemoryBytes"),
                ("limit-pids", "Pids"),
            ],
        ),
        (
            "Reservations",
            [
                ("reserve-cpu", "NanoCPUs"),
                ("reserve-memory", "MemoryBytes"),
                ("", ""),
            ],
        ),
    ] {
        for (flag, field) in flags.into_iter().filter(|(flag, _)| matches.changed(flag)) {
            let value = match field {
                "NanoCPUs" => matches.nano_cpus(flag),
                "MemoryBytes" => matches.bytes(flag),
                _ => matches.int(flag),
            };
            put(
                ensure(spec, &["TaskTemplate", "Resources", group]),
                field,
                value,
            );
        }
    }
}

fn constraints(spec: &mut Value, matches: &Matches) {
    if !matches.any_changed(&["constraint-add", "constraint-rm"]) {
        return;
    }
    let mut all: Vec<String> = texts(spec, "/TaskTemplate/Placement/Constraints")
        .into_iter()
        .map(str::to_owned)
        .chain(matches.list("constraint-add").iter().cloned())
        .filter(|constraint| !matches.list("constraint-rm").contains(constraint))
        .collect();
    all.sort();
    put(
        ensure(spec, &["TaskTemplate", "Placement"]),
        "Constraints",
        all,
    );
}

fn replicas(spec: &mut Value, matches: &Matches) -> Result<(), CliError> {
    let Some(count) = matches.uint("replicas") else {
        return Ok(());
    };
    if !has(spec, "/Mode/Replicated") {
        return Err(CliError::refused(
            "replicas can only be used with replicated mode",
        ));
    }
    ensure(spec, &["Mode", "Replicated"]).insert("Replicas".to_owned(), count.into());
    Ok(())
}

fn published(spec: &mut Value, matches: &Matches) {
    if !matches.any_changed(&["publish-add", "publish-rm"]) {
        return;
    }
    let removed = ports(matches, "publish-rm");
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    let current = list(spec, "/EndpointSpec/Ports");
    let known: Vec<String> = current.iter().map(port_key).collect();
    for port in current {
        if !removed.iter().any(|gone| same_port(port, gone)) {
            all.insert(port_key(port), port.clone());
        }
    }
    for port in ports(matches, "publish-add") {
        let json = port.to_json();
        if !known.contains(&port_key(&json)) {
            all.insert(port_key(&json), json);
        }
    }
    let all: Vec<Value> = all.into_values().collect();
    put(ensure(spec, &["EndpointSpec"]), "Ports", all);
}

fn port_key(port: &Value) -> String {
    let (published, target) = (number(port, "/PublishedPort"), number(port, "/TargetPort"));
    format!(
        "{published}:{target}/{}/{}",
        text(port, "/Protocol"),
        text(port, "/PublishMode")
    )
}

/// Whether a port is one that `--publish-rm` names; what is not written counts as its default.
fn same_port(port: &Value, gone: &Port) -> bool {
    let or = |text: &str, default: &str| if text.is_empty() { default } else { text }.to_owned();
    or(text(port, "/Protocol"), "tcp") == gone.protocol
        && or(text(port, "/PublishMode"), "ingress") == gone.mode
        && number(port, "/TargetPort") == i64::from(gone.target)
}

/// The networks of a spec after removing some ids and adding attachments.
pub(super) fn networks(
    spec: &mut Value,
    removed: &[String],
    added: Vec<(String, Value)>,
) -> Result<(), CliError> {
    let mut all: Vec<Value> = list(spec, "/TaskTemplate/Networks").to_vec();
    if all.is_empty() {
        all = list(spec, "/Networks").to_vec();
    }
    ensure(spec, &[]).shift_remove("Networks");
    all.retain(|network| !removed.iter().any(|id| text(network, "/Target") == id));
    for (name, attachment) in added {
        let target = text(&attachment, "/Target");
        if all.iter().any(|known| text(known, "/Target") == target) {
            return Err(CliError::refused(format!(
                "service is already attached to network {name}"
            )));
        }
        all.push(attachment);
    }
    all.sort_by(|a, b| text(a, "/Target").cmp(text(b, "/Target")));
    put(ensure(spec, &["TaskTemplate"]), "Networks", all);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::commands::service::table;
    use crate::flags::parse;

    fn spec() -> Value {
        json!({
            "Name": "web", "Labels": {"l": "v"}, "Future": {"kept": true},
            "TaskTemplate": {
                "ContainerSpec": {"Image": "busybox:1", "Args": ["httpd"], "Env": ["A=b"],
                    "Mounts": [{"Type": "volume", "Source": "vol1", "Target": "/v"}]},
                "Placement": {"Constraints": ["node.role==worker"]},
            },
            "Mode": {"Replicated": {"Replicas": 2}},
            "EndpointSpec": {"Mode": "vip", "Ports": [{"Protocol": "tcp", "TargetPort": 80,
                "PublishedPort": 8080, "PublishMode": "ingress"}]},
        })
    }

    fn edited(words: &[&str]) -> Result<Value, String> {
        let words: Vec<String> = words
            .iter()
            .chain(&["web"])
            .map(ToString::to_string)
            .collect();
        let matches = parse(&table::update(), &words, true).map_err(|e| e.to_string())?;
        let mut spec = spec();
        apply(&mut spec, &matches).map_err(|e| e.to_string())?;
        Ok(spec)
    }

    #[test]
    fn without_flags_nothing_changes() {
        assert_eq!(edited(&[]).unwrap(), spec());
    }

    #[test]
    fn each_flag_changes_its_field_and_nothing_else() {
        for (words, pointer, value) in [
            (vec!["--force"], "/TaskTemplate/ForceUpdate", json!(1)),
            (
                vec!["--image", "busybox:2"],
                "/TaskTemplate/ContainerSpec/Image",
                json!("busybox:2"),
            ),
            (
                vec!["--args", "sleep 5"],
                "/TaskTemplate/ContainerSpec/Args",
                json!(["sleep", "5"]),
            ),
            (
                vec!["--env-add", "A=c", "--env-add", "D=e"],
                "/TaskTemplate/ContainerSpec/Env",
                json!(["A=c", "D=e"]),
            ),
            (
                vec!["--label-rm", "l", "--label-add", "m=n"],
                "/Labels",
                json!({"m": "n"}),
            ),
            (
                vec!["--replicas", "0"],
                "/Mode/Replicated/Replicas",
                json!(0),
            ),
            (
                vec!["--constraint-add", "node.hostname==a"],
                "/TaskTemplate/Placement/Constraints",
                json!(["node.hostname==a", "node.role==worker"]),
            ),
            (
                vec!["--publish-rm", "80"],
                "/EndpointSpec",
                json!({"Mode": "vip"}),
            ),
            (
                vec!["--publish-add", "53:53/udp"],
                "/EndpointSpec/Ports/0",
                json!({"Protocol": "udp", "TargetPort": 53, "PublishedPort": 53,
                       "PublishMode": "ingress"}),
            ),
            (
                vec!["--mount-add", "type=tmpfs,dst=/t", "--mount-rm", "/v"],
                "/TaskTemplate/ContainerSpec/Mounts",
                json!([{"Type": "tmpfs", "Target": "/t"}]),
            ),
            (
                vec!["--limit-memory", "32m"],
                "/TaskTemplate/Resources",
                json!({"Limits": {"MemoryBytes": 33_554_432}}),
            ),
            (
                vec!["--restart-delay", "1s"],
                "/TaskTemplate/RestartPolicy",
                json!({"Condition": "any", "Delay": 1_000_000_000, "MaxAttempts": 0}),
            ),
            (
                vec!["--endpoint-mode", "dnsrr"],
                "/EndpointSpec/Mode",
                json!("dnsrr"),
            ),
            (
                vec!["--hostname", "x"],
                "/TaskTemplate/ContainerSpec/Hostname",
                json!("x"),
            ),
        ] {
            let changed = edited(&words).unwrap();
            assert_eq!(changed.pointer(pointer), Some(&value), "{words:?}");
            assert_eq!(changed["Future"], json!({"kept": true}));
        }
    }

    #[test]
    fn networks_are_added_by_id_once() {
        let attach = |id: &str| (id.to_owned(), json!({"Target": id}));
        let mut spec = spec();
        networks(&mut spec, &[], vec![attach("n2"), attach("n1")]).unwrap();
        assert_eq!(
            spec["TaskTemplate"]["Networks"],
            json!([{"Target": "n1"}, {"Target": "n2"}])
        );
        let again = networks(&mut spec, &[], vec![attach("n1")]).unwrap_err();
        assert_eq!(
            again.to_string(),
            "service is already attached to network n1"
        );
        networks(&mut spec, &["n1".to_owned(), "n2".to_owned()], vec![]).unwrap();
        assert!(spec["TaskTemplate"].get("Networks").is_none());
    }

    #[test]
    fn replicas_need_a_replicated_service() {
        let mut global = json!({"Mode": {"Global": {}}});
        let words = ["--replicas".to_owned(), "2".to_owned(), "web".to_owned()];
        let matches = parse(&table::update(), &words, true).unwrap();
        assert_eq!(
            apply(&mut global, &matches).unwrap_err().to_string(),
            "replicas can only be used with replicated mode"
        );
    }
}
