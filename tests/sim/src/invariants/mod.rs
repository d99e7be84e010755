//! What must hold, one rule a file. Each check says what is wrong; the history keeps the first that breaks.

pub(crate) mod acknowledged_writes_stay;
pub(crate) mod addresses_are_unique;
pub(crate) mod agents_move_forward;
pub(crate) mod allocated_is_live;
pub(crate) mod linearizable;
pub(crate) mod one_leader;
pub(crate) mod removed_are_unheard;
pub(crate) mod same_state;
pub(crate) mod secrets_stay;
pub(crate) mod services_run;
