//! What a service needs from registries: the image's digest, asked through the server, and the
//! user's credentials.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::values::image;
use crate::values::object::{ensure, list, put, text};

/// Gives the image of a spec its tag, and with `pin` also its digest and platforms. Returns the
/// warning to show when the registry cannot be asked; the service is created all the same.
pub(super) async fn resolve(
    app: &App,
    spec: &mut Value,
    pin: bool,
    auth: Option<&str>,
) -> Option<String> {
    let given = text(spec, "/TaskTemplate/ContainerSpec/Image").to_owned();
    let tagged = image::with_tag(&given);
    set_image(spec, &tagged);
    if !pin {
        return None;
    }
    let path = format!("/distribution/{tagged}/json");
    let headers: Vec<(&str, &str)> = auth.iter().map(|auth| ("X-Registry-Auth", *auth)).collect();
    let Ok(found) = app.client.get_with(&path, &[], &headers).await else {
        return Some(warning(&tagged));
    };
    let digest = text(&found, "/Descriptor/digest");
    if !digest.is_empty() {
        set_image(spec, &image::with_digest(&tagged, digest));
    }
    let platforms: Vec<Value> = list(&found, "/Platforms").iter().map(platform).collect();
    if !platforms.is_empty() {
        put(
            ensure(spec, &["TaskTemplate", "Placement"]),
            "Platforms",
            platforms,
        );
    }
    None
}

fn set_image(spec: &mut Value, image: &str) {
    ensure(spec, &["TaskTemplate", "ContainerSpec"]).insert("Image".to_owned(), image.into());
}

/// An `arm` without a variant may be any ARM, so it is left open.
fn platform(found: &Value) -> Value {
    let architecture = text(found, "/architecture");
    let mut platform = Map::new();
    put(
        &mut platform,
        "Architecture",
        if architecture == "arm" {
            ""
        } else {
            architecture
        },
    );
    put(&mut platform, "OS", text(found, "/os"));
    Value::Object(platform)
}

fn warning(image: &str) -> String {
    format!(
        "image {image} could not be accessed on a registry to record\n\
         its digest. Each node will access {image} independently,\n\
         possibly leading to different nodes running different\n\
         versions of the image.\n"
    )
}

/// The `X-Registry-Auth` header for an image from the user's Docker configuration; empty
/// credentials when there are none.
pub(super) fn credentials(image: &str) -> String {
    let registry = image::parse(image).map_or_else(String::new, |reference| reference.registry);
    let found = config().and_then(|config| find(&config, &registry));
    URL_SAFE.encode(found.unwrap_or_else(|| json!({})).to_string())
}

fn config() -> Option<Value> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(std::path::PathBuf::from);
    let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".docker")))?;
    serde_json::from_str(&std::fs::read_to_string(folder.join("config.json")).ok()?).ok()
}

fn find(config: &Value, registry: &str) -> Option<Value> {
    let name = if registry == "docker.io" {
        "https://index.docker.io/v1/"
    } else {
        registry
    };
    let entry = config.get("auths")?.get(name)?;
    let decoded = STANDARD.decode(text(entry, "/auth")).ok()?;
    let pair = String::from_utf8(decoded).ok()?;
    let (user, password) = pair.split_once(':')?;
    let mut auth = json!({"username": user, "password": password, "serveraddress": name});
    put(
        ensure(&mut auth, &[]),
        "identitytoken",
        text(entry, "/identitytoken"),
    );
    Some(auth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_registry() {
        let config = json!({"auths": {
            "https://index.docker.io/v1/": {"auth": "dTpw"},
            "127.0.0.1:5000": {"auth": "YTpiOmM="},
        }});
        assert_eq!(find(&config, "docker.io").unwrap()["username"], "u");
        assert_eq!(find(&config, "127.0.0.1:5000").unwrap()["password"], "b:c");
        assert_eq!(find(&config, "other.io"), None);
        assert_eq!(find(&json!({}), "other.io"), None);
    }

    #[test]
    fn the_warning_is_dockers() {
        assert!(
            warning("x:1").starts_with(
                "image x:1 could not be accessed on a registry to record\nits digest."
            )
        );
        assert_eq!(
            platform(&json!({"architecture": "arm", "os": "linux"})),
            json!({"OS": "linux"})
        );
    }
}
