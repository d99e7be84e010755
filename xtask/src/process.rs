//! Child processes: how they are found, started and judged. Every child gets a `PATH` on which
//! cargo's own tools, the project's and the system's administrative programs are found, because
//! root's `PATH` under `su` or in a minimal container lacks some of them.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, bail};

use crate::workspace;

/// A command in the workspace's root with the search path of [`search_path`].
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(workspace::root())
        .env("PATH", search_path());
    command
}

/// Cargo, as rustup or the system gives it. A build in another target directory is told where
/// the eBPF object is; in the usual place the agent finds it by itself.
pub(crate) fn cargo() -> Command {
    let mut cargo = command("cargo");
    if env::var_os("CARGO_TARGET_DIR").is_some() {
        cargo.env("SWARM_EBPF_OBJECT", workspace::ebpf_object());
    }
    cargo
}

/// Runs to the end with the terminal attached; a failure names the command.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("{} ({status})", shown(command));
    }
    Ok(())
}

/// Runs to the end with the terminal attached and gives how it ended.
pub(crate) fn status(command: &mut Command) -> anyhow::Result<ExitStatus> {
    command
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))
}

/// Runs to the end, quietly; the output comes back, and with a failure it is in the error.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{} ({})\n{text}{errors}", shown(command), output.status);
    }
    Ok(text)
}

/// Becomes the command: signals from the terminal then reach it and nothing in between.
pub(crate) fn become_command(command: &mut Command) -> anyhow::Error {
    let error = command.exec();
    anyhow::Error::new(error).context(format!("cannot start {}", shown(command)))
}

/// Where a program is on [`search_path`], if anywhere.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    find_in(env::split_paths(&search_path()), program)
}

fn find_in(folders: impl Iterator<Item = PathBuf>, program: &str) -> Option<PathBuf> {
    folders
        .map(|folder| folder.join(program))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The caller's `PATH`, then cargo's tools, the project's and the system's.
fn search_path() -> OsString {
    let given = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&given).collect();
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let more = cargo_home.map(|home| home.join("bin")).into_iter().chain([
        workspace::tools().join("bin"),
        PathBuf::from("/usr/sbin"),
        PathBuf::from("/sbin"),
    ]);
    for folder in more {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    env::join_paths(folders).unwrap_or(given)
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_the_first_folder_that_has_it_as_an_executable() {
        let folders = || {
            ["/nonexistent", "/bin", "/usr/bin"]
                .into_iter()
                .map(PathBuf::from)
        };
        assert_eq!(find_in(folders(), "sh"), Some(PathBuf::from("/bin/sh")));
        assert_eq!(find_in(folders(), "no-such-program"), None);
        assert_eq!(
            find_in([PathBuf::from("/etc")].into_iter(), "passwd"),
            None,
            "not executable"
        );
    }

    #[test]
    fn administrative_programs_are_on_the_search_path() {
        let folders: Vec<PathBuf> = env::split_paths(&search_path()).collect();
        assert!(folders.contains(&PathBuf::from("/usr/sbin")));
        assert!(folders.contains(&workspace::tools().join("bin")));
    }
}
