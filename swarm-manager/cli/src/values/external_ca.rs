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
            "cacert" => object::put(&mut ca, "CACert", check::pem_file(value)?),
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

#[cfg(test)]
mod tests {
    use super::*;

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
