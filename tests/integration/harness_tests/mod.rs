//! Tests of the test harness itself.

mod ports;
mod proxy;
mod seeding;
mod topology;
