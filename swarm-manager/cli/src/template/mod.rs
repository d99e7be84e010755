//! The part of Go's text/template that `--format` needs: fields, `range`, `if`, `with`,
//! variables, pipelines, comparisons, and Docker's functions. What is not supported (`define`,
//! `block`, `template`, `break`, `continue`) is an error with the place in the template.

mod eval;
mod functions;
mod lexer;
mod parser;
mod show;
mod zeros;

use serde_json::Value;

/// A template that cannot be used, with where and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// The text is not a template.
    #[error("template: :{line}: {reason}")]
    Syntax { line: usize, reason: String },
    /// The template does not fit the data.
    #[error("template: :{line}:{column}: executing \"\" at <{action}>: {reason}")]
    Data {
        line: usize,
        column: usize,
        action: String,
        reason: String,
    },
}

/// What the template is run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Fields of one object.
    Rows,
    /// A table's headers: functions leave texts as they are.
    Headers,
}

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    nodes: Vec<parser::Node>,
    /// Whether a field that was left out has Go's zero value.
    zeros: bool,
}

impl Template {
    /// Parses a template.
    pub(crate) fn parse(source: &str) -> Result<Self, TemplateError> {
        let tokens = lexer::tokens(source)?;
        Ok(Self {
            nodes: parser::parse(&tokens)?,
            zeros: false,
        })
    }

    /// For an object as the server sent it, in which fields with Go's zero value are left out.
    pub(crate) fn over_object(self) -> Self {
        Self {
            zeros: true,
            ..self
        }
    }

    /// Runs the template over `data`.
    pub(crate) fn execute(&self, data: &Value, mode: Mode) -> Result<String, TemplateError> {
        eval::run(&self.nodes, data, mode, self.zeros)
    }
}

#[cfg(test)]
mod tests;
