//! Names for ids, asked once per id, and the node called `self`.

use std::collections::BTreeMap;

use crate::app::App;
use crate::error::CliError;
use crate::values::object::text;

/// Looks names up unless told not to.
#[derive(Debug)]
pub(super) struct Names {
    off: bool,
    known: BTreeMap<String, String>,
}

impl Names {
    /// `off` leaves every id as it is.
    pub(super) const fn new(off: bool) -> Self {
        Self {
            off,
            known: BTreeMap::new(),
        }
    }

    /// A node's name, else its host name, else its id.
    pub(super) async fn node(&mut self, app: &App, id: &str) -> String {
        if self.off || id.is_empty() {
            return id.to_owned();
        }
        if let Some(name) = self.known.get(id) {
            return name.clone();
        }
        // A node that is gone keeps its id as name; the table is still worth showing.
        let name = match app.client.get(&format!("/nodes/{id}"), &[]).await {
            Ok(node) => {
                let names = [
                    text(&node, "/Spec/Name"),
                    text(&node, "/Description/Hostname"),
                    id,
                ];
                names
                    .into_iter()
                    .find(|name| !name.is_empty())
                    .unwrap_or_default()
                    .to_owned()
            }
            Err(_) => id.to_owned(),
        };
        self.known.insert(id.to_owned(), name.clone());
        name
    }

    /// A service's name, else its id.
    pub(super) async fn service(&mut self, app: &App, id: &str) -> String {
        if self.off || id.is_empty() {
            return id.to_owned();
        }
        if let Some(name) = self.known.get(id) {
            return name.clone();
        }
        let path = format!("/services/{id}");
        let name = match app.client.get(&path, &[("insertDefaults", "false")]).await {
            Ok(service) => text(&service, "/Spec/Name").to_owned(),
            Err(_) => id.to_owned(),
        };
        self.known.insert(id.to_owned(), name.clone());
        name
    }
}

/// A node reference with `self` replaced by this host's node id.
pub(super) async fn node_reference(app: &App, reference: &str) -> Result<String, CliError> {
    if reference != "self" {
        return Ok(reference.to_owned());
    }
    let info = app.client.get("/info", &[]).await?;
    let id = text(&info, "/Swarm/NodeID");
    if !id.is_empty() {
        return Ok(id.to_owned());
    }
    // Not a manager: a cluster call has the better error.
    app.client.get("/nodes", &[]).await?;
    Err(CliError::refused("node ID not found in /info"))
}
