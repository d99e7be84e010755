//! A netlink connection to one network namespace.
//!
//! A netlink socket belongs for life to the namespace of the thread that opened it, so a
//! connection into a task is opened on a thread inside the task and driven by the usual runtime.

use std::sync::Arc;

use futures::{TryStream, TryStreamExt as _};
use rtnetlink::Handle;
use tokio::sync::Mutex;

use crate::error::NetError;
use crate::netns::Netns;

/// A handle to the kernel's routing tables of one namespace; cheap to clone.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: Handle,
    /// The kernel lists one table at a time on a socket and refuses a second list with EBUSY.
    listing: Arc<Mutex<()>>,
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
        Ok(Self {
            handle,
            listing: Arc::default(),
        })
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

    /// Everything that a request lists. The request is sent when it is made, so it is made in here.
    pub(crate) async fn list<T, S>(
        &self,
        request: impl FnOnce(&Handle) -> S,
    ) -> Result<Vec<T>, rtnetlink::Error>
    where
        S: TryStream<Ok = T, Error = rtnetlink::Error>,
    {
        let _alone = self.listing.lock().await;
        request(&self.handle).try_collect().await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lists_that_are_asked_for_at_once_are_all_answered() {
        let netlink = Netlink::open().unwrap();
        let once = || async {
            let netlink = netlink.clone();
            netlink.addresses().await?;
            netlink.links().await?;
            netlink.default_route().await
        };
        let answers = futures::future::join_all((0..50).map(|_| once())).await;
        for answer in answers {
            answer.unwrap();
        }
    }
}
