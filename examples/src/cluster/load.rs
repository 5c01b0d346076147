//! Load from inside a pod: the load generator as a process of the caller's container, so that its
//! requests leave through the pod's own sidecar.

use std::process::{Child, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::Cluster;

/// A load generator that runs in a pod.
#[derive(Debug)]
pub struct InClusterLoad {
    child: Child,
}

impl InClusterLoad {
    /// Starts `load` with these flags in a container that has it.
    pub fn start(
        cluster: &Cluster,
        namespace: &str,
        target: &str,
        container: &str,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        let mut arguments = vec!["exec", "-n", namespace, target, "-c", container, "--"];
        arguments.extend(["/usr/local/bin/load", "-o", "json"]);
        arguments.extend(flags);
        let child = cluster
            .command(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl exec")?;
        Ok(Self { child })
    }

    /// Whether it still sends.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its report, once it has ended by itself.
    pub fn report(self) -> anyhow::Result<Value> {
        let output = self.child.wait_with_output()?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        match serde_json::from_str(&stdout) {
            Ok(report) => Ok(report),
            Err(error) => bail!(
                "the load generator gave no report ({error}): {stdout}{}",
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }
}
