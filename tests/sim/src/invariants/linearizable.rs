//! Reads and writes are linearizable. The log is the order; so an operation that began after another one had ended must not
//! see, or be written at, an earlier place (`docs/consensus.md`, rule 7).

use crate::history::History;

/// What clients know for certain.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The latest place that a client was told of.
    floor: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
}

/// An operation begins: the place it must not fall behind.
pub(crate) fn begin(history: &History) -> u64 {
    history.order.floor
}

/// A read that began at `floor` saw the state at `index`.
pub(crate) fn read(history: &mut History, floor: u64, index: u64) -> Result<(), String> {
    history.order.reads += 1;
    history.order.floor = history.order.floor.max(index);
    if index < floor {
        return Err(format!(
            "a read saw the state at {index}, but {floor} was confirmed to a client before the read began"
        ));
    }
    Ok(())
}

/// A write that began at `floor` was acknowledged at `index`.
pub(crate) fn write(history: &mut History, floor: u64, index: u64) -> Result<(), String> {
    history.order.writes += 1;
    history.order.floor = history.order.floor.max(index);
    if index <= floor {
        return Err(format!(
            "a write was put at {index}, but {floor} was confirmed to a client before the write began"
        ));
    }
    Ok(())
}
