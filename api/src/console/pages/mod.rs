//! The pages, one a file.

pub mod account;
pub mod accounts;
pub mod alerts;
pub mod audit;
pub mod checkpoints;
pub mod event;
pub mod mail;
pub mod mails;
pub mod overview;
pub mod past;
pub mod sign_in;
pub mod system;
