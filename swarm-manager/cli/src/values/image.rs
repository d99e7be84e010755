//! Image references: `[registry/]path[:tag][@digest]`, short as users write them, normal as they
//! are stored.

const HUB: &str = "docker.io";

/// A reference taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub registry: String,
    pub path: String,
    pub tag: Option<String>,
    pub digest: Option<String>,
}

/// Reads a reference; none when it is not one (the server will say why).
pub(crate) fn parse(text: &str) -> Option<Reference> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    let colon = name.rfind(':').filter(|at| !name[*at..].contains('/'));
    let (name, tag) = colon.map_or((name, None), |at| (&name[..at], Some(&name[at + 1..])));
    let (registry, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => (HUB, name),
    };
    let path = if registry == HUB && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    let valid = path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
        && path != "library/";
    valid.then(|| Reference {
        registry: registry.to_owned(),
        path,
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

fn is_component(part: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    edge(part.chars().next()) && edge(part.chars().last()) && part.chars().all(inner)
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128
        && tag.chars().next().is_some_and(word)
        && tag.chars().all(|c| word(c) || c == '.' || c == '-')
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

impl Reference {
    /// The name as users write it, without the default registry and `library/`.
    fn familiar_name(&self) -> String {
        if self.registry != HUB {
            return format!("{}/{}", self.registry, self.path);
        }
        self.path
            .strip_prefix("library/")
            .unwrap_or(&self.path)
            .to_owned()
    }

    /// The whole reference as users write it.
    pub(crate) fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        for (mark, part) in [(':', &self.tag), ('@', &self.digest)] {
            if let Some(part) = part {
                text.push(mark);
                text.push_str(part);
            }
        }
        text
    }
}

/// Adds `:latest` when neither tag nor digest is given.
pub(crate) fn with_tag(text: &str) -> String {
    match parse(text) {
        Some(mut reference) => {
            if reference.tag.is_none() && reference.digest.is_none() {
                reference.tag = Some("latest".to_owned());
            }
            reference.familiar()
        }
        None => text.to_owned(),
    }
}

/// Pins a reference to a digest, unless it has one.
pub(crate) fn with_digest(text: &str, digest: &str) -> String {
    match parse(text) {
        Some(mut reference) if reference.digest.is_none() => {
            reference.digest = Some(digest.to_owned());
            reference.familiar()
        }
        _ => text.to_owned(),
    }
}

/// The reference as tables show it: without its digest when it has a tag.
pub(crate) fn for_table(text: &str) -> String {
    match parse(text) {
        Some(mut reference) if reference.tag.is_some() => {
            reference.digest = None;
            reference.familiar()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:2414600c5d61c114cad87e4ec8cf936881a0bcdd7924febc7bb2f91bf39260da";

    #[test]
    fn references_read_and_print_as_dockers() {
        assert_eq!(with_tag("busybox"), "busybox:latest");
        assert_eq!(with_tag("docker.io/library/busybox:1"), "busybox:1");
        assert_eq!(with_tag("user/app"), "user/app:latest");
        assert_eq!(with_tag("127.0.0.1:5000/web"), "127.0.0.1:5000/web:latest");
        assert_eq!(with_tag("localhost/web:2"), "localhost/web:2");
        assert_eq!(with_tag("BAD:::"), "BAD:::");
        assert_eq!(
            with_digest("busybox:1", DIGEST),
            format!("busybox:1@{DIGEST}")
        );
        let pinned = format!("busybox:1@{DIGEST}");
        assert_eq!(with_digest(&pinned, "sha256:0"), pinned);
        assert_eq!(for_table(&pinned), "busybox:1");
        assert_eq!(
            for_table(&format!("busybox@{DIGEST}")),
            format!("busybox@{DIGEST}")
        );
    }
}
