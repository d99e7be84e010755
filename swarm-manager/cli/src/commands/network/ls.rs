//! `network ls`.

use serde_json::Value;

use crate::app::App;
use crate::commands::{filter_query, list_format};
use crate::error::Outcome;
use crate::flags::{Flag, Kind, Matches, flag};
use crate::format::natural;
use crate::format::table::{Columns, Row, render};
use crate::format::text::short_id;
use crate::format::time;
use crate::values::object::{on, sorted, text};

const COLUMNS: Columns = Columns {
    headers: &[
        ("CreatedAt", "CREATED AT"),
        ("Driver", "DRIVER"),
        ("ID", "NETWORK ID"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("Name", "NAME"),
        ("Scope", "SCOPE"),
    ],
    table: "table {{.ID}}\\t{{.Name}}\\t{{.Driver}}\\t{{.Scope}}",
    raw: "network_id: {{.ID}}\\nname: {{.Name}}\\ndriver: {{.Driver}}\\nscope: {{.Scope}}\\n",
};

pub(super) fn flags() -> Vec<Flag> {
    vec![
        flag("quiet", Kind::Bool, "Only display network IDs").short('q'),
        flag("no-trunc", Kind::Bool, "Do not truncate the output"),
        list_format(),
        flag(
            "filter",
            Kind::Filter,
            "Provide filter values (e.g. \"driver=bridge\")",
        )
        .short('f'),
    ]
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let filters = filter_query(matches);
    let query: Vec<(&str, &str)> = filters
        .iter()
        .map(|text| ("filters", text.as_str()))
        .collect();
    let mut networks = app.client.list("/networks", &query).await?;
    networks.sort_by(|a, b| natural::compare(text(a, "/Name"), text(b, "/Name")));
    let full = matches.on("no-trunc");
    let rows: Vec<Row> = networks.iter().map(|network| row(network, full)).collect();
    app.put(&render(
        &COLUMNS,
        matches.text("format"),
        matches.on("quiet"),
        &rows,
    )?)
}

fn row(network: &Value, full: bool) -> Row {
    let id = text(network, "/Id");
    let labels = sorted(network, "/Labels");
    let joined: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let mut row: Row = [
        ("CreatedAt", time::go(text(network, "/Created"))),
        ("Driver", text(network, "/Driver").to_owned()),
        (
            "ID",
            if full {
                id.to_owned()
            } else {
                short_id(id).to_owned()
            },
        ),
        ("IPv4", on(network, "/EnableIPv4").to_string()),
        ("IPv6", on(network, "/EnableIPv6").to_string()),
        ("Internal", on(network, "/Internal").to_string()),
        ("Labels", joined.join(",")),
        ("Name", text(network, "/Name").to_owned()),
        ("Scope", text(network, "/Scope").to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.into()))
    .collect();
    row.insert("_labels".to_owned(), network["Labels"].clone());
    row
}
