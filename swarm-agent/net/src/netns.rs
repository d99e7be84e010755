//! Persistent network namespaces: one bind-mounted file per namespace below a directory.
//!
//! A thread that must act inside a namespace is a fresh operating-system thread that enters,
//! works and ends. Entering on a tokio worker would move every later task of that worker.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use tokio::sync::oneshot;

use crate::error::NetError;

/// The directory that holds the namespaces of one host, `<run-dir>/netns`.
#[derive(Debug, Clone)]
pub struct NetnsDir {
    path: PathBuf,
}

/// An open network namespace. The descriptor keeps it alive even if its file is deleted.
#[derive(Debug)]
pub struct Netns {
    name: String,
    path: PathBuf,
    file: File,
}

impl NetnsDir {
    /// Uses `path`, creating the directory if needed.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, NetError> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(|source| file_error("create", &path, source))?;
        Ok(Self { path })
    }

    /// The path containerd's runtime is told to join.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens the namespace `name`, creating it if it does not exist.
    ///
    /// A file without a namespace mounted on it is what a reboot leaves behind; it is reused.
    pub fn ensure(&self, name: &str) -> Result<Netns, NetError> {
        if let Some(existing) = self.find(name)? {
            return Ok(existing);
        }
        let path = self.path_of(name);
        File::create(&path).map_err(|source| file_error("create", &path, source))?;
        let target = path.clone();
        on_thread(name, move || mount_new_namespace(&target))??;
        self.find(name)?.ok_or_else(|| NetError::Vanished {
            object: path.display().to_string(),
        })
    }

    /// Opens the namespace `name` if it exists.
    pub fn find(&self, name: &str) -> Result<Option<Netns>, NetError> {
        check_name(name)?;
        let path = self.path_of(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(file_error("open", &path, source)),
        };
        if !is_namespace(&path)? {
            return Ok(None);
        }
        Ok(Some(Netns {
            name: name.to_owned(),
            path,
            file,
        }))
    }

    /// Removes the namespace `name`; a missing one is fine. Processes still inside keep it alive.
    pub fn delete(&self, name: &str) -> Result<(), NetError> {
        check_name(name)?;
        let path = self.path_of(name);
        while path.exists() && is_namespace(&path)? {
            umount2(&path, MntFlags::MNT_DETACH)
                .map_err(|errno| file_error("unmount", &path, errno.into()))?;
        }
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(file_error("remove", &path, source)),
        }
    }

    /// The names of all namespaces in the directory, sorted.
    pub fn list(&self) -> Result<Vec<String>, NetError> {
        let entries =
            fs::read_dir(&self.path).map_err(|source| file_error("list", &self.path, source))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| file_error("list", &self.path, source))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if is_namespace(&entry.path())? {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

impl Netns {
    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NetError> {
        Self::at(Path::new("/proc/thread-self/ns/net"), "current")
    }

    /// Opens a namespace by path, such as `/proc/<pid>/ns/net`.
    pub fn at(path: &Path, name: &str) -> Result<Self, NetError> {
        let file = File::open(path).map_err(|source| file_error("open", path, source))?;
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            file,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Runs `work` on a new thread inside the namespace and blocks until it is done.
    pub fn run_in<T, F>(&self, work: F) -> Result<T, NetError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let file = self.duplicate()?;
        on_thread(&self.name, move || enter(&file).map(|()| work()))?
    }

    /// Runs `work` on a new thread inside the namespace without blocking the runtime.
    pub async fn run_in_async<T, F>(&self, work: F) -> Result<T, NetError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let file = self.duplicate()?;
        let (answer, answered) = oneshot::channel();
        let body = move || {
            // A closed channel means the caller gave up; there is nobody left to tell.
            drop(answer.send(enter(&file).map(|()| work())));
        };
        spawn_thread(&self.name, body)?;
        answered.await.map_err(|_| NetError::NamespaceThread {
            name: self.name.clone(),
        })?
    }

    /// The kernel's number of the namespace, the same that eBPF programs read as netns cookie.
    pub fn cookie(&self) -> Result<u64, NetError> {
        self.run_in(current_cookie)?
    }

    fn duplicate(&self) -> Result<File, NetError> {
        self.file.try_clone().map_err(|source| NetError::System {
            action: "duplicate a namespace",
            source,
        })
    }
}

/// The netns cookie of the calling thread's namespace (`SO_NETNS_COOKIE`, kernel 5.14).
#[expect(unsafe_code, reason = "nix has no SO_NETNS_COOKIE")]
pub fn current_cookie() -> Result<u64, NetError> {
    use std::os::fd::AsRawFd;
    const SO_NETNS_COOKIE: nix::libc::c_int = 71;

    let socket = std::net::UdpSocket::bind("127.0.0.1:0")
        .or_else(|_| std::net::UdpSocket::bind("0.0.0.0:0"))
        .map_err(|source| NetError::System {
            action: "open a socket",
            source,
        })?;
    let mut cookie = 0_u64;
    let mut length: nix::libc::socklen_t = 8;
    // SAFETY: the descriptor is open for the whole call; `cookie` has the eight bytes that
    // `length` states and both outlive the call; the kernel writes no more than `length` bytes.
    let result = unsafe {
        nix::libc::getsockopt(
            socket.as_raw_fd(),
            nix::libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        let source = io::Error::last_os_error();
        Err(NetError::System {
            action: "read the netns cookie",
            source,
        })
    }
}

fn enter(namespace: &File) -> Result<(), NetError> {
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|errno| NetError::System {
        action: "enter a network namespace",
        source: errno.into(),
    })
}

fn mount_new_namespace(target: &Path) -> Result<(), NetError> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| NetError::System {
        action: "create a network namespace",
        source: errno.into(),
    })?;
    // thread-self: only this thread has left the host's namespace.
    let source = Path::new("/proc/thread-self/ns/net");
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .map_err(|errno| file_error("mount a network namespace on", target, errno.into()))
}

fn spawn_thread<F>(name: &str, body: F) -> Result<thread::JoinHandle<()>, NetError>
where
    F: FnOnce() + Send + 'static,
{
    // The kernel shows 15 bytes of a thread's name.
    let label = format!("ns-{}", name.chars().take(12).collect::<String>());
    thread::Builder::new()
        .name(label)
        .spawn(body)
        .map_err(|source| NetError::System {
            action: "start a thread",
            source,
        })
}

fn on_thread<T, F>(name: &str, work: F) -> Result<T, NetError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (answer, answered) = std::sync::mpsc::sync_channel(1);
    let thread = spawn_thread(name, move || {
        // The receiver waits below and cannot be gone before this thread has ended.
        drop(answer.send(work()));
    })?;
    let outcome = thread.join();
    let died = || NetError::NamespaceThread {
        name: name.to_owned(),
    };
    outcome.map_err(|_| died())?;
    answered.try_recv().map_err(|_| died())
}

fn is_namespace(path: &Path) -> Result<bool, NetError> {
    statfs(path)
        .map(|stat| stat.filesystem_type() == NSFS_MAGIC)
        .map_err(|errno| file_error("inspect", path, errno.into()))
}

fn check_name(name: &str) -> Result<(), NetError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !name.is_empty() && !name.starts_with('.') && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(NetError::NamespaceName {
            name: name.to_owned(),
        })
    }
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> NetError {
    NetError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_the_directory() {
        for (name, valid) in [
            ("7k2jx0", true),
            ("web.1-a_b", true),
            ("", false),
            ("..", false),
            (".hidden", false),
            ("a/b", false),
            ("a b", false),
        ] {
            assert_eq!(check_name(name).is_ok(), valid, "{name:?}");
        }
    }
}
