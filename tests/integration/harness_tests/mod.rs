//! Tests of the test harness itself.

mod proxy;
mod seeding;
mod topology;
