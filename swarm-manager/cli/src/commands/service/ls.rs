//! `service ls`.

use serde_json::Value;

use crate::app::App;
use crate::commands::{filter_flag, filter_query, list_format};
use crate::error::Outcome;
use crate::flags::{Flag, Kind, Matches, flag};
use crate::format::natural;
use crate::format::table::{Columns, Row, render};
use crate::format::text::short_id;
use crate::values::image;
use crate::values::object::{has, list, number, text};

const COLUMNS: Columns = Columns {
    headers: &[
        ("ID", "ID"),
        ("Image", "IMAGE"),
        ("Mode", "MODE"),
        ("Name", "NAME"),
        ("Ports", "PORTS"),
        ("Replicas", "REPLICAS"),
    ],
    table: "table {{.ID}}\\t{{.Name}}\\t{{.Mode}}\\t{{.Replicas}}\\t{{.Image}}\\t{{.Ports}}",
    raw: "id: {{.ID}}\\nname: {{.Name}}\\nmode: {{.Mode}}\\nreplicas: {{.Replicas}}\\nimage: {{.Image}}\\nports: {{.Ports}}\\n",
};

pub(super) fn flags() -> Vec<Flag> {
    vec![
        flag("quiet", Kind::Bool, "Only display IDs").short('q'),
        list_format(),
        filter_flag(),
    ]
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let quiet = matches.on("quiet");
    let filters = filter_query(matches);
    let mut query: Vec<(&str, &str)> = filters
        .iter()
        .map(|text| ("filters", text.as_str()))
        .collect();
    if !quiet {
        query.push(("status", "true"));
    }
    let mut services = app.client.list("/services", &query).await?;
    services.sort_by(|a, b| natural::compare(text(a, "/Spec/Name"), text(b, "/Spec/Name")));
    let rows: Vec<Row> = services.iter().map(row).collect();
    app.put(&render(&COLUMNS, matches.text("format"), quiet, &rows)?)
}

fn row(service: &Value) -> Row {
    let image = image::for_table(text(service, "/Spec/TaskTemplate/ContainerSpec/Image"));
    [
        ("ID", short_id(text(service, "/ID")).to_owned()),
        ("Image", image),
        ("Mode", mode(service).to_owned()),
        ("Name", text(service, "/Spec/Name").to_owned()),
        ("Ports", ports(list(service, "/Endpoint/Ports"))),
        ("Replicas", replicas(service)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.into()))
    .collect()
}

fn mode(service: &Value) -> &'static str {
    let modes = [
        ("/Spec/Mode/Global", "global"),
        ("/Spec/Mode/Replicated", "replicated"),
        ("/Spec/Mode/ReplicatedJob", "replicated job"),
        ("/Spec/Mode/GlobalJob", "global job"),
    ];
    modes
        .into_iter()
        .find(|(pointer, _)| has(service, pointer))
        .map_or("", |(_, name)| name)
}

fn replicas(service: &Value) -> String {
    let count = |field: &str| number(service, &format!("/ServiceStatus/{field}"));
    let (running, desired) = (count("RunningTasks"), count("DesiredTasks"));
    let completed = count("CompletedTasks");
    let total = number(service, "/Spec/Mode/ReplicatedJob/TotalCompletions");
    let most = number(service, "/Spec/TaskTemplate/Placement/MaxReplicas");
    match mode(service) {
        "replicated job" => format!("{running}/{desired} ({completed}/{total} completed)"),
        "global job" => {
            format!(
                "{running}/{desired} ({completed}/{} completed)",
                desired + completed
            )
        }
        "replicated" if most > 0 => format!("{running}/{desired} (max {most} per node)"),
        _ => format!("{running}/{desired}"),
    }
}

/// A run of published ports with their targets.
struct Range<'a> {
    published: (i64, i64),
    target: (i64, i64),
    protocol: &'a str,
}

impl Range<'_> {
    fn show(&self) -> String {
        let range = |(first, last): (i64, i64)| {
            if last > first {
                format!("{first}-{last}")
            } else {
                first.to_string()
            }
        };
        format!(
            "*:{}->{}/{}",
            range(self.published),
            range(self.target),
            self.protocol
        )
    }

    /// Whether a port continues this run: consecutive on both sides, or one target behind
    /// consecutive published ports, but never a mix of the two.
    fn takes(&self, published: i64, target: i64, protocol: &str) -> bool {
        let follows = |last: i64, next: i64| (0..=1).contains(&(next - last));
        let is_range = self.target.0 != self.target.1;
        self.protocol == protocol
            && follows(self.published.1, published)
            && follows(self.target.1, target)
            && !(is_range && target <= self.target.1)
    }
}

/// The ports published on every node, neighbours folded: `*:8000-8002->80-82/tcp`.
fn ports(ports: &[Value]) -> String {
    let mut ingress: Vec<(&str, i64, i64)> = ports
        .iter()
        .filter(|port| text(port, "/PublishMode") == "ingress")
        .map(|p| {
            (
                text(p, "/Protocol"),
                number(p, "/PublishedPort"),
                number(p, "/TargetPort"),
            )
        })
        .collect();
    ingress.sort_unstable();
    let mut ranges: Vec<Range<'_>> = Vec::new();
    for (protocol, published, target) in ingress {
        match ranges
            .last_mut()
            .filter(|range| range.takes(published, target, protocol))
        {
            Some(range) => {
                range.published.1 = published;
                range.target.1 = target;
            }
            None => ranges.push(Range {
                published: (published, published),
                target: (target, target),
                protocol,
            }),
        }
    }
    // A port without a number yet is not shown.
    let shown = ranges.iter().filter(|range| range.published.0 > 0);
    shown.map(Range::show).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fold(given: &[(i64, i64, &str)]) -> String {
        let port = |(published, target, protocol): &(i64, i64, &str)| {
            json!({"PublishedPort": published, "TargetPort": target, "Protocol": protocol,
                   "PublishMode": "ingress"})
        };
        ports(&given.iter().map(port).collect::<Vec<_>>())
    }

    #[test]
    fn ports_fold_as_dockers() {
        for (given, expected) in [
            (vec![(8080, 80, "tcp")], "*:8080->80/tcp"),
            (vec![(81, 81, "tcp"), (80, 80, "tcp")], "*:80-81->80-81/tcp"),
            (vec![(80, 80, "tcp"), (81, 80, "tcp")], "*:80-81->80/tcp"),
            (
                vec![(80, 80, "tcp"), (81, 81, "tcp"), (82, 80, "tcp")],
                "*:80-81->80-81/tcp, *:82->80/tcp",
            ),
            (
                vec![(53, 53, "udp"), (53, 53, "tcp")],
                "*:53->53/tcp, *:53->53/udp",
            ),
            (
                vec![(80, 80, "tcp"), (443, 443, "tcp")],
                "*:80->80/tcp, *:443->443/tcp",
            ),
            (vec![(0, 80, "tcp")], ""),
        ] {
            assert_eq!(fold(&given), expected);
        }
        let host = json!({"PublishedPort": 1, "TargetPort": 1, "PublishMode": "host"});
        assert_eq!(ports(&[host]), "");
    }

    #[test]
    fn replicas_per_mode() {
        let service = |mode: Value, most: u64| {
            json!({"Spec": {"Mode": mode, "TaskTemplate": {"Placement": {"MaxReplicas": most}}},
                   "ServiceStatus": {"RunningTasks": 1, "DesiredTasks": 2, "CompletedTasks": 3}})
        };
        for (mode, most, expected) in [
            (json!({"Replicated": {}}), 0, "1/2"),
            (json!({"Replicated": {}}), 1, "1/2 (max 1 per node)"),
            (json!({"Global": {}}), 1, "1/2"),
            (
                json!({"ReplicatedJob": {"TotalCompletions": 4}}),
                0,
                "1/2 (3/4 completed)",
            ),
            (json!({"GlobalJob": {}}), 0, "1/2 (3/5 completed)"),
        ] {
            assert_eq!(replicas(&service(mode, most)), expected);
        }
    }
}
