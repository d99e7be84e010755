//! How values become what the user sees: tables, JSON, ages, sizes. Pure.

use std::fmt::{Arguments, Write as _};

pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod natural;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod time;

/// Appends formatted text. Writing to a `String` cannot fail.
pub(crate) fn append(out: &mut String, text: Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}
