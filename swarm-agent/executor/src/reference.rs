//! Image references: what the user writes (`web:1`, `host:5000/a/b@sha256:...`) made complete the way
//! Docker does (`docker.io/library/web:1`). Pure parsing, no registry is asked.

use std::fmt;

use crate::Error;

const DEFAULT_DOMAIN: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
const MAX_TAG_LENGTH: usize = 128;
const MAX_NAME_LENGTH: usize = 255;

/// A complete reference. Equal references name the same thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl ImageReference {
    /// Fills in what is left out: domain `docker.io`, folder `library`, tag `latest`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fail = |reason| Error::InvalidReference {
            reference: text.to_owned(),
            reason,
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(fail("the digest is not sha256: and 64 hexadecimal digits"));
        }
        let (name, tag) = split_tag(rest);
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(fail("invalid tag"));
        }
        let (domain, path) = split_domain(name);
        let path = complete_path(domain, path).map_err(fail)?;
        let tag = tag.map(str::to_owned);
        let tag = if digest.is_none() {
            tag.or_else(|| Some(DEFAULT_TAG.to_owned()))
        } else {
            tag
        };
        Ok(Self {
            domain: domain.to_owned(),
            path,
            tag,
            digest: digest.map(str::to_owned),
        })
    }

    /// `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// `sha256:...`.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The name without tag and digest as Docker shows it: without what it filled in.
    pub fn familiar_name(&self) -> String {
        if self.domain == DEFAULT_DOMAIN {
            self.path
                .strip_prefix("library/")
                .unwrap_or(&self.path)
                .to_owned()
        } else {
            format!("{}/{}", self.domain, self.path)
        }
    }

    pub(crate) fn to_oci(&self, digest: Option<&str>) -> oci_client::Reference {
        let (domain, path) = (self.domain.clone(), self.path.clone());
        if let Some(digest) = digest.or_else(|| self.digest()) {
            return oci_client::Reference::with_digest(domain, path, digest.to_owned());
        }
        let tag = self.tag.clone().unwrap_or_else(|| DEFAULT_TAG.to_owned());
        oci_client::Reference::with_tag(domain, path, tag)
    }
}

/// The complete form: the name an image is stored under.
impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A colon after the last slash starts a tag; one before it is a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rfind(':') {
        Some(at) if !text[at..].contains('/') => (&text[..at], Some(&text[at + 1..])),
        Some(_) | None => (text, None),
    }
}

/// Docker's rule: the first part is a host if it has a dot or colon, is `localhost`, or has capitals.
fn split_domain(name: &str) -> (&str, &str) {
    if let Some((first, rest)) = name.split_once('/') {
        let host = first.contains(['.', ':'])
            || first == "localhost"
            || first.bytes().any(|b| b.is_ascii_uppercase());
        if host {
            let domain = if first == "index.docker.io" {
                DEFAULT_DOMAIN
            } else {
                first
            };
            return (domain, rest);
        }
    }
    (DEFAULT_DOMAIN, name)
}

/// The path with Docker's `library` folder where it is left out; the error is the reason.
fn complete_path(domain: &str, path: &str) -> Result<String, &'static str> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("repository name must be lowercase");
    }
    if !path.split('/').all(is_path_component) {
        return Err("invalid repository name");
    }
    let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    if domain.len() + 1 + path.len() > MAX_NAME_LENGTH {
        return Err("repository name must not be more than 255 characters");
    }
    Ok(path)
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG_LENGTH
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = text.split(alphanumeric).filter(|s| !s.is_empty());
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && separators
            .into_iter()
            .all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_completed_as_docker_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, complete, familiar) in [
            ("busybox", "docker.io/library/busybox:latest", "busybox"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox"),
            ("user/app", "docker.io/user/app:latest", "user/app"),
            (
                "index.docker.io/user/app:1",
                "docker.io/user/app:1",
                "user/app",
            ),
            ("localhost/app", "localhost/app:latest", "localhost/app"),
            (
                "localhost:5000/app:v1",
                "localhost:5000/app:v1",
                "localhost:5000/app",
            ),
            (
                "10.0.0.1:5000/a/b__c/d-e--f",
                "10.0.0.1:5000/a/b__c/d-e--f:latest",
                "10.0.0.1:5000/a/b__c/d-e--f",
            ),
            (
                "ghcr.io/x/y.z:A_b-1.2",
                "ghcr.io/x/y.z:A_b-1.2",
                "ghcr.io/x/y.z",
            ),
            (
                &format!("app@{digest}"),
                &format!("docker.io/library/app@{digest}"),
                "app",
            ),
            (
                &format!("app:1@{digest}"),
                &format!("docker.io/library/app:1@{digest}"),
                "app",
            ),
        ] {
            let reference = ImageReference::parse(text).unwrap();
            assert_eq!(reference.to_string(), complete, "{text}");
            assert_eq!(reference.familiar_name(), familiar, "{text}");
            assert_eq!(
                ImageReference::parse(complete).unwrap(),
                reference,
                "{text}"
            );
        }
    }

    #[test]
    fn bad_references_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "invalid repository name"),
            ("BAD:::", "invalid tag"),
            ("Busybox", "repository name must be lowercase"),
            ("a//b", "invalid repository name"),
            ("a/-b", "invalid repository name"),
            ("a:", "invalid tag"),
            ("a:.x", "invalid tag"),
            (
                "a@sha256:12",
                "the digest is not sha256: and 64 hexadecimal digits",
            ),
            ("localhost:5000/", "invalid repository name"),
            (
                &"a".repeat(300),
                "repository name must not be more than 255 characters",
            ),
        ] {
            let error = ImageReference::parse(text).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("invalid reference format: {reason}"),
                "{text}"
            );
        }
    }
}
