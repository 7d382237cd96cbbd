//! HTTP: the server, its routes, and what is common to all answers.

pub(crate) mod access_log;
pub(crate) mod api;
pub(crate) mod encoding;
pub(crate) mod health;
pub(crate) mod problem;
pub(crate) mod prometheus;
pub(crate) mod request_id;
pub(crate) mod server;
