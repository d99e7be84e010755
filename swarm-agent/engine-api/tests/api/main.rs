//! The whole HTTP surface over a real unix socket, and the stock client against it.

mod cluster;
mod docker;
mod host;
mod objects;
mod support;
