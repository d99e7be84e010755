//! Runs a parsed template over JSON data.
//!
//! A field the data does not have is falsy in conditions; printing it is an error, so that a
//! mistyped name never prints an empty line.

use serde_json::Value;

use super::parser::{Base, Node, Operand, Pipeline, Place};
use super::show::{show, truth};
use super::{Mode, TemplateError, functions, zeros};

/// A value, or the name of the field that is not there.
#[derive(Debug, Clone)]
enum Found {
    Value(Value),
    Missing {
        field: String,
        path: String,
        place: Place,
    },
}

/// Runs the nodes over `data`.
pub(super) fn run(
    nodes: &[Node],
    data: &Value,
    mode: Mode,
    zeros: bool,
) -> Result<String, TemplateError> {
    let mut scope = Scope {
        variables: vec![(String::new(), data.clone())],
        mode,
        zeros,
        out: String::new(),
    };
    scope.nodes(nodes, data)?;
    Ok(scope.out)
}

struct Scope {
    variables: Vec<(String, Value)>,
    mode: Mode,
    /// Whether fields that were left out have Go's zero value.
    zeros: bool,
    out: String,
}

fn error(place: &Place, action: &str, reason: String) -> TemplateError {
    TemplateError::Data {
        line: place.line,
        column: place.column,
        action: action.to_owned(),
        reason,
    }
}

impl Found {
    fn or_null(self) -> Value {
        match self {
            Self::Value(value) => value,
            Self::Missing { .. } => Value::Null,
        }
    }

    fn or_error(self) -> Result<Value, TemplateError> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Missing { field, path, place } => Err(error(
                &place,
                &path,
                format!("can't evaluate field {field}"),
            )),
        }
    }
}

/// What a range goes over: positions or sorted keys, with what is there.
fn items(value: Value, over: &Pipeline) -> Result<Vec<(Value, Value)>, TemplateError> {
    Ok(match value {
        Value::Null => Vec::new(),
        Value::Array(list) => list
            .into_iter()
            .enumerate()
            .map(|(at, item)| (at.into(), item))
            .collect(),
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.into_iter().collect();
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
            pairs
                .into_iter()
                .map(|(key, item)| (key.into(), item))
                .collect()
        }
        other @ (Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            let reason = format!("range can't iterate over {}", show(&other));
            return Err(error(&over.place, "range", reason));
        }
    })
}

impl Scope {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let depth = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), TemplateError> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?.or_error()?;
                if pipeline.variables.is_empty() {
                    self.out.push_str(&show(&value));
                } else {
                    self.set(pipeline, value);
                }
            }
            Node::If {
                condition,
                then,
                otherwise,
            } => {
                let value = self.pipeline(condition, dot)?.or_null();
                let chosen = if truth(&value) { then } else { otherwise };
                self.block(condition, value, chosen, dot)?;
            }
            Node::With {
                value,
                then,
                otherwise,
            } => {
                let inner = self.pipeline(value, dot)?.or_null();
                if truth(&inner) {
                    self.block(value, inner.clone(), then, &inner)?;
                } else {
                    self.block(value, inner, otherwise, dot)?;
                }
            }
            Node::Range {
                over,
                body,
                otherwise,
            } => self.range(over, body, otherwise, dot)?,
        }
        Ok(())
    }

    /// A block whose variable, if the pipeline declares one, is gone behind it.
    fn block(
        &mut self,
        pipeline: &Pipeline,
        value: Value,
        body: &[Node],
        dot: &Value,
    ) -> Result<(), TemplateError> {
        let depth = self.variables.len();
        self.set(pipeline, value);
        self.nodes(body, dot)?;
        self.variables.truncate(depth);
        Ok(())
    }

    fn range(
        &mut self,
        over: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), TemplateError> {
        let value = self.pipeline(over, dot)?.or_null();
        let items = items(value, over)?;
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, item) in items {
            let depth = self.variables.len();
            match over.variables.as_slice() {
                [] => {}
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
            }
            self.nodes(body, &item)?;
            self.variables.truncate(depth);
        }
        Ok(())
    }

    fn set(&mut self, pipeline: &Pipeline, value: Value) {
        let Some(name) = pipeline.variables.first() else {
            return;
        };
        let known = self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| known == name);
        match known {
            Some((_, slot)) if !pipeline.declares => *slot = value,
            _ => self.variables.push((name.clone(), value)),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Found, TemplateError> {
        let mut carried: Option<Value> = None;
        for (at, command) in pipeline.commands.iter().enumerate() {
            let found = self.command(command, carried.take(), dot)?;
            if at + 1 == pipeline.commands.len() {
                return Ok(found);
            }
            carried = Some(found.or_error()?);
        }
        Ok(Found::Value(Value::Null))
    }

    fn command(
        &mut self,
        operands: &[Operand],
        carried: Option<Value>,
        dot: &Value,
    ) -> Result<Found, TemplateError> {
        let Some((first, rest)) = operands.split_first() else {
            return Ok(Found::Value(Value::Null));
        };
        if let Base::Function(name) = &first.base {
            return self.function(name, first, rest, carried, dot);
        }
        if rest.is_empty() && carried.is_none() {
            return self.operand(first, dot);
        }
        self.method(first, rest, carried, dot)
    }

    /// `.Label "name"`: the one method of a row that takes an argument.
    fn method(
        &mut self,
        first: &Operand,
        rest: &[Operand],
        carried: Option<Value>,
        dot: &Value,
    ) -> Result<Found, TemplateError> {
        let name = match (rest, carried) {
            ([operand], None) => self.operand(operand, dot)?.or_error()?,
            ([], Some(value)) => value,
            _ => Value::Null,
        };
        let labels = dot.get("_labels");
        match (first.fields.as_slice(), name, self.mode, labels) {
            ([label], Value::String(name), Mode::Rows, Some(labels)) if label == "Label" => Ok(
                Found::Value(labels.get(&name).cloned().unwrap_or_else(|| "".into())),
            ),
            ([label], Value::String(name), Mode::Headers, _) if label == "Label" => {
                let last = name.rsplit('.').next().unwrap_or_default();
                Ok(Found::Value(last.replace(['-', '_'], " ").into()))
            }
            _ => {
                let shown = path(first);
                let reason = format!(
                    "{} is not a method but has arguments",
                    shown.trim_start_matches('.')
                );
                Err(error(&first.place, &shown, reason))
            }
        }
    }

    fn function(
        &mut self,
        name: &str,
        at: &Operand,
        rest: &[Operand],
        carried: Option<Value>,
        dot: &Value,
    ) -> Result<Found, TemplateError> {
        let lenient = matches!(name, "and" | "or" | "not" | "eq" | "ne" | "len");
        let mut args = Vec::new();
        for operand in rest {
            let found = self.operand(operand, dot)?;
            args.push(if lenient {
                found.or_null()
            } else {
                found.or_error()?
            });
        }
        args.extend(carried);
        let value = if self.mode == Mode::Headers && is_transparent(name) {
            args.into_iter().find(Value::is_string).unwrap_or_default()
        } else {
            let reason = |why| error(&at.place, name, format!("error calling {name}: {why}"));
            functions::call(name, &args).map_err(reason)?
        };
        Ok(Found::Value(value))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Found, TemplateError> {
        let base = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let undefined = || {
                    error(
                        &operand.place,
                        &format!("${name}"),
                        "undefined variable".into(),
                    )
                };
                known
                    .map(|(_, value)| value.clone())
                    .ok_or_else(undefined)?
            }
            Base::Text(text) => text.as_str().into(),
            Base::Int(number) => (*number).into(),
            Base::Float(number) => (*number).into(),
            Base::Bool(on) => (*on).into(),
            Base::Nil => Value::Null,
            Base::Function(name) => return self.function(name, operand, &[], None, dot),
            Base::Nested(pipeline) => self.pipeline(pipeline, dot)?.or_error()?,
        };
        Ok(fields(base, operand, self.zeros))
    }
}

/// Functions that leave a table's header as it is.
fn is_transparent(name: &str) -> bool {
    matches!(
        name,
        "json" | "title" | "lower" | "upper" | "truncate" | "pad" | "join" | "split"
    )
}

fn fields(base: Value, operand: &Operand, zeros: bool) -> Found {
    let mut current = base;
    let mut parent = "";
    for field in &operand.fields {
        let next =
            member(&mut current, field).or_else(|| zero(&current, parent, field).filter(|_| zeros));
        parent = field;
        match next {
            Some(value) => current = value,
            None => {
                return Found::Missing {
                    field: field.clone(),
                    path: path(operand),
                    place: Place {
                        line: operand.place.line,
                        column: operand.place.column + offset(operand, field),
                    },
                };
            }
        }
    }
    Found::Value(current)
}

/// A field that is there, by its own name or the Engine API's.
fn member(holder: &mut Value, field: &str) -> Option<Value> {
    let map = holder.as_object_mut()?;
    let name = if map.contains_key(field) {
        field
    } else {
        zeros::spelling(field)?
    };
    map.get_mut(name).map(Value::take)
}

/// A field that was left out of an object.
fn zero(holder: &Value, parent: &str, field: &str) -> Option<Value> {
    holder.as_object()?;
    zeros::of(parent, field)
}

/// Go counts an error's column at the failing field of a chain.
fn offset(operand: &Operand, failing: &str) -> usize {
    let before: usize = operand
        .fields
        .iter()
        .take_while(|f| *f != failing)
        .map(|f| f.len() + 1)
        .sum();
    before
}

fn path(operand: &Operand) -> String {
    let base = match &operand.base {
        Base::Variable(name) => format!("${name}"),
        Base::Dot if operand.fields.is_empty() => ".".to_owned(),
        Base::Dot
        | Base::Text(_)
        | Base::Int(_)
        | Base::Float(_)
        | Base::Bool(_)
        | Base::Nil
        | Base::Function(_)
        | Base::Nested(_) => String::new(),
    };
    operand
        .fields
        .iter()
        .fold(base, |path, field| format!("{path}.{field}"))
}
