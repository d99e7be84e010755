//! Compiles swarm/v1/*.proto with protox (no protoc needed) into `OUT_DIR`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: [&str; 7] = [
        "swarm/v1/types.proto",
        "swarm/v1/control.proto",
        "swarm/v1/dispatcher.proto",
        "swarm/v1/ca.proto",
        "swarm/v1/raft.proto",
        "swarm/v1/local.proto",
        "swarm/v1/logs.proto",
    ];
    println!("cargo:rerun-if-changed=swarm/v1");
    let descriptors = protox::compile(FILES, ["."])?;
    let mut config = tonic_prost_build::Config::new();
    // Ordered maps, so that equal objects encode equally.
    config.btree_map(["."]);
    // These carry tokens or keys; `src/redacted.rs` prints them without.
    config.skip_debug([
        ".swarm.v1.UnlockKey",
        ".swarm.v1.UnlockRequest",
        ".swarm.v1.NodeKey",
        ".swarm.v1.RootCa",
        ".swarm.v1.IssueNodeCertificateRequest",
        ".swarm.v1.UpdateClusterRequest",
    ]);
    tonic_prost_build::configure().compile_fds_with_config(descriptors, config)?;
    state_reasons(&Path::new(&std::env::var("OUT_DIR")?).join("swarm.v1.rs"))?;
    Ok(())
}

/// Gives the generated `allow`s the reason that our lints ask for.
fn state_reasons(generated: &Path) -> std::io::Result<()> {
    let text = std::fs::read_to_string(generated)?;
    let text = text.replace(
        "#[allow(non_camel_case_types)]",
        "#[allow(non_camel_case_types, reason = \"generated code\")]",
    );
    let text = text.replace(
        "clippy::let_unit_value,\n    )]",
        "clippy::let_unit_value,\n        reason = \"generated code\"\n    )]",
    );
    std::fs::write(generated, text)
}
