//! Every program passes the verifier, and the maps look as both sides expect.

use swarm_common::config::Config;

use swarm_tests_bpf::fixture::Fixture;

#[test]
fn every_program_loads() {
    Fixture::load(&Config::UNSET).unwrap();
}
