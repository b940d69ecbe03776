//! A slow network of one host: a program between the host and the bridge passes all frames on later. The kernel's `netem`
//! could do the same, but is not available on every machine.

use std::path::Path;
use std::time::Duration;

use dockhost::dev::process::{Child, Program};

use super::command::{run, run_words};
use super::network::Namespace;

/// Python, because opening a raw socket takes `unsafe` code in Rust.
const SCRIPT: &str = include_str!("delay.py");
/// The longest until the program is ready.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// All links of one host are slow until [`Delay::end`].
#[derive(Debug)]
pub struct Delay {
    switch: String,
    /// The host's interface at the bridge.
    port: String,
    /// What takes its place there.
    slow: String,
    program: Child,
}

/// Whether this machine permits it between these interfaces of a namespace.
pub(super) fn try_out(switch: &str, interface: &str) -> Result<(), String> {
    let network = format!("--net=/run/netns/{switch}");
    run_words(["nsenter", &network, "python3", "-c", SCRIPT, interface, interface]).map(drop)
}

impl Delay {
    /// Delays what the host sends and what it receives.
    pub(super) async fn begin(
        host: &Namespace,
        (sent, received): (Duration, Duration),
        log: &Path,
    ) -> Result<Self, String> {
        let (switch, port) = host.port().ok_or("the clients' host can't be slow")?;
        let slow = format!("slow-{port}");
        run(&format!("ip -n {switch} link add {slow} type veth peer name {slow}-b"))?;
        run(&format!("ip -n {switch} link set {slow}-b master bridge up"))?;
        run(&format!("ip -n {switch} link set {slow} up"))?;
        let delays = [sent, received].map(|delay| delay.as_secs_f64().to_string());
        let network = format!("--net=/run/netns/{switch}");
        let words = [network.as_str(), "python3", "-c", SCRIPT, port, &slow, &delays[0], &delays[1]];
        let args = words.iter().map(Into::into).collect();
        let _ = std::fs::remove_file(log);
        let program = Program { name: "delay", path: "nsenter".into(), args, env: vec![], log: log.to_owned() };
        let mut program = program.start().map_err(|error| error.to_string())?;
        let is_ready = async |_| std::fs::read_to_string(log).is_ok_and(|text| text.contains("ready")).then_some(());
        program.wait_until_ready(START_TIMEOUT, is_ready).await.map_err(|error| error.to_string())?;
        // From here on frames take the slow way.
        run(&format!("ip -n {switch} link set {port} nomaster"))?;
        Ok(Self { switch: switch.to_owned(), port: port.to_owned(), slow, program })
    }

    /// The number of frames that were delayed.
    #[must_use]
    pub fn delayed(&self) -> u64 {
        let count = |direction: &str| {
            let file = format!("/sys/class/net/{}/statistics/{direction}_packets", self.slow);
            run(&format!("ip netns exec {} cat {file}", self.switch)).ok()?.trim().parse::<u64>().ok()
        };
        ["rx", "tx"].into_iter().filter_map(count).sum()
    }

    /// Ends the delay. What is under way is lost.
    ///
    /// # Errors
    /// If the host can't be connected again.
    pub async fn end(self) -> Result<(), String> {
        // First, because two ways at once would make a loop.
        self.program.kill().await;
        run(&format!("ip -n {} link set {} master bridge", self.switch, self.port))?;
        run(&format!("ip -n {} link del {}", self.switch, self.slow)).map(drop)
    }
}
