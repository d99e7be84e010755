//! Real hosts: network namespaces, a veth underlay, tasks.
