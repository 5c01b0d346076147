//! A real Kubernetes with the mesh on it, as tests see it: through `kubectl`, like a user.
//!
//! Whoever runs the tests says where the cluster is (`cargo xtask test --cluster` does). Without
//! one, a test reports that it was skipped and why.

mod load;
mod process;
mod starts;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::sync::MutexGuard;

pub use load::InClusterLoad;
pub use process::{Stopped, processes_of};
pub use starts::{Compared, Stage, Starts, StartsPlan, compare};

/// Names the kubeconfig file of the cluster to test on.
pub const KUBECONFIG: &str = "MESH_TEST_KUBECONFIG";
/// Names the `kubectl` to use; the one on the path if left out.
pub const KUBECTL: &str = "MESH_TEST_KUBECTL";
/// Names a file that collects the reasons of skipped tests.
const SKIPS: &str = "MESH_TEST_SKIPS";
/// How long one `kubectl` may take, unless it says so itself.
const ONE_COMMAND: &str = "--request-timeout=60s";
/// How often a condition is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Tests share the cluster and stop parts of it: one at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The cluster, for the one test whose turn it is.
#[derive(Debug)]
pub struct Cluster {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// The cluster, once it is this test's turn; `None` if there is none, which is reported.
    pub async fn connect(test: &str) -> anyhow::Result<Option<Self>> {
        let Some(kubeconfig) = std::env::var_os(KUBECONFIG) else {
            skip(
                test,
                "no cluster; `cargo xtask test --cluster` starts one and runs this",
            )?;
            return Ok(None);
        };
        let kubectl = std::env::var_os(KUBECTL).unwrap_or_else(|| "kubectl".into());
        Ok(Some(Self {
            kubectl: kubectl.into(),
            kubeconfig: kubeconfig.into(),
            _turn: TURN.lock().await,
        }))
    }

    /// The cluster of a kubeconfig file, for a command rather than a test.
    pub async fn at(kubeconfig: PathBuf, kubectl: PathBuf) -> Self {
        Self {
            kubectl,
            kubeconfig,
            _turn: TURN.lock().await,
        }
    }

    /// The image of the shop, as this cluster knows it.
    pub fn shop_image(&self) -> anyhow::Result<String> {
        let deployment = self.json(&["deployment", "caller", "-n", "shop"]);
        let deployment =
            deployment.context("the shop (kubectl apply -k examples/shop/kubernetes)")?;
        let image = text(&deployment, "/spec/template/spec/containers/0/image");
        anyhow::ensure!(!image.is_empty(), "the caller has no image: {deployment}");
        Ok(image.to_owned())
    }

    /// Starts `kubectl`, with `input` on its standard input, and waits for its end.
    pub fn run(&self, arguments: &[&str], input: &str) -> anyhow::Result<Output> {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| self.kubectl.display().to_string())?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        Ok(child.wait_with_output()?)
    }

    /// A `kubectl` ready to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command_without_limit(&[]);
        let streams = ["exec", "wait", "rollout", "port-forward", "logs", "delete"];
        if arguments
            .first()
            .is_some_and(|verb| !streams.contains(verb))
        {
            command.arg(ONE_COMMAND);
        }
        command.args(arguments);
        command
    }

    /// The same, for one that lasts as long as it is wanted.
    fn command_without_limit(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.args(arguments);
        command
    }

    /// What `kubectl` printed; an error with all it said if it failed.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl_with(arguments, "")
    }

    /// What `kubectl` printed when given `input`; an error with all it said if it failed.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let output = self.run(arguments, input)?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!(
                "kubectl {}: {}\n{stdout}{stderr}",
                arguments.join(" "),
                output.status
            );
        }
        Ok(stdout)
    }

    /// Applies YAML as a user would; what `kubectl` said, warnings included.
    pub fn apply(&self, yaml: &str) -> anyhow::Result<String> {
        let output = self.run(&["apply", "-f", "-"], yaml)?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if !output.status.success() {
            bail!("kubectl apply: {said}");
        }
        Ok(said)
    }

    /// An object, or a list of objects, as JSON.
    pub fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut all = vec!["get", "-o", "json"];
        all.extend(arguments);
        Ok(serde_json::from_str(&self.kubectl(&all)?)?)
    }

    /// Runs a command in a container and returns what it printed.
    pub fn exec(
        &self,
        namespace: &str,
        target: &str,
        container: &str,
        command: &[&str],
    ) -> anyhow::Result<String> {
        let mut all = vec!["exec", "-n", namespace, target, "-c", container, "--"];
        all.extend(command);
        self.kubectl(&all)
    }

    /// A namespace without leftovers, labelled for injection if so wanted. What is in it goes
    /// with it when the same test starts anew.
    pub fn fresh_namespace(&self, name: &str, injected: bool) -> anyhow::Result<()> {
        self.remove_namespace(name)?;
        self.kubectl(&["create", "namespace", name])?;
        if injected {
            self.kubectl(&["label", "namespace", name, "istio-injection=enabled"])?;
        }
        Ok(())
    }

    /// Deletes a namespace and waits until it is gone.
    pub fn remove_namespace(&self, name: &str) -> anyhow::Result<()> {
        self.kubectl(&[
            "delete",
            "namespace",
            name,
            "--ignore-not-found",
            "--timeout=120s",
        ])?;
        Ok(())
    }

    /// Waits for the rollout of a Deployment or StatefulSet.
    pub fn rolled_out(&self, namespace: &str, what: &str) -> anyhow::Result<()> {
        let waited = self.kubectl(&["rollout", "status", "-n", namespace, what, "--timeout=180s"]);
        waited.map(drop).with_context(|| {
            let pods = self.kubectl(&["get", "pods", "-n", namespace, "-o", "wide"]);
            let events = self.kubectl(&["get", "events", "-n", namespace]);
            format!("pods: {pods:?}\nevents: {events:?}")
        })
    }

    /// The running pods that a selector chooses, with all their containers ready.
    pub fn ready_pods(&self, namespace: &str, selector: &str) -> anyhow::Result<Vec<Value>> {
        let list = self.json(&["pods", "-n", namespace, "-l", selector])?;
        let pods = list.get("items").and_then(Value::as_array);
        Ok(pods
            .into_iter()
            .flatten()
            .filter(|pod| is_ready(pod))
            .cloned()
            .collect())
    }

    /// Looks until there is an answer, or says what the last look saw.
    pub async fn until<T>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + within;
        loop {
            match look(self) {
                Ok(found) => return Ok(found),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context(format!("{what}: not within {within:?}")));
                }
                Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// A text field of an object; empty if there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether a pod runs and its `Ready` condition is true, and it is not being deleted.
fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().any(|condition| {
        text(condition, "/type") == "Ready" && text(condition, "/status") == "True"
    });
    ready && pod.pointer("/metadata/deletionTimestamp").is_none()
}

#[expect(
    clippy::print_stdout,
    reason = "the test runner reads skipped tests from the output"
)]
fn skip(test: &str, reason: &str) -> anyhow::Result<()> {
    println!("SKIPPED: {test}: {reason}");
    if let Some(path) = std::env::var_os(SKIPS) {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)?;
        // In one write: tests that run at the same time would put their lines into each other's.
        file.write_all(format!("{test}: {reason}\n").as_bytes())?;
    }
    Ok(())
}
