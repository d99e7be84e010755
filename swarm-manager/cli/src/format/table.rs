//! Lists of objects in the forms `--format` knows: the command's own table, a table with the
//! user's columns, JSON lines, or a Go template.

use std::io::Write;

use serde_json::{Map, Value};
use tabwriter::TabWriter;

use crate::error::CliError;
use crate::template::{Mode, Template};

/// What a list command can print: its columns' headers by field name, and its default table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    /// Field names with their headers, sorted by field name (the order of JSON lines).
    pub headers: &'static [(&'static str, &'static str)],
    /// The template of the default table, with `\t` between columns.
    pub table: &'static str,
    /// The `raw` form; rarely used, kept because scripts use it.
    pub raw: &'static str,
}

/// One object's fields. A field that starts with `_` is for the template engine alone.
pub(crate) type Row = Map<String, Value>;

/// Renders `rows` in the wanted form.
pub(crate) fn render(
    columns: &Columns,
    format: &str,
    quiet: bool,
    rows: &[Row],
) -> Result<String, CliError> {
    let (source, is_table) = source(columns, format, quiet);
    let template = Template::parse(&source)?;
    let mut body = String::new();
    for row in rows {
        // Docker prints an object's fields by name.
        let mut row = row.clone();
        row.sort_keys();
        let value = Value::Object(row);
        body.push_str(&template.execute(&value, Mode::Rows)?);
        body.push('\n');
    }
    if !is_table {
        return Ok(body);
    }
    let headers: Map<String, Value> = columns
        .headers
        .iter()
        .map(|(field, text)| ((*field).to_owned(), (*text).into()))
        .collect();
    let head = template.execute(&Value::Object(headers), Mode::Headers)?;
    align(&format!("{head}\n{body}"), 10, 3)
}

/// The template a format means, and whether its output is a table.
fn source(columns: &Columns, format: &str, quiet: bool) -> (String, bool) {
    let chosen = match (format, quiet) {
        ("" | "table", true) => "{{.ID}}",
        ("" | "table", false) => columns.table,
        ("raw", _) => columns.raw,
        (custom, _) => custom,
    };
    let table = chosen.strip_prefix("table");
    let text = match chosen {
        "json" => "{{json .}}",
        other => table.unwrap_or(other),
    };
    let text = text
        .trim_matches(' ')
        .replace("\\t", "\t")
        .replace("\\n", "\n");
    (text, table.is_some())
}

/// Aligns tab separated cells: columns at least `width` wide, `gap` blanks after the longest cell.
pub(crate) fn align(text: &str, width: usize, gap: usize) -> Result<String, CliError> {
    let mut writer = TabWriter::new(Vec::new())
        .minwidth(width - gap)
        .padding(gap);
    writer.write_all(text.as_bytes())?;
    writer.flush()?;
    let bytes = writer
        .into_inner()
        .map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: Columns = Columns {
        headers: &[("ID", "ID"), ("Name", "NAME")],
        table: "table {{.ID}}\\t{{.Name}}",
        raw: "id: {{.ID}}\\n",
    };

    fn rows() -> Vec<Row> {
        [("kzdtybctfl60", "web"), ("o4", "a-long-name")]
            .map(|(id, name)| json!({"ID": id, "Name": name}).as_object().unwrap().clone())
            .to_vec()
    }

    fn show(format: &str, quiet: bool) -> String {
        render(&COLUMNS, format, quiet, &rows()).unwrap()
    }

    #[test]
    fn every_form_of_format() {
        assert_eq!(
            show("", false),
            "ID             NAME\nkzdtybctfl60   web\no4             a-long-name\n"
        );
        assert_eq!(show("", true), "kzdtybctfl60\no4\n");
        assert_eq!(show("table {{.Name}}", false), "NAME\nweb\na-long-name\n");
        assert_eq!(
            show("table {{upper .Name}}\\t{{.ID}}", true).lines().next(),
            Some("NAME          ID")
        );
        assert_eq!(
            show("json", false),
            "{\"ID\":\"kzdtybctfl60\",\"Name\":\"web\"}\n{\"ID\":\"o4\",\"Name\":\"a-long-name\"}\n"
        );
        assert_eq!(
            show("{{.ID}}: {{.Name}}", false),
            "kzdtybctfl60: web\no4: a-long-name\n"
        );
        assert_eq!(show("raw", false), "id: kzdtybctfl60\n\nid: o4\n\n");
    }

    #[test]
    fn an_unknown_field_is_an_error_even_without_rows_in_a_table() {
        let error = render(&COLUMNS, "table {{.Foo}}", false, &[]);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .starts_with("template parsing error: ")
        );
    }

    #[test]
    fn narrow_columns_are_ten_wide() {
        assert_eq!(
            align("a\tb\nc\td\n", 10, 3).unwrap(),
            "a         b\nc         d\n"
        );
    }
}
