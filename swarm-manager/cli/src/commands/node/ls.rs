//! `node ls`.

use serde_json::Value;

use crate::app::App;
use crate::commands::{filter_flag, filter_query, list_format};
use crate::error::Outcome;
use crate::flags::{Flag, Kind, Matches, flag};
use crate::format::natural;
use crate::format::table::{Columns, Row, render};
use crate::format::text::capitalise;
use crate::values::object::{has, on, text};

const COLUMNS: Columns = Columns {
    headers: &[
        ("Availability", "AVAILABILITY"),
        ("EngineVersion", "ENGINE VERSION"),
        ("Hostname", "HOSTNAME"),
        ("ID", "ID"),
        ("ManagerStatus", "MANAGER STATUS"),
        ("Self", ""),
        ("Status", "STATUS"),
        ("TLSStatus", "TLS STATUS"),
    ],
    table: "table {{.ID}} {{if .Self}}*{{else}} {{end}}\\t{{.Hostname}}\\t{{.Status}}\\t{{.Availability}}\\t{{.ManagerStatus}}\\t{{.EngineVersion}}",
    raw: "node_id: {{.ID}}\\nhostname: {{.Hostname}}\\nstatus: {{.Status}}\\navailability: {{.Availability}}\\nmanager_status: {{.ManagerStatus}}\\n",
};

pub(super) fn flags() -> Vec<Flag> {
    vec![
        flag("quiet", Kind::Bool, "Only display IDs").short('q'),
        list_format(),
        filter_flag(),
    ]
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let filters = filter_query(matches);
    let query: Vec<(&str, &str)> = filters
        .iter()
        .map(|text| ("filters", text.as_str()))
        .collect();
    let mut nodes = app.client.list("/nodes", &query).await?;
    let quiet = matches.on("quiet");
    let info = if nodes.is_empty() || quiet {
        Value::Null
    } else {
        app.client.get("/info", &[]).await?
    };
    let host = |node: &Value| text(node, "/Description/Hostname").to_owned();
    nodes.sort_by(|a, b| natural::compare(&host(a), &host(b)));
    let rows: Vec<Row> = nodes.iter().map(|node| row(node, &info)).collect();
    app.put(&render(&COLUMNS, matches.text("format"), quiet, &rows)?)
}

fn row(node: &Value, info: &Value) -> Row {
    let manager = if on(node, "/ManagerStatus/Leader") {
        "Leader"
    } else {
        text(node, "/ManagerStatus/Reachability")
    };
    let mut row = Row::new();
    let mut set = |key: &str, value: Value| row.insert(key.to_owned(), value);
    set(
        "Availability",
        capitalise(text(node, "/Spec/Availability")).into(),
    );
    set(
        "EngineVersion",
        text(node, "/Description/Engine/EngineVersion").into(),
    );
    set("Hostname", text(node, "/Description/Hostname").into());
    set("ID", text(node, "/ID").into());
    set("ManagerStatus", capitalise(manager).into());
    let own = text(info, "/Swarm/NodeID");
    set("Self", (!own.is_empty() && text(node, "/ID") == own).into());
    set("Status", capitalise(text(node, "/Status/State")).into());
    set("TLSStatus", tls_status(node, info).into());
    row
}

/// Whether a node's certificates are of the cluster's current root.
fn tls_status(node: &Value, info: &Value) -> &'static str {
    let (own, wanted) = ("/Description/TLSInfo", "/Swarm/Cluster/TLSInfo");
    if !has(info, wanted) || !has(node, own) {
        return "Unknown";
    }
    if node.pointer(own) == info.pointer(wanted) {
        "Ready"
    } else {
        "Needs Rotation"
    }
}
