//! `container ls`, also called `ps`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::app::App;
use crate::commands::{filter_flag, filter_query, list_format};
use crate::error::Outcome;
use crate::flags::{Flag, Kind, Matches, flag};
use crate::format::human;
use crate::format::table::{Columns, Row, render};
use crate::format::text::{ellipsis, short_id};
use crate::format::time;
use crate::values::image;
use crate::values::object::{list, number, sorted, text, texts};

const COLUMNS: Columns = Columns {
    headers: &[
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Labels", "LABELS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Mounts", "MOUNTS"),
        ("Names", "NAMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
        ("Ports", "PORTS"),
        ("RunningFor", "CREATED"),
        ("Size", "SIZE"),
        ("State", "STATE"),
        ("Status", "STATUS"),
    ],
    table: "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}",
    raw: "container_id: {{.ID}}\\nimage: {{.Image}}\\ncommand: {{.Command}}\\ncreated_at: {{.CreatedAt}}\\nstate: {{.State}}\\nstatus: {{.Status}}\\nnames: {{.Names}}\\nlabels: {{.Labels}}\\nports: {{.Ports}}\\n",
};

pub(super) fn flags() -> Vec<Flag> {
    vec![
        flag("quiet", Kind::Bool, "Only display container IDs").short('q'),
        flag("size", Kind::Bool, "Display total file sizes").short('s'),
        flag(
            "all",
            Kind::Bool,
            "Show all containers (default shows just running)",
        )
        .short('a'),
        flag("no-trunc", Kind::Bool, "Don't truncate output"),
        flag(
            "latest",
            Kind::Bool,
            "Show the latest created container (includes all states)",
        )
        .short('l'),
        flag(
            "last",
            Kind::Int,
            "Show n last created containers (includes all states)",
        )
        .short('n')
        .default("-1"),
        list_format(),
        filter_flag(),
    ]
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let quiet = matches.on("quiet");
    if quiet && matches.changed("format") {
        app.warn("WARNING: Ignoring custom format, because both --format and --quiet are set.")?;
    }
    let format = if quiet { "" } else { matches.text("format") };
    let size = matches.on("size") || (!matches.changed("size") && format.contains(".Size"));
    let limit = match matches.int("last").unwrap_or(-1) {
        -1 if matches.on("latest") => 1,
        limit => limit,
    }
    .to_string();
    let filters = filter_query(matches);
    let mut query: Vec<(&str, &str)> = Vec::new();
    if matches.on("all") {
        query.push(("all", "1"));
    }
    if limit != "-1" {
        query.push(("limit", &limit));
    }
    if size {
        query.push(("size", "1"));
    }
    query.extend(filters.iter().map(|text| ("filters", text.as_str())));
    let containers = app.client.list("/containers/json", &query).await?;
    let trunc = !matches.on("no-trunc");
    let rows: Vec<Row> = containers
        .iter()
        .map(|container| row(app, container, trunc))
        .collect();
    let columns = if size && format.is_empty() {
        Columns {
            table: SIZED_TABLE,
            ..COLUMNS
        }
    } else {
        COLUMNS
    };
    app.put(&render(&columns, format, quiet, &rows)?)
}

const SIZED_TABLE: &str = "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}\\t{{.Size}}";

fn row(app: &App, container: &Value, trunc: bool) -> Row {
    let id = text(container, "/Id");
    let created = Timestamp::from_second(number(container, "/Created")).unwrap_or_default();
    let age = human::duration(time::nanos_since(&created.to_string(), app.now()));
    let shown = |full: &str, short: String| if trunc { short } else { full.to_owned() };
    let command = text(container, "/Command");
    let command = shown(command, ellipsis(command, 20));
    let networks = sorted(container, "/NetworkSettings/Networks");
    let networks: Vec<&str> = networks.into_iter().map(|(name, _)| name).collect();
    let local = |mount: &&Value| text(mount, "/Driver") == "local";
    let volumes = list(container, "/Mounts").iter().filter(local).count();
    let mut row: Row = [
        ("Command", format!("{command:?}")),
        ("CreatedAt", time::zoned(created, app.terminal.zone.clone())),
        ("ID", shown(id, short_id(id).to_owned())),
        ("Image", image_name(container, trunc)),
        ("Labels", labels(container)),
        ("LocalVolumes", volumes.to_string()),
        ("Mounts", mounts(container, trunc)),
        ("Names", names(container, trunc)),
        ("Networks", networks.join(",")),
        ("Ports", ports(list(container, "/Ports"))),
        ("RunningFor", format!("{age} ago")),
        ("Size", size(container)),
        ("State", text(container, "/State").to_owned()),
        ("Status", text(container, "/Status").to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.into()))
    .collect();
    let platform = container
        .pointer("/ImageManifestDescriptor/platform")
        .cloned();
    row.insert("Platform".to_owned(), platform.unwrap_or_default());
    row.insert("_labels".to_owned(), container["Labels"].clone());
    row
}

fn labels(container: &Value) -> String {
    let labels = sorted(container, "/Labels");
    let mut pairs: Vec<String> = labels
        .iter()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    pairs.join(",")
}

fn image_name(container: &Value, trunc: bool) -> String {
    let name = text(container, "/Image");
    if name.is_empty() {
        return "<no image>".to_owned();
    }
    if !trunc {
        return name.to_owned();
    }
    let id = short_id(text(container, "/ImageID"));
    if !id.is_empty() && id == short_id(name) {
        return id.to_owned();
    }
    match image::parse(name) {
        Some(mut reference) => {
            reference.digest = None;
            reference.familiar()
        }
        None => name.to_owned(),
    }
}

fn names(container: &Value, trunc: bool) -> String {
    let names: Vec<&str> = texts(container, "/Names")
        .into_iter()
        .map(|n| n.strip_prefix('/').unwrap_or(n))
        .collect();
    // Names with a slash are links; the container's own name has none.
    let own = names.iter().find(|name| trunc && !name.contains('/'));
    own.map_or_else(|| names.join(","), |name| (*name).to_owned())
}

fn mounts(container: &Value, trunc: bool) -> String {
    let name = |mount: &Value| {
        let named = [text(mount, "/Name"), text(mount, "/Source")];
        let name = named
            .into_iter()
            .find(|n| !n.is_empty())
            .unwrap_or_default();
        if trunc {
            ellipsis(name, 15)
        } else {
            name.to_owned()
        }
    };
    list(container, "/Mounts")
        .iter()
        .map(name)
        .collect::<Vec<_>>()
        .join(",")
}

fn size(container: &Value) -> String {
    let written = human::decimal_bytes(number(container, "/SizeRw"));
    match number(container, "/SizeRootFs") {
        0 => written,
        whole => format!("{written} (virtual {})", human::decimal_bytes(whole)),
    }
}

/// `0.0.0.0:80->9090/tcp, 9988/tcp`, with neighbouring ports folded into ranges.
fn ports(ports: &[Value]) -> String {
    let mut sorted: Vec<(i64, &str, i64, &str)> = ports
        .iter()
        .map(|p| {
            (
                number(p, "/PrivatePort"),
                text(p, "/IP"),
                number(p, "/PublicPort"),
                text(p, "/Type"),
            )
        })
        .collect();
    sorted.sort_unstable();
    let mut folded = Folded::default();
    let mut mapped = Vec::new();
    for (private, ip, public, kind) in sorted {
        if !ip.is_empty() && public != private {
            mapped.push(format!(
                "{}->{private}/{kind}",
                with_port(ip, &public.to_string())
            ));
            continue;
        }
        let key = if ip.is_empty() {
            kind.to_owned()
        } else {
            format!("{ip}/{kind}")
        };
        folded.add(key, private);
    }
    let mut shown = folded.finish();
    shown.extend(mapped);
    shown.join(", ")
}

/// Ports that come in ascending order, neighbours of one address and protocol joined.
#[derive(Default)]
struct Folded {
    /// Ranges that may still grow, in the order their keys were first seen.
    open: Vec<(String, i64, i64)>,
    by_key: BTreeMap<String, usize>,
    done: Vec<String>,
}

impl Folded {
    fn add(&mut self, key: String, port: i64) {
        match self.by_key.get(&key).map(|at| &mut self.open[*at]) {
            Some((_, _, last)) if port == *last + 1 => *last = port,
            Some((key, first, last)) => {
                self.done.push(group(key, *first, *last));
                (*first, *last) = (port, port);
            }
            None => {
                self.by_key.insert(key.clone(), self.open.len());
                self.open.push((key, port, port));
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        let rest = self.open.iter();
        self.done
            .extend(rest.map(|(key, first, last)| group(key, *first, *last)));
        self.done
    }
}

fn group(key: &str, first: i64, last: i64) -> String {
    let range = if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    };
    match key.rsplit_once('/') {
        Some((ip, kind)) => format!("{}->{range}/{kind}", with_port(ip, &range)),
        None => format!("{range}/{key}"),
    }
}

fn with_port(ip: &str, port: &str) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn neighbouring_ports_fold() {
        let port = |ip: &str, public: i64, private: i64| json!({"IP": ip, "PublicPort": public, "PrivatePort": private, "Type": "tcp"});
        let open = |private: i64| json!({"PrivatePort": private, "Type": "tcp"});
        assert_eq!(ports(&[open(81), open(80), open(90)]), "80-81/tcp, 90/tcp");
        assert_eq!(ports(&[port("0.0.0.0", 8080, 80)]), "0.0.0.0:8080->80/tcp");
        assert_eq!(
            ports(&[
                port("::", 80, 80),
                port("0.0.0.0", 80, 80),
                port("0.0.0.0", 81, 81)
            ]),
            "0.0.0.0:80-81->80-81/tcp, [::]:80->80/tcp"
        );
        assert_eq!(ports(&[]), "");
    }
}
