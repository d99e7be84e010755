//! API versions: which ones we speak and how a path names one.

use core::fmt;

use crate::Refusal;

/// A version of the Engine API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u16,
    /// Grows with Docker's releases.
    pub minor: u16,
}

/// The version announced: Docker 28.3 to 28.5. Clients use the lower of this and their own.
pub const CURRENT: ApiVersion = ApiVersion {
    major: 1,
    minor: 51,
};
/// The oldest version answered.
pub const MINIMUM: ApiVersion = ApiVersion {
    major: 1,
    minor: 24,
};
/// From here on the top-level `Networks` of a service specification is ignored.
pub const WITHOUT_LEGACY_NETWORKS: ApiVersion = ApiVersion {
    major: 1,
    minor: 44,
};

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Splits a path into its version (ours if it names none) and the rest.
pub fn split_path(path: &str) -> Result<(ApiVersion, &str), Refusal> {
    let Some((text, rest)) = path
        .strip_prefix("/v")
        .and_then(|tail| tail.find('/').map(|end| tail.split_at(end)))
    else {
        return Ok((CURRENT, path));
    };
    let Some(version) = parse(text) else {
        // `/volumes/x` is a path, not a version.
        return Ok((CURRENT, path));
    };
    if version > CURRENT {
        return Err(Refusal::ClientTooNew {
            requested: text.to_owned(),
            maximum: CURRENT.to_string(),
        });
    }
    if version < MINIMUM {
        return Err(Refusal::ClientTooOld {
            requested: text.to_owned(),
            minimum: MINIMUM.to_string(),
        });
    }
    Ok((version, rest))
}

/// Reads `1.51`.
fn parse(text: &str) -> Option<ApiVersion> {
    let (major, minor) = text.split_once('.')?;
    Some(ApiVersion {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_and_without_version() {
        let minor = |minor| ApiVersion { major: 1, minor };
        for (path, version, rest) in [
            ("/_ping", CURRENT, "/_ping"),
            ("/v1.50/info", minor(50), "/info"),
            (
                "/v1.24/services/v1.2/logs",
                minor(24),
                "/services/v1.2/logs",
            ),
            ("/volumes/x", CURRENT, "/volumes/x"),
            ("/version", CURRENT, "/version"),
        ] {
            assert_eq!(split_path(path), Ok((version, rest)), "{path}");
        }
    }

    #[test]
    fn versions_outside_the_range_are_refused_in_dockers_words() {
        assert_eq!(
            split_path("/v1.99/info").unwrap_err().to_string(),
            "client version 1.99 is too new. Maximum supported API version is 1.51"
        );
        assert_eq!(
            split_path("/v1.10/info").unwrap_err().to_string(),
            "client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
        );
    }
}
