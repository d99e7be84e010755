//! The small languages inside flag values: numbers and durations as Go reads them, sizes, ports,
//! mounts, networks. Pure: text in, value or Docker's error text out.

pub(crate) mod attachment;
pub(crate) mod check;
pub(crate) mod cpus;
pub(crate) mod csv;
pub(crate) mod duration;
pub(crate) mod external_ca;
pub(crate) mod go;
pub(crate) mod image;
pub(crate) mod mount;
pub(crate) mod object;
pub(crate) mod publish;
pub(crate) mod shell;
pub(crate) mod since;
pub(crate) mod size;
