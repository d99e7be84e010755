//! Remembered translations: look up, touch, create. What they mean is in `swarm_common::maps`.

use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use swarm_common::flow::FiveTuple;
use swarm_common::lb;
use swarm_common::maps::{FLOW_FORWARD, FLOW_REPLY, FlowKey, FlowValue};

use crate::maps::CONNTRACK;

const NANOSECONDS: u64 = 1_000_000_000;

/// Seconds of the monotonic clock.
#[inline(always)]
pub fn now_s() -> u32 {
    // SAFETY: no arguments.
    (unsafe { bpf_ktime_get_coarse_ns() } / NANOSECONDS) as u32
}

/// The translation of a packet going the way of the flow's initiator.
#[inline(always)]
pub fn forward(tuple: &FiveTuple, vni: u32) -> Option<&'static mut FlowValue> {
    find(tuple, vni, FLOW_FORWARD)
}

/// The translation of a packet that answers.
#[inline(always)]
pub fn reply(tuple: &FiveTuple, vni: u32) -> Option<&'static mut FlowValue> {
    find(tuple, vni, FLOW_REPLY)
}

/// A function of its own: the key would otherwise lie on the stack once per caller.
#[inline(never)]
fn find(tuple: &FiveTuple, vni: u32, direction: u8) -> Option<&'static mut FlowValue> {
    get(&tuple.key(vni, direction))
}

/// The translation with this key.
#[inline(always)]
pub fn get(key: &FlowKey) -> Option<&'static mut FlowValue> {
    // SAFETY: plain data that lives until the program ends. Two CPUs may write `state` and `seen_s` of
    // one flow at once; both are hints, and each write is a single store.
    CONNTRACK
        .get_ptr_mut(key)
        .map(|value| unsafe { &mut *value })
}

/// Creates or replaces a translation; a full map evicts the least recently used one.
#[inline(always)]
pub fn put(key: &FlowKey, value: &FlowValue) {
    // Without the entry the next packet of the flow decides again, to the same result.
    let _full = CONNTRACK.insert(key, value, 0);
}

/// Creates a translation; `false` when there is one already.
#[inline(always)]
pub fn put_new(key: &FlowKey, value: &FlowValue) -> bool {
    CONNTRACK.insert(key, value, 1).is_ok()
}

/// Notes a packet of the flow's initiator.
#[inline(always)]
pub fn touch_forward(value: &mut FlowValue, tcp_flags: u8) {
    let state = if lb::opens(tcp_flags) { 0 } else { value.state };
    update(value, lb::state_forward(state, tcp_flags));
}

/// Notes a packet of the other side.
#[inline(always)]
pub fn touch_reply(value: &mut FlowValue, tcp_flags: u8) {
    let state = lb::state_reply(value.state, tcp_flags);
    update(value, state);
}

/// Writes only what changed: the cache line is shared by all CPUs that see the flow.
#[inline(always)]
fn update(value: &mut FlowValue, state: u8) {
    if value.state != state {
        value.state = state;
    }
    let now = now_s();
    if value.seen_s != now {
        value.seen_s = now;
    }
}
