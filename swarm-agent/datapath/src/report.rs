//! What applying and verifying a plan did, as values and as text for people.

use std::fmt;

/// The outcome of applying a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApplyReport {
    /// Number of this plan: how many have been applied completely to these maps.
    pub generation: u64,
    /// Entries written because they were missing or different.
    pub written: usize,
    /// Entries removed.
    pub removed: usize,
    /// Flows forgotten because one of their endpoints is gone.
    pub flows_forgotten: usize,
}

/// How one entry differs from the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DifferenceKind {
    Missing,
    Changed,
    Unexpected,
}

/// One entry that is not as the plan wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub map: &'static str,
    pub kind: DifferenceKind,
    /// Key and, where there is one, the value found and the value wanted.
    pub key: String,
    pub found: Option<String>,
    pub wanted: Option<String>,
}

/// The outcome of comparing the kernel's maps with a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Entries compared.
    pub compared: usize,
    pub differences: Vec<Difference>,
    /// What a repair did; `None` if none was asked for or needed.
    pub repair: Option<ApplyReport>,
}

impl DifferenceKind {
    fn text(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Unexpected => "unexpected",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.kind.text(), self.map, self.key)?;
        if let Some(found) = &self.found {
            write!(f, " holds {found}")?;
        }
        if let Some(wanted) = &self.wanted {
            write!(f, " should hold {wanted}")?;
        }
        Ok(())
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        write!(
            f,
            "{} entries compared, {} differ",
            self.compared,
            self.differences.len()
        )?;
        if let Some(repair) = self.repair {
            write!(
                f,
                ", {} written, {} removed",
                repair.written, repair.removed
            )?;
        }
        Ok(())
    }
}
