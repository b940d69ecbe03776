//! Tests of the test harness itself.

mod hosts;
mod ports;
mod proxy;
mod seeding;
mod topology;
