//! Which flows end when an endpoint goes away. Pure.

use std::collections::BTreeSet;

use swarm_common::Addr;
use swarm_common::maps::{EndpointKey, FlowKey, FlowValue};

/// Whether a flow starts at, leads to or is answered by one of the endpoints that are gone.
///
/// A forward entry names its backend in the value, a reply entry in the key; a masqueraded
/// reply names the task in the value.
pub(crate) fn touches(gone: &BTreeSet<EndpointKey>, key: &FlowKey, value: &FlowValue) -> bool {
    let is_gone = |vni: u32, addr: Addr| gone.contains(&EndpointKey { vni, addr });
    is_gone(key.vni, key.src) || is_gone(key.vni, key.dst) || is_gone(value.vni, value.addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(vni: u32, src: [u8; 4], dst: [u8; 4], to: (u32, [u8; 4])) -> (FlowKey, FlowValue) {
        let key = FlowKey {
            vni,
            src: Addr::v4(src),
            dst: Addr::v4(dst),
            ..FlowKey::default()
        };
        let value = FlowValue {
            vni: to.0,
            addr: Addr::v4(to.1),
            ..FlowValue::default()
        };
        (key, value)
    }

    #[test]
    fn only_flows_of_the_endpoint_that_is_gone_end() {
        let client = [10, 0, 1, 3];
        let (vip, backend, other) = ([10, 0, 1, 2], [10, 0, 1, 4], [10, 0, 1, 5]);
        let gone = BTreeSet::from([EndpointKey {
            vni: 4097,
            addr: Addr::v4(backend),
        }]);
        for (name, (key, value), expected) in [
            (
                "to the backend",
                flow(4097, client, vip, (4097, backend)),
                true,
            ),
            (
                "reply of the backend",
                flow(4097, backend, client, (4097, vip)),
                true,
            ),
            (
                "from the backend",
                flow(4097, backend, vip, (4097, other)),
                true,
            ),
            (
                "masqueraded reply",
                flow(0xff_fffc, other, client, (4097, backend)),
                true,
            ),
            (
                "to another backend",
                flow(4097, client, vip, (4097, other)),
                false,
            ),
            (
                "same address, other network",
                flow(4098, backend, client, (4098, vip)),
                false,
            ),
        ] {
            assert_eq!(touches(&gone, &key, &value), expected, "{name}");
        }
    }
}
