//! One line of comma separated values with double quotes, as Docker's long flag values use.

/// Splits one line. A field in double quotes may hold commas, and doubled quotes mean one.
pub(crate) fn split(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let column = line.len() - rest.len() + 1;
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted, column)?,
            None => plain_field(rest, column)?,
        };
        fields.push(field);
        match after {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

type Field<'a> = (String, Option<&'a str>);

fn plain_field(rest: &str, column: usize) -> Result<Field<'_>, String> {
    let (field, after) = match rest.split_once(',') {
        Some((field, after)) => (field, Some(after)),
        None => (rest, None),
    };
    match field.find('"') {
        Some(at) => Err(format!(
            "parse error on line 1, column {}: bare \" in non-quoted-field",
            column + at
        )),
        None => Ok((field.to_owned(), after)),
    }
}

fn quoted_field(quoted: &str, column: usize) -> Result<Field<'_>, String> {
    let mut field = String::new();
    let mut rest = quoted;
    while let Some(at) = rest.find('"') {
        field.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.chars().next() {
            Some('"') => {
                field.push('"');
                rest = &rest[1..];
            }
            Some(',') => return Ok((field, Some(&rest[1..]))),
            None => return Ok((field, None)),
            Some(_) => break,
        }
    }
    let at = column + quoted.len() - rest.len();
    Err(format!(
        "parse error on line 1, column {at}: extraneous or missing \" in quoted-field"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_protect_commas() {
        assert_eq!(split("a=b,c").unwrap(), ["a=b", "c"]);
        assert_eq!(split("\"o=x,y\",z").unwrap(), ["o=x,y", "z"]);
        assert_eq!(split("\"a\"\"b\"").unwrap(), ["a\"b"]);
        assert_eq!(split("a,").unwrap(), ["a", ""]);
        assert!(split("a\"b").is_err());
        assert!(split("\"a").is_err());
        assert!(split("\"a\"b").is_err());
    }
}
