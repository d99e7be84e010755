//! `--network NAME` and `--network name=N,alias=A,driver-opt=k=v`.

use serde_json::{Map, Value};

use super::{csv, object, publish};

/// A network that a service's tasks are attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Name or ID as the user wrote it.
    pub target: String,
    pub aliases: Vec<String>,
    pub driver_opts: Map<String, Value>,
}

impl Attachment {
    /// The attachment as the Engine API spells it, with the network's ID.
    pub(crate) fn to_json(&self, network_id: &str) -> Value {
        let mut map = Map::new();
        object::put(&mut map, "Target", network_id);
        object::put(&mut map, "Aliases", self.aliases.clone());
        object::put(
            &mut map,
            "DriverOpts",
            Value::Object(self.driver_opts.clone()),
        );
        Value::Object(map)
    }
}

/// Reads one flag value.
pub(crate) fn parse(text: &str) -> Result<Attachment, String> {
    let mut network = Attachment {
        target: String::new(),
        aliases: Vec::new(),
        driver_opts: Map::new(),
    };
    if !publish::has_field(text) {
        text.clone_into(&mut network.target);
        return Ok(network);
    }
    for field in csv::split(text)? {
        let lower = field.to_lowercase();
        let (key, value) = lower
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| format!("invalid field {field}"))?;
        let value = value.trim();
        match key.trim() {
            "name" => value.clone_into(&mut network.target),
            "alias" => network.aliases.push(value.to_owned()),
            "driver-opt" => network.driver_opts.extend([driver_option(value)?]),
            // Docker reads these for containers and drops them for services.
            "ip" | "ip6" | "mac-address" | "link-local-ip" | "gw-priority" => {
                return Err(format!("{} is not supported for services", key.trim()));
            }
            other => return Err(format!("invalid field key {other}")),
        }
    }
    if network.target.is_empty() {
        return Err("network name/id is not specified".to_owned());
    }
    Ok(network)
}

fn driver_option(text: &str) -> Result<(String, Value), String> {
    let (name, option) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("invalid key value pair format in driver options")?;
    Ok((name.trim().to_owned(), option.trim().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_forms() {
        assert_eq!(parse("Back").unwrap().target, "Back");
        let network = parse("name=back,alias=db,alias=sql,driver-opt=a=b").unwrap();
        assert_eq!(network.target, "back");
        assert_eq!(network.aliases, ["db", "sql"]);
        assert_eq!(network.driver_opts["a"], "b");
        for (text, error) in [
            ("alias=x", "network name/id is not specified"),
            ("name=x,foo=y", "invalid field key foo"),
            (
                "name=x,driver-opt=y",
                "invalid key value pair format in driver options",
            ),
            ("name=x,y", "invalid field y"),
            ("name=x,ip=1", "ip is not supported for services"),
        ] {
            assert_eq!(parse(text).unwrap_err(), error, "{text}");
        }
    }
}
