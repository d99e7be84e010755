//! `--external-ca protocol=cfssl,url=https://...[,cacert=FILE]`.

use serde_json::{Map, Value};

use super::{check, csv, object};

/// Reads one flag value into the Engine API's object.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut ca = Map::new();
    let mut options = Map::new();
    let (mut has_protocol, mut has_url) = (false, false);
    for field in csv::split(text)? {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
        match key.to_lowercase().as_str() {
            "protocol" if value.eq_ignore_ascii_case("cfssl") => {
                has_protocol = true;
                object::put(&mut ca, "Protocol", "cfssl");
            }
            "protocol" => return Err(format!("unrecognized external CA protocol {value}")),
            "url" => {
                has_url = true;
                object::put(&mut ca, "URL", value);
            }
            "cacert" => object::put(&mut ca, "CACert", certificate(value)?),
            _ => {
                options.insert(key.to_owned(), value.into());
            }
        }
    }
    if !has_protocol {
        return Err("the external-ca option needs a protocol= parameter".to_owned());
    }
    if !has_url {
        return Err("the external-ca option needs a url= parameter".to_owned());
    }
    object::put(&mut ca, "Options", Value::Object(options));
    Ok(Value::Object(ca))
}

fn certificate(path: &str) -> Result<String, String> {
    check::pem_file(path).map_err(|problem| match problem {
        check::PemProblem::Unreadable(reason) => {
            format!("unable to read CA cert for external CA: {reason}")
        }
        check::PemProblem::NotPem => "CA cert for external CA must be in PEM format".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_certificate_is_said_in_dockers_words() {
        let with = |file: &str| parse(&format!("protocol=cfssl,url=https://x,cacert={file}"));
        assert_eq!(
            with("/no/such/file").unwrap_err(),
            "unable to read CA cert for external CA: open /no/such/file: no such file or directory"
        );
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(
            with(manifest).unwrap_err(),
            "CA cert for external CA must be in PEM format"
        );
    }

    #[test]
    fn protocol_and_url_are_needed() {
        let ca = parse("protocol=cfssl,url=https://x").unwrap();
        assert_eq!(ca["URL"], "https://x");
        assert!(parse("url=https://x").unwrap_err().contains("protocol="));
        assert!(parse("protocol=cfssl").unwrap_err().contains("url="));
        assert!(
            parse("protocol=other,url=x")
                .unwrap_err()
                .contains("unrecognized")
        );
    }
}
