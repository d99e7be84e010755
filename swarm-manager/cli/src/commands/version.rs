//! `version`: this client and the server's components.

use serde_json::{Map, Value, json};

use super::{Arguments, Command, Matches, handler, inspect_format, leaf};
use crate::app::App;
use crate::client::NEWEST_API;
use crate::error::{CliError, Outcome};
use crate::format::append;
use crate::format::table::align;
use crate::format::time::ansic;
use crate::template::{Mode, Template};
use crate::values::object::{list, sorted, text};

pub(super) const VERSION: Command = leaf(
    "version",
    "Show the version information",
    "[OPTIONS]",
    Arguments::None,
    (|| vec![inspect_format()], handler!(run)),
);

async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let template = match matches.text("format") {
        "" => None,
        "json" => Some(Template::parse("{{json .}}")?),
        source => Some(Template::parse(source).map_err(CliError::TemplateSyntax)?),
    };
    let answer = app.client.get("/version", &[]).await;
    let negotiated = app.client.version().await.unwrap_or(NEWEST_API);
    let (server, failure) = match answer {
        Ok(server) => (with_engine(server), None),
        Err(error) => (Value::Null, Some(error)),
    };
    let client = client_version(negotiated);
    let shown = match template {
        Some(template) => {
            let data = json!({"Client": client, "Server": server});
            template.execute(&data, Mode::Rows)? + "\n"
        }
        None => show(&client, &server)?,
    };
    app.put(&shown)?;
    failure.map_or(Ok(()), Err)
}

fn client_version((major, minor): (u32, u32)) -> Value {
    json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": format!("{major}.{minor}"),
        "DefaultAPIVersion": format!("{}.{}", NEWEST_API.0, NEWEST_API.1),
        "Os": std::env::consts::OS,
        "Arch": match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other },
    })
}

/// Adds the engine as a component for servers that list none, with its date made readable.
fn with_engine(mut server: Value) -> Value {
    let is_engine = |component: &Value| text(component, "/Name") == "Engine";
    if !list(&server, "/Components").iter().any(is_engine) {
        let mut details = Map::new();
        for field in [
            "ApiVersion",
            "MinAPIVersion",
            "GitCommit",
            "GoVersion",
            "Os",
            "Arch",
            "BuildTime",
        ] {
            details.insert(field.to_owned(), text(&server, &format!("/{field}")).into());
        }
        let experimental = server["Experimental"].as_bool().unwrap_or_default();
        details.insert("Experimental".to_owned(), experimental.to_string().into());
        let engine =
            json!({"Name": "Engine", "Version": text(&server, "/Version"), "Details": details});
        match server["Components"].as_array_mut() {
            Some(components) => components.push(engine),
            None => server["Components"] = json!([engine]),
        }
    }
    for component in server["Components"].as_array_mut().into_iter().flatten() {
        if let Some(built) = component.pointer_mut("/Details/BuildTime") {
            *built = ansic(built.as_str().unwrap_or_default()).into();
        }
    }
    server
}

fn show(client: &Value, server: &Value) -> Result<String, CliError> {
    let (api, newest) = (
        text(client, "/ApiVersion"),
        text(client, "/DefaultAPIVersion"),
    );
    let lower = if api == newest {
        String::new()
    } else {
        format!(" (downgraded from {newest})")
    };
    let mut out = format!(
        "Client:\n Version:\t{}\n API version:\t{api}{lower}\n OS/Arch:\t{}/{}\n",
        text(client, "/Version"),
        text(client, "/Os"),
        text(client, "/Arch"),
    );
    if !server.is_null() {
        let platform = text(server, "/Platform/Name");
        let gap = if platform.is_empty() { "" } else { " " };
        append(&mut out, format_args!("\nServer:{gap}{platform}\n"));
        for component in list(server, "/Components") {
            write_component(&mut out, component);
        }
    }
    align(&out, 20, 1)
}

fn write_component(out: &mut String, component: &Value) {
    let name = text(component, "/Name");
    let detail = |field: &str| text(component, &format!("/Details/{field}"));
    append(
        out,
        format_args!(" {name}:\n  Version:\t{}\n", text(component, "/Version")),
    );
    if name != "Engine" {
        for (key, value) in sorted(component, "/Details") {
            append(
                out,
                format_args!("  {key}:\t{}\n", value.as_str().unwrap_or_default()),
            );
        }
        return;
    }
    let (api, oldest) = (detail("ApiVersion"), detail("MinAPIVersion"));
    // What an engine does not tell is left out: ours is not made by Go, and has no commit of Docker's.
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            append(out, format_args!("  {label}:\t{value}\n"));
        }
    };
    line("API version", &format!("{api} (minimum version {oldest})"));
    line("Go version", detail("GoVersion"));
    line("Git commit", detail("GitCommit"));
    line("Built", detail("BuildTime"));
    line("OS/Arch", &format!("{}/{}", detail("Os"), detail("Arch")));
    line("Experimental", detail("Experimental"));
}
