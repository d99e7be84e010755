//! Choice of a backend: the arithmetic the kernel runs, without the look-ups.

use crate::hdr::tcp;
use crate::maps::{
    FLOW_FIN_FORWARD, FLOW_FIN_REPLY, FLOW_RST, FlowValue, MAGLEV_SIZE, MaglevTable,
};

/// Slot of a Maglev table for a flow's hash: always below [`MAGLEV_SIZE`].
///
/// Multiply and shift instead of a remainder: the verifier can follow the bound.
#[inline(always)]
pub const fn maglev_slot(hash: u32) -> u64 {
    (hash as u64 * MAGLEV_SIZE as u64) >> 32
}

/// Number of the backend for a flow's hash; `None` when the service has none.
pub fn choose(table: &MaglevTable, hash: u32) -> Option<u32> {
    let slot = usize::try_from(maglev_slot(hash)).ok()?;
    table
        .backends
        .get(slot)
        .copied()
        .filter(|backend| *backend != 0)
}

/// Whether a packet with these TCP flags opens a connection.
#[inline(always)]
pub const fn opens(flags: u8) -> bool {
    flags & (tcp::SYN | tcp::ACK) == tcp::SYN
}

/// Whether a remembered choice must be made anew: a connection is opened over one that is closing
/// (the client re-uses its port).
#[inline(always)]
pub const fn reselect(state: u8, flags: u8) -> bool {
    opens(flags) && state & (FLOW_FIN_FORWARD | FLOW_FIN_REPLY | FLOW_RST) != 0
}

/// State of a connection after a packet of its initiator.
#[inline(always)]
pub const fn state_forward(state: u8, flags: u8) -> u8 {
    advance(state, flags, FLOW_FIN_FORWARD)
}

/// State of a connection after a packet of the other side.
#[inline(always)]
pub const fn state_reply(state: u8, flags: u8) -> u8 {
    advance(state, flags, FLOW_FIN_REPLY)
}

#[inline(always)]
const fn advance(state: u8, flags: u8, fin: u8) -> u8 {
    let mut state = state;
    if flags & tcp::FIN != 0 {
        state |= fin;
    }
    if flags & tcp::RST != 0 {
        state |= FLOW_RST;
    }
    state
}

/// Seconds without a packet after which a masquerade port may be taken over by another flow.
#[inline(always)]
pub const fn idle_limit_s(value: &FlowValue, proto: u8) -> u32 {
    if value.state != 0 {
        30
    } else if proto == crate::hdr::ipv4::TCP {
        7200
    } else {
        120
    }
}

/// Whether a masquerade port's entry is so old that another flow may take it.
#[inline(always)]
pub const fn is_idle(value: &FlowValue, proto: u8, now_s: u32) -> bool {
    now_s.wrapping_sub(value.seen_s) > idle_limit_s(value, proto)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slots_cover_the_table() {
        assert_eq!(maglev_slot(0), 0);
        assert_eq!(maglev_slot(u32::MAX), MAGLEV_SIZE as u64 - 1);
    }

    #[test]
    fn an_empty_slot_is_no_backend() {
        let mut table = MaglevTable::default();
        assert_eq!(choose(&table, 7), None);
        table.backends[0] = 9;
        assert_eq!(choose(&table, 7), Some(9));
    }

    #[test]
    fn only_a_bare_syn_over_a_closing_flow_chooses_anew() {
        for (state, flags, expected) in [
            (0, tcp::SYN, false),
            (FLOW_FIN_FORWARD, tcp::SYN, true),
            (FLOW_FIN_REPLY, tcp::SYN, true),
            (FLOW_RST, tcp::SYN, true),
            (FLOW_RST, tcp::SYN | tcp::ACK, false),
            (FLOW_FIN_FORWARD | FLOW_FIN_REPLY, tcp::ACK, false),
        ] {
            assert_eq!(reselect(state, flags), expected, "{state} {flags}");
        }
    }

    #[test]
    fn states_accumulate() {
        let state = state_forward(0, tcp::FIN | tcp::ACK);
        assert_eq!(state, FLOW_FIN_FORWARD);
        assert_eq!(
            state_reply(state, tcp::FIN),
            FLOW_FIN_FORWARD | FLOW_FIN_REPLY
        );
        assert_eq!(state_reply(0, tcp::RST), FLOW_RST);
        assert_eq!(state_reply(state, tcp::ACK), state);
    }

    #[test]
    fn masquerade_ports_are_kept_while_in_use() {
        let used = FlowValue {
            seen_s: 1000,
            ..FlowValue::default()
        };
        assert!(!is_idle(&used, 17, 1120));
        assert!(is_idle(&used, 17, 1121));
        assert!(!is_idle(&used, 6, 1121));
        let closing = FlowValue {
            state: FLOW_RST,
            ..used
        };
        assert!(is_idle(&closing, 6, 1031));
    }

    proptest! {
        #[test]
        fn a_slot_is_always_inside(hash: u32) {
            prop_assert!(maglev_slot(hash) < MAGLEV_SIZE as u64);
        }
    }
}
