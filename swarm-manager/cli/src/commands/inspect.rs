//! Printing objects as the server sent them: indented, on one line, or through a template.

use serde_json::Value;

use crate::app::App;
use crate::error::{CliError, Outcome, join};
use crate::format::json;
use crate::template::{Mode, Template};

/// Collects the objects of one `inspect`.
pub(super) struct Inspector {
    form: Form,
    objects: Vec<String>,
}

enum Form {
    Indented,
    Compact,
    Template(Template),
}

impl Inspector {
    /// Chooses the form by `--format`.
    pub(super) fn new(format: &str) -> Result<Self, CliError> {
        let form = match format {
            "" => Form::Indented,
            "json" => Form::Compact,
            source => Form::Template(Template::parse(source)?.over_object()),
        };
        Ok(Self {
            form,
            objects: Vec::new(),
        })
    }

    /// Adds an object in the server's own text.
    pub(super) fn add(&mut self, raw: &str) -> Result<(), CliError> {
        match &self.form {
            Form::Indented => self.objects.push(raw.trim().to_owned()),
            Form::Compact => {
                let value: Value = serde_json::from_str(raw).map_err(|source| CliError::Json {
                    route: "inspect".to_owned(),
                    source,
                })?;
                self.objects.push(json::compact(&value));
            }
            Form::Template(template) => {
                let value: Value = serde_json::from_str(raw).map_err(|source| CliError::Json {
                    route: "inspect".to_owned(),
                    source,
                })?;
                self.objects.push(template.execute(&value, Mode::Rows)?);
            }
        }
        Ok(())
    }

    /// Everything to print.
    pub(super) fn finish(self) -> String {
        match self.form {
            Form::Template(_) if self.objects.is_empty() => "\n".to_owned(),
            Form::Template(_) => {
                self.objects.join(
                    "
",
                ) + "
"
            }
            Form::Compact => format!("[{}]\n", self.objects.join(",")),
            Form::Indented => format!(
                "{}\n",
                json::indent(&format!("[{}]", self.objects.join(",")))
            ),
        }
    }
}

/// Prints what was found, then fails with what was not.
pub(super) fn print(app: &mut App, format: &str, found: Vec<Result<String, CliError>>) -> Outcome {
    let mut inspector = Inspector::new(format)?;
    let mut errors = Vec::new();
    for object in found {
        if let Err(error) = object.and_then(|raw| inspector.add(&raw)) {
            errors.push(error);
        }
    }
    app.put(&inspector.finish())?;
    join(errors)
}
