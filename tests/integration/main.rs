//! The one integration binary: everything here runs against real servers.

mod harness;

mod broker;
