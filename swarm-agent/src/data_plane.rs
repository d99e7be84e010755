//! The data plane behind one thread: collects what changed (assignments, interfaces that came or went), plans once for all of
//! it, has the kernel's maps follow, and answers everybody who waited. aya's calls block, so they stay off the runtime.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use swarm_agent_datapath::{DataPath, DataPathError};
use swarm_core::{
    datapath::{DesiredMaps, LocalFacts, LocalInterface, Owner, plan},
    dispatch::Assignments,
};
use tokio::sync::oneshot;
use tracing::{error, warn};

/// Why packets' ways could not be programmed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum DataPlaneError {
    /// The kernel refused.
    #[error("{0}")]
    Kernel(String),
    /// There is no plan to compare with.
    #[error("no assignments have arrived yet")]
    NothingAssigned,
    /// The thread is gone.
    #[error("the data plane was taken down")]
    Down,
}

type Reply = oneshot::Sender<Result<(), DataPlaneError>>;

/// What the next plan takes into account.
#[derive(Debug)]
enum Change {
    Attach(Owner, Vec<LocalInterface>),
    Detach(Owner),
    Assign(Box<Assignments>),
    Addresses(Vec<(IpAddr, u32)>),
}

#[derive(Debug)]
enum Request {
    Change(Change, Reply),
    Verify(oneshot::Sender<Result<String, DataPlaneError>>),
    Destroy(Reply),
}

/// A handle to the data plane's thread. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct DataPlane {
    requests: Sender<Request>,
}

impl DataPlane {
    /// Moves the opened data path onto its thread.
    pub(crate) fn start(datapath: DataPath, facts: LocalFacts) -> io::Result<Self> {
        let (requests, inbox) = channel();
        let plane = Plane {
            datapath,
            facts,
            interfaces: BTreeMap::new(),
            assignments: None,
        };
        thread::Builder::new()
            .name(String::from("data-plane"))
            .spawn(move || plane.run(&inbox))?;
        Ok(Self { requests })
    }

    /// Takes an owner's interfaces into the data path; they replace those it had.
    pub(crate) async fn attach(
        &self,
        owner: Owner,
        interfaces: Vec<LocalInterface>,
    ) -> Result<(), DataPlaneError> {
        self.change(Change::Attach(owner, interfaces)).await
    }

    /// Takes an owner's interfaces out of the data path.
    pub(crate) async fn detach(&self, owner: Owner) -> Result<(), DataPlaneError> {
        self.change(Change::Detach(owner)).await
    }

    /// Follows new assignments; returns when the kernel's maps do.
    pub(crate) async fn assign(&self, assignments: Assignments) -> Result<(), DataPlaneError> {
        self.change(Change::Assign(Box::new(assignments))).await
    }

    /// Follows the host's addresses, on which published ports answer.
    pub(crate) async fn set_addresses(
        &self,
        addresses: Vec<(IpAddr, u32)>,
    ) -> Result<(), DataPlaneError> {
        self.change(Change::Addresses(addresses)).await
    }

    /// Compares the kernel's maps with the plan and repairs them.
    pub(crate) async fn verify(&self) -> Result<String, DataPlaneError> {
        self.ask(Request::Verify).await
    }

    /// Removes programs, maps and links: the node left the swarm.
    pub(crate) async fn destroy(&self) -> Result<(), DataPlaneError> {
        self.ask(Request::Destroy).await
    }

    async fn change(&self, change: Change) -> Result<(), DataPlaneError> {
        self.ask(|reply| Request::Change(change, reply)).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, DataPlaneError>>) -> Request,
    ) -> Result<T, DataPlaneError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .map_err(|_| DataPlaneError::Down)?;
        answer.await.map_err(|_| DataPlaneError::Down)?
    }
}

struct Plane {
    datapath: DataPath,
    facts: LocalFacts,
    interfaces: BTreeMap<Owner, Vec<LocalInterface>>,
    /// `None` until they were first given: nothing is planned before, or what an earlier agent programmed would go away.
    assignments: Option<Assignments>,
}

impl Plane {
    fn run(mut self, inbox: &Receiver<Request>) {
        while let Ok(first) = inbox.recv() {
            let mut waiting = Vec::new();
            // Whatever queued up meanwhile shares one plan: a hundred tasks starting cost one pass over the maps.
            for request in std::iter::once(first).chain(inbox.try_iter()) {
                match request {
                    Request::Change(change, reply) => match self.note(change) {
                        Ok(()) => waiting.push(reply),
                        Err(error) => answer(reply, Err(kernel(&error))),
                    },
                    Request::Verify(reply) => {
                        let report = self.verify();
                        answer(reply, report);
                    }
                    Request::Destroy(reply) => {
                        let destroyed = self.datapath.destroy();
                        answer(reply, destroyed.map_err(|error| kernel(&error)));
                        return;
                    }
                }
            }
            if !waiting.is_empty() {
                self.apply(waiting);
            }
        }
    }

    fn note(&mut self, change: Change) -> Result<(), DataPathError> {
        match change {
            Change::Attach(owner, interfaces) => self.attach(owner, interfaces)?,
            Change::Detach(owner) => self.detach(&owner),
            Change::Assign(assignments) => self.assignments = Some(*assignments),
            Change::Addresses(addresses) => self.facts.addresses = addresses,
        }
        Ok(())
    }

    fn apply(&mut self, waiting: Vec<Reply>) {
        let applied = match self.desired() {
            Some(desired) => self.datapath.apply(&desired).map(|_report| ()),
            None => Ok(()),
        };
        let applied = applied.map_err(|error| kernel(&error));
        if let Err(problem) = &applied {
            error!(error = %problem, "data path not programmed");
        }
        for reply in waiting {
            answer(reply, applied.clone());
        }
    }

    fn verify(&mut self) -> Result<String, DataPlaneError> {
        let desired = self.desired().ok_or(DataPlaneError::NothingAssigned)?;
        let report = self
            .datapath
            .verify(&desired, true)
            .map_err(|error| kernel(&error))?;
        Ok(format!("{report}\n"))
    }

    fn desired(&mut self) -> Option<DesiredMaps> {
        self.facts.interfaces = self.interfaces.values().flatten().cloned().collect();
        Some(plan(self.assignments.as_ref()?, &self.facts))
    }

    fn attach(
        &mut self,
        owner: Owner,
        interfaces: Vec<LocalInterface>,
    ) -> Result<(), DataPathError> {
        for interface in &interfaces {
            self.datapath.attach_task_interface(interface.ifindex)?;
        }
        self.interfaces.insert(owner, interfaces);
        Ok(())
    }

    fn detach(&mut self, owner: &Owner) {
        for interface in self.interfaces.remove(owner).unwrap_or_default() {
            if let Err(error) = self.datapath.detach_task_interface(interface.ifindex) {
                warn!(ifindex = interface.ifindex, %error, "link of a removed interface stays");
            }
        }
    }
}

fn kernel(error: &DataPathError) -> DataPlaneError {
    DataPlaneError::Kernel(error.to_string())
}

fn answer<T>(reply: oneshot::Sender<Result<T, DataPlaneError>>, result: Result<T, DataPlaneError>) {
    if reply.send(result).is_err() {
        // The runner was told to stop meanwhile; its clean-up undoes what was done.
        warn!("a change of the data path was no longer waited for");
    }
}

#[cfg(test)]
impl DataPlane {
    /// One that answers changes with these, one after the other, and then is down.
    pub(crate) fn scripted(answers: impl IntoIterator<Item = Result<(), DataPlaneError>>) -> Self {
        let (requests, inbox) = channel();
        let answers: Vec<_> = answers.into_iter().collect();
        thread::spawn(move || {
            for result in answers {
                match inbox.recv() {
                    Ok(Request::Change(_, reply) | Request::Destroy(reply)) => {
                        answer(reply, result);
                    }
                    Ok(Request::Verify(_)) | Err(_) => return,
                }
            }
        });
        Self { requests }
    }
}
