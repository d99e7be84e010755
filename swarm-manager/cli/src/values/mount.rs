//! `--mount type=volume,source=data,target=/var/lib/data,...`, read into the Engine API's object.

use serde_json::{Map, Value};

use super::object::{ensure, put};
use super::{csv, go, size};

/// Reads one flag value.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut mount = Value::Object(Map::new());
    put(ensure(&mut mount, &[]), "Type", "volume");
    for field in csv::split(text)? {
        match field.split_once('=') {
            Some((key, value)) => set(&mut mount, &key.to_lowercase(), value, &field)?,
            None => set_bare(&mut mount, &field)?,
        }
    }
    check(&mount)?;
    Ok(mount)
}

fn set_bare(mount: &mut Value, field: &str) -> Result<(), String> {
    match field.to_lowercase().as_str() {
        "readonly" | "ro" => put(ensure(mount, &[]), "ReadOnly", true),
        "volume-nocopy" => put(volume(mount), "NoCopy", true),
        "bind-nonrecursive" => put(ensure(mount, &["BindOptions"]), "NonRecursive", true),
        _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
    }
    Ok(())
}

/// The volume options; touching one makes the driver's object appear, as in Docker's client.
fn volume(mount: &mut Value) -> &mut Map<String, Value> {
    ensure(mount, &["VolumeOptions", "DriverConfig"]);
    ensure(mount, &["VolumeOptions"])
}

fn set(mount: &mut Value, key: &str, value: &str, field: &str) -> Result<(), String> {
    match key {
        "type" => set_type(mount, value),
        "source" | "src" => put(ensure(mount, &[]), "Source", source(value)),
        "target" | "dst" | "destination" => put(ensure(mount, &[]), "Target", value),
        "readonly" | "ro" => put(ensure(mount, &[]), "ReadOnly", boolean(key, value)?),
        "consistency" => put(ensure(mount, &[]), "Consistency", value.to_lowercase()),
        "bind-propagation" => {
            put(
                ensure(mount, &["BindOptions"]),
                "Propagation",
                value.to_lowercase(),
            );
        }
        "bind-nonrecursive" => {
            put(
                ensure(mount, &["BindOptions"]),
                "NonRecursive",
                boolean(key, value)?,
            );
        }
        "bind-recursive" => recursive(mount, value)?,
        "volume-subpath" => put(volume(mount), "Subpath", value),
        "volume-nocopy" => put(volume(mount), "NoCopy", boolean(key, value)?),
        "volume-label" => pair(mount, &["VolumeOptions", "Labels"], value),
        "volume-driver" => {
            volume(mount);
            put(
                ensure(mount, &["VolumeOptions", "DriverConfig"]),
                "Name",
                value,
            );
        }
        "volume-opt" => pair(mount, &["VolumeOptions", "DriverConfig", "Options"], value),
        "image-subpath" => put(ensure(mount, &["ImageOptions"]), "Subpath", value),
        "tmpfs-size" => {
            let bytes =
                size::parse(value).map_err(|_| format!("invalid value for {key}: {value}"))?;
            put(ensure(mount, &["TmpfsOptions"]), "SizeBytes", bytes);
        }
        "tmpfs-mode" => {
            let mode = u32::from_str_radix(value, 8)
                .map_err(|_| format!("invalid value for {key}: {value}"))?;
            put(ensure(mount, &["TmpfsOptions"]), "Mode", mode);
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

/// Keeps an empty type as an empty text, so that [`check`] can name it.
fn set_type(mount: &mut Value, value: &str) {
    ensure(mount, &[]).insert("Type".to_owned(), Value::from(value.to_lowercase()));
}

fn pair(mount: &mut Value, path: &[&str], text: &str) {
    volume(mount);
    let map = ensure(mount, path);
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if !key.is_empty() {
        map.insert(key.to_owned(), Value::from(value));
    }
}

fn recursive(mount: &mut Value, value: &str) -> Result<(), String> {
    let options = match value {
        "enabled" => return Ok(()),
        "disabled" => "NonRecursive",
        "writable" => "ReadOnlyNonRecursive",
        "readonly" => "ReadOnlyForceRecursive",
        _ => {
            return Err(format!(
                "invalid value for bind-recursive: {value} \
                 (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
            ));
        }
    };
    put(ensure(mount, &["BindOptions"]), options, true);
    Ok(())
}

/// A source that starts with a dot is relative to the working directory.
fn source(value: &str) -> String {
    if !value.starts_with('.') {
        return value.to_owned();
    }
    let absolute = std::path::absolute(value)
        .ok()
        .and_then(|path| clean(&path));
    absolute.unwrap_or_else(|| value.to_owned())
}

/// Removes `.` and `..` without looking at the disk.
fn clean(path: &std::path::Path) -> Option<String> {
    use std::path::{Component, PathBuf};
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            cleaned.pop();
        } else if part != Component::CurDir {
            cleaned.push(part);
        }
    }
    cleaned.to_str().map(str::to_owned)
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    go::parse_bool(value).map_err(|_| format!("invalid value for {key}: {value}"))
}

fn check(mount: &Value) -> Result<(), String> {
    let kind = mount["Type"].as_str().unwrap_or_default();
    if kind.is_empty() {
        return Err("type is required".to_owned());
    }
    if mount.get("Target").is_none() {
        return Err("target is required".to_owned());
    }
    for (options, prefix, of) in [
        ("VolumeOptions", "volume", "volume"),
        ("ImageOptions", "image", "image"),
        ("BindOptions", "bind", "bind"),
        ("TmpfsOptions", "tmpfs", "tmpfs"),
    ] {
        if mount.get(options).is_some() && kind != of {
            return Err(format!(
                "cannot mix '{prefix}-*' options with mount type '{kind}'"
            ));
        }
    }
    check_recursive(mount)
}

fn check_recursive(mount: &Value) -> Result<(), String> {
    let bind = &mount["BindOptions"];
    let read_only = mount["ReadOnly"] == true;
    let needs = |mode: &str, what: &str| {
        Err(format!(
            "option 'bind-recursive={mode}' requires '{what}' to be specified in conjunction"
        ))
    };
    if bind["ReadOnlyNonRecursive"] == true && !read_only {
        return needs("writable", "readonly");
    }
    if bind["ReadOnlyForceRecursive"] == true {
        if !read_only {
            return needs("readonly", "readonly");
        }
        if bind["Propagation"] != "rprivate" {
            return needs("readonly", "bind-propagation=rprivate");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mounts_become_the_apis_objects() {
        for (text, mount) in [
            (
                "type=volume,src=vol1,dst=/v",
                json!({"Type": "volume", "Source": "vol1", "Target": "/v"}),
            ),
            (
                "type=bind,source=/a,target=/b,ro",
                json!({"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true}),
            ),
            (
                "type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1770",
                json!({"Type": "tmpfs", "Target": "/t",
                       "TmpfsOptions": {"SizeBytes": 67_108_864, "Mode": 0o1770}}),
            ),
            (
                "dst=/v,volume-driver=local,volume-opt=type=nfs,\"volume-opt=o=a,b\"",
                json!({"Type": "volume", "Target": "/v", "VolumeOptions": {"DriverConfig":
                       {"Name": "local", "Options": {"type": "nfs", "o": "a,b"}}}}),
            ),
            (
                "dst=/v,readonly=false,volume-nocopy",
                json!({"Type": "volume", "Target": "/v",
                       "VolumeOptions": {"DriverConfig": {}, "NoCopy": true}}),
            ),
        ] {
            assert_eq!(parse(text).unwrap(), mount, "{text}");
        }
    }

    #[test]
    fn bad_mounts_have_dockers_texts() {
        for (text, error) in [
            ("type=foo", "target is required"),
            ("type=bind,x", "invalid field 'x' must be a key=value pair"),
            ("foo=bar", "unexpected key 'foo' in 'foo=bar'"),
            ("dst=/x,readonly=maybe", "invalid value for readonly: maybe"),
            (
                "dst=/x,tmpfs-size=1m",
                "cannot mix 'tmpfs-*' options with mount type 'volume'",
            ),
            (
                "type=bind,dst=/x,volume-nocopy",
                "cannot mix 'volume-*' options with mount type 'bind'",
            ),
            (
                "type=tmpfs,dst=/x,tmpfs-size=abc",
                "invalid value for tmpfs-size: abc",
            ),
            (
                "type=tmpfs,dst=/x,tmpfs-mode=9",
                "invalid value for tmpfs-mode: 9",
            ),
            ("type=,dst=/x", "type is required"),
            (
                "type=bind,dst=/x,bind-recursive=writable",
                "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn a_relative_source_is_made_absolute() {
        let here = std::env::current_dir().unwrap();
        let mount = parse("type=bind,src=./a/../b,dst=/x").unwrap();
        assert_eq!(mount["Source"], here.join("b").to_str().unwrap());
    }
}
