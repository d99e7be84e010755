//! A netlink connection to one network namespace.
//!
//! A netlink socket belongs for life to the namespace of the thread that opened it, so a
//! connection into a task is opened on a thread inside the task and driven by the usual runtime.

use rtnetlink::Handle;

use crate::error::NetError;
use crate::netns::Netns;

/// A handle to the kernel's routing tables of one namespace; cheap to clone.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Connects to the namespace of the calling thread. Needs a tokio runtime.
    pub fn open() -> Result<Self, NetError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|source| NetError::System {
                action: "open a netlink socket",
                source,
            })?;
        // Ends by itself once the last handle is dropped.
        drop(tokio::spawn(connection));
        Ok(Self { handle })
    }

    /// Connects to `namespace`.
    pub async fn open_in(namespace: &Netns) -> Result<Self, NetError> {
        let runtime = tokio::runtime::Handle::current();
        namespace
            .run_in_async(move || {
                let _entered = runtime.enter();
                Self::open()
            })
            .await?
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// Names the failed request, for `map_err`.
pub(crate) fn failed(
    action: &'static str,
    object: impl ToString,
) -> impl FnOnce(rtnetlink::Error) -> NetError {
    move |source| NetError::Netlink {
        action,
        object: object.to_string(),
        source,
    }
}
