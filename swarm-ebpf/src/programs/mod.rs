//! One program per file; what they share lies beside this folder.

mod connect4;
mod getpeername4;
mod recvmsg4;
mod sendmsg4;
mod task_ingress;
mod underlay_ingress;
