//! The table of tasks that `service ps` and `node ps` share.

use jiff::Timestamp;
use serde_json::Value;

use super::resolve::Names;
use super::{filter_flag, flag};
use crate::app::App;
use crate::error::Outcome;
use crate::flags::{Flag, Kind, Matches};
use crate::format::natural;
use crate::format::table::{Columns, Row, render};
use crate::format::text::{capitalise, ellipsis, short_id};
use crate::format::time;
use crate::values::image;
use crate::values::object::{list, number, text};

const COLUMNS: Columns = Columns {
    headers: &[
        ("CurrentState", "CURRENT STATE"),
        ("DesiredState", "DESIRED STATE"),
        ("Error", "ERROR"),
        ("ID", "ID"),
        ("Image", "IMAGE"),
        ("Name", "NAME"),
        ("Node", "NODE"),
        ("Ports", "PORTS"),
    ],
    table: "table {{.ID}}\\t{{.Name}}\\t{{.Image}}\\t{{.Node}}\\t{{.DesiredState}}\\t{{.CurrentState}}\\t{{.Error}}\\t{{.Ports}}",
    raw: "id: {{.ID}}\\nname: {{.Name}}\\nimage: {{.Image}}\\nnode: {{.Node}}\\ndesired_state: {{.DesiredState}}\\ncurrent_state: {{.CurrentState}}\\nerror: {{.Error}}\\nports: {{.Ports}}\\n",
};

/// The flags of both commands.
pub(super) fn flags() -> Vec<Flag> {
    vec![
        flag("no-trunc", Kind::Bool, "Do not truncate output"),
        flag("no-resolve", Kind::Bool, "Do not map IDs to Names"),
        filter_flag(),
        flag(
            "format",
            Kind::Text,
            "Pretty-print tasks using a Go template",
        ),
        flag("quiet", Kind::Bool, "Only display task IDs").short('q'),
    ]
}

/// Prints tasks, the newest of each slot first and its predecessors indented below it.
pub(super) async fn print(app: &mut App, matches: &Matches, tasks: Vec<Value>) -> Outcome {
    let mut names = Names::new(matches.on("no-resolve"));
    let mut named = Vec::new();
    for task in tasks {
        let service = names.service(app, text(&task, "/ServiceID")).await;
        named.push((task_name(&task, &service), task));
    }
    named.sort_by(|(a, first), (b, second)| {
        let newest = || text(second, "/CreatedAt").cmp(text(first, "/CreatedAt"));
        natural::compare(a, b).then_with(newest)
    });
    let format = matches.text("format");
    let quiet = matches.on("quiet");
    let trunc = !matches.on("no-trunc") && !quiet;
    let indent = if format.is_empty() || format.starts_with("table") {
        " \\_ "
    } else {
        ""
    };
    let mut rows = Vec::new();
    let mut previous = String::new();
    for (name, task) in &named {
        let node = names.node(app, text(task, "/NodeID")).await;
        let shown = if *name == previous {
            format!("{indent}{name}")
        } else {
            name.clone()
        };
        rows.push(row(task, &shown, &node, trunc, app.now()));
        previous.clone_from(name);
    }
    app.put(&render(&COLUMNS, format, quiet, &rows)?)
}

/// `service.slot`; `service.node` for tasks without a slot.
fn task_name(task: &Value, service: &str) -> String {
    match number(task, "/Slot") {
        0 => format!("{service}.{}", text(task, "/NodeID")),
        slot => format!("{service}.{slot}"),
    }
}

fn row(task: &Value, name: &str, node: &str, trunc: bool, now: Timestamp) -> Row {
    let id = text(task, "/ID");
    let full_image = text(task, "/Spec/ContainerSpec/Image");
    let shown_image = if trunc {
        image::for_table(full_image)
    } else {
        full_image.to_owned()
    };
    let age = time::age(text(task, "/Status/Timestamp"), now).to_lowercase();
    let state = capitalise(text(task, "/Status/State"));
    let fields = [
        ("CurrentState", format!("{state} {age} ago")),
        ("DesiredState", capitalise(text(task, "/DesiredState"))),
        ("Error", error(task, trunc)),
        (
            "ID",
            if trunc {
                short_id(id).to_owned()
            } else {
                id.to_owned()
            },
        ),
        ("Image", shown_image),
        ("Name", name.to_owned()),
        ("Node", node.to_owned()),
        ("Ports", ports(task)),
    ];
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}

/// What went wrong, in quotes; nothing when nothing did.
fn error(task: &Value, trunc: bool) -> String {
    let full = text(task, "/Status/Err");
    if full.is_empty() {
        String::new()
    } else if trunc {
        format!("\"{}\"", ellipsis(full, 30))
    } else {
        format!("\"{full}\"")
    }
}

fn ports(task: &Value) -> String {
    let port = |p: &Value| {
        let (published, target) = (number(p, "/PublishedPort"), number(p, "/TargetPort"));
        format!("*:{published}->{target}/{}", text(p, "/Protocol"))
    };
    list(task, "/Status/PortStatus/Ports")
        .iter()
        .map(port)
        .collect::<Vec<_>>()
        .join(",")
}
