//! What happened, as counters: the end of every program.

use aya_ebpf::bindings::tcx_action_base::{TCX_DROP, TCX_NEXT, TCX_REDIRECT};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use swarm_common::maps::{Event, FlowKey, META_EVENTS, ServiceStats, ServiceStatsKey};
use swarm_common::verdict::{DropReason, Program, Verdict};

use crate::maps::{COUNTERS, DROPS, EVENTS, META, SERVICE_STATS};
use crate::packet::Packet;

/// Counts the outcome and turns it into the action for the kernel.
#[inline(always)]
pub fn finish(
    packet: Packet,
    program: Program,
    length: u32,
    outcome: Result<Verdict, DropReason>,
) -> i32 {
    match outcome {
        Ok(Verdict::Pass) => {
            verdict(program, Verdict::Pass, length);
            TCX_NEXT
        }
        Ok(other) => {
            verdict(program, other, length);
            TCX_REDIRECT
        }
        Err(reason) => {
            verdict(program, Verdict::Drop, length);
            dropped(packet, program, reason);
            TCX_DROP
        }
    }
}

/// Counts one verdict.
#[inline(always)]
pub fn verdict(program: Program, verdict: Verdict, length: u32) {
    let index = swarm_common::verdict::counter_index(program, verdict);
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: this CPU's own element; programs of one CPU do not interrupt each other here.
        let counter = unsafe { &mut *counter };
        counter.packets += 1;
        counter.bytes += u64::from(length);
    }
}

#[inline(always)]
fn dropped(packet: Packet, program: Program, reason: DropReason) {
    if let Some(count) = DROPS.get_ptr_mut(reason.index()) {
        // SAFETY: this CPU's own element.
        unsafe { (*count).packets += 1 };
    }
    let wanted = META
        .get(0)
        .is_some_and(|meta| meta.flags & META_EVENTS != 0);
    if wanted {
        event(packet, program, reason);
    }
}

#[inline(never)]
fn event(packet: Packet, program: Program, reason: DropReason) {
    let flow = crate::parse::ipv4(packet)
        .map_or_else(|_| FlowKey::default(), |parsed| parsed.tuple.forward_key(0));
    if let Some(mut slot) = EVENTS.reserve(0) {
        slot.write(Event {
            // SAFETY: no arguments.
            time_ns: unsafe { bpf_ktime_get_ns() },
            program: program.index(),
            reason: reason.index(),
            ifindex: packet.ifindex(),
            length: packet.len(),
            flow,
            pad: 0,
        });
        slot.submit(0);
    }
}

/// What a service's packet adds to its statistics.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// A packet of a known flow.
    Known,
    /// The first packet of a flow.
    New,
    /// There was no backend.
    Refused,
}

/// Counts a packet of a service.
#[inline(always)]
pub fn service(service: u32, length: u32, served: Served) {
    let key = ServiceStatsKey { service };
    if SERVICE_STATS.get_ptr_mut(key).is_none() {
        // A failure means another CPU was faster or the map is full; both show as a missing row.
        let _full = SERVICE_STATS.insert(key, ServiceStats::default(), 1);
    }
    if let Some(stats) = SERVICE_STATS.get_ptr_mut(key) {
        // SAFETY: this CPU's own element.
        let stats = unsafe { &mut *stats };
        if served == Served::Refused {
            stats.no_backend += 1;
            return;
        }
        stats.packets += 1;
        stats.bytes += u64::from(length);
        if served == Served::New {
            stats.new_flows += 1;
        }
    }
}
