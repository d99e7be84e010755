//! Flags with the grammar of Docker's command line (pflag): long and short forms, clusters of
//! short flags, `--flag=value`, and the texts of its errors. A command's flags are one constant
//! table; a flag that is not honoured yet says so in its row and is refused when used.

mod parse;
mod usage;

pub(crate) use parse::{FlagError, Matches, parse};
pub(crate) use usage::usage;

use crate::values::{check, go};

/// What a flag's value is. Decides the type name in the help text and the check made when the
/// flag is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Text,
    Int,
    Uint,
    /// A number of 32 bits.
    Uint32,
    Float,
    /// Go's duration.
    Duration,
    /// A duration that may not be negative.
    PositiveDuration,
    /// A number of CPUs.
    Decimal,
    /// A size in bytes.
    Bytes,
    /// Shell words.
    Words,
    /// Any text, repeatable.
    List,
    /// `key[=value]`, repeatable.
    Label,
    /// `NAME[=value]`, repeatable; without a value it is taken from this process's environment.
    Env,
    /// `key=value`, repeatable, kept as a map.
    Map,
    /// Comma separated texts, repeatable.
    Strings,
    /// `name=value`, repeatable.
    Filter,
    /// A published port.
    Port,
    Mount,
    Network,
    /// `host[:port]` of a listener.
    NodeAddr,
    /// An address range, repeatable.
    Cidr,
    ExternalCa,
    /// A file that holds PEM.
    PemFile,
    /// A flag whose value is not looked at yet; carries its type name in the help text.
    Opaque(&'static str),
}

impl Kind {
    /// The type's name in help texts; none for booleans.
    pub(crate) const fn type_name(self) -> &'static str {
        match self {
            Self::Bool => "",
            Self::Text => "string",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Uint32 => "uint32",
            Self::Float => "float",
            Self::Duration | Self::PositiveDuration => "duration",
            Self::Decimal => "decimal",
            Self::Bytes => "bytes",
            Self::Words => "command",
            Self::List | Self::Label | Self::Env => "list",
            Self::Map => "map",
            Self::Strings => "strings",
            Self::Filter => "filter",
            Self::Port => "port",
            Self::Mount => "mount",
            Self::Network => "network",
            Self::NodeAddr => "node-addr",
            Self::Cidr => "ipNetSlice",
            Self::ExternalCa => "external-ca",
            Self::PemFile => "pem-file",
            Self::Opaque(name) => name,
        }
    }

    /// Checks one value and returns it in the form that is kept.
    pub(crate) fn check(self, value: &str) -> Result<String, String> {
        let kept = || value.to_owned();
        match self {
            Self::Bool => go::parse_bool(value).map(|on| on.to_string()),
            Self::Text | Self::List | Self::Map | Self::Strings | Self::Opaque(_) => Ok(kept()),
            Self::Int => go::parse_int(value).map(|_| kept()),
            Self::Uint => go::parse_uint(value, 64).map(|_| kept()),
            Self::Uint32 => go::parse_uint(value, 32).map(|_| kept()),
            Self::Float => go::parse_float(value).map(|_| kept()),
            Self::Duration => crate::values::duration::parse(value).map(|_| kept()),
            Self::PositiveDuration => check::positive_duration(value),
            Self::Decimal => crate::values::cpus::parse(value).map(|_| kept()),
            Self::Bytes => crate::values::size::parse(value).map(|_| kept()),
            Self::Words => crate::values::shell::split(value).map(|_| kept()),
            Self::Label => check::label(value),
            Self::Env => check::env(value),
            Self::Filter => check::filter(value),
            Self::Port => crate::values::publish::parse(value).map(|_| kept()),
            Self::Mount => crate::values::mount::parse(value).map(|_| kept()),
            Self::Network => crate::values::attachment::parse(value).map(|_| kept()),
            Self::NodeAddr => check::node_addr(value),
            Self::Cidr => check::cidr(value),
            Self::ExternalCa => crate::values::external_ca::parse(value).map(|_| kept()),
            Self::PemFile => check::pem_file(value).map_err(|problem| problem.to_string()),
        }
    }
}

/// Which of two commands that share a table take a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Both,
    Create,
    Update,
}

/// One row of a command's flag table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    pub name: &'static str,
    pub short: Option<char>,
    pub kind: Kind,
    /// The value when the flag is not given; empty for none.
    pub default: &'static str,
    pub help: &'static str,
    /// Whether the flag does something already.
    pub honoured: bool,
    pub scope: Scope,
}

/// A row: name, kind, help text.
pub(crate) const fn flag(name: &'static str, kind: Kind, help: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        kind,
        default: "",
        help,
        honoured: true,
        scope: Scope::Both,
    }
}

impl Flag {
    /// Adds a one-letter form.
    pub(crate) const fn short(self, short: char) -> Self {
        Self {
            short: Some(short),
            ..self
        }
    }

    /// Adds a default value.
    pub(crate) const fn default(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    /// The flag exists in Docker and is refused here for now.
    pub(crate) const fn later(self) -> Self {
        Self {
            honoured: false,
            ..self
        }
    }

    /// Only the creating command of a shared table has it.
    pub(crate) const fn create(self) -> Self {
        Self {
            scope: Scope::Create,
            ..self
        }
    }

    /// Only the updating command of a shared table has it.
    pub(crate) const fn update(self) -> Self {
        Self {
            scope: Scope::Update,
            ..self
        }
    }

    /// The flag as error texts name it.
    pub(crate) fn display(&self) -> String {
        self.short.map_or_else(
            || format!("--{}", self.name),
            |short| format!("-{short}, --{}", self.name),
        )
    }
}
