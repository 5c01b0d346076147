//! How long pods take from being asked for to being ready, with and without a sidecar, and where the
//! time goes, as whoever watches the API server sees it.
//!
//! Kubelets write times of containers in whole seconds, so what counts is when a change is seen.

use std::collections::BTreeMap;
use std::fmt;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::{Cluster, name, text};

/// What is measured.
#[derive(Debug, Clone)]
pub struct StartsPlan {
    /// Pods that are asked for at once.
    pub pods: usize,
    /// How often.
    pub rounds: usize,
    /// An image that serves with `store`, and that the node has.
    pub image: String,
}

/// What a pod has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// A node was chosen.
    Scheduled,
    /// Its connections are redirected.
    Captured,
    /// Its proxy was seen to run.
    ProxyRuns,
    /// Its proxy has configuration.
    ProxyReady,
    /// Its application was seen to run.
    ApplicationRuns,
    /// It is ready.
    Ready,
}

/// All of them, in the order in which they are come to.
const STAGES: [Stage; 6] = [
    Stage::Scheduled,
    Stage::Captured,
    Stage::ProxyRuns,
    Stage::ProxyReady,
    Stage::ApplicationRuns,
    Stage::Ready,
];

/// When pods came to their stages, counted from when the first of them was there.
#[derive(Debug, Clone, Default)]
pub struct Starts {
    seen: BTreeMap<Stage, Vec<Duration>>,
    /// What the cluster warned of meanwhile.
    pub warnings: Vec<String>,
}

/// The same pods without and with a sidecar.
#[derive(Debug, Clone)]
pub struct Compared {
    /// Pods at once.
    pub pods: usize,
    /// Without.
    pub plain: Starts,
    /// With.
    pub meshed: Starts,
}

/// The namespaces pods are started in.
const PLAIN: &str = "pod-starts-plain";
const MESHED: &str = "pod-starts-meshed";
const DEPLOYMENT: &str = "deployment/starts";
/// For all pods of a round.
const PATIENCE: Duration = Duration::from_mins(3);

/// Starts pods without a sidecar and then with one, and removes them.
pub async fn compare(cluster: &Cluster, plan: &StartsPlan) -> anyhow::Result<Compared> {
    let plain = measure(cluster, PLAIN, plan).await?;
    let meshed = measure(cluster, MESHED, plan).await?;
    Ok(Compared {
        pods: plan.pods,
        plain,
        meshed,
    })
}

async fn measure(cluster: &Cluster, space: &str, plan: &StartsPlan) -> anyhow::Result<Starts> {
    let injected = space == MESHED;
    cluster.fresh_namespace(space, injected)?;
    // Written to every namespace a moment after it is made; pods wait for it, and that is another
    // figure.
    let root = ["configmap", "istio-ca-root-cert", "-n", space];
    let look = |cluster: &Cluster| cluster.json(&root).map(drop);
    cluster
        .until("the root certificate", PATIENCE, look)
        .await?;
    let mut starts = Starts::default();
    for _ in 0..plan.rounds {
        let watch = Watch::start(cluster, space)?;
        // It has to be there before what it shall see.
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.kubectl_with(&["create", "-n", space, "-f", "-"], &manifest(plan))?;
        let seen = watch.until_ready(plan.pods)?;
        for (stage, time) in seen.into_values().flatten() {
            starts.seen.entry(stage).or_default().push(time);
        }
        let gone = ["delete", DEPLOYMENT, "-n", space, "--cascade=foreground"];
        cluster.kubectl(&gone)?;
        let none = |cluster: &Cluster| {
            let pods = cluster.json(&["pods", "-n", space])?;
            let left = pods
                .get("items")
                .and_then(Value::as_array)
                .map_or(0, Vec::len);
            anyhow::ensure!(left == 0, "{left} are left");
            Ok(())
        };
        cluster.until("pods to be gone", PATIENCE, none).await?;
    }
    let events = ["events", "-n", space, "--field-selector=type=Warning"];
    let events = cluster.json(&events)?;
    let events = events.get("items").and_then(Value::as_array);
    starts.warnings = events
        .into_iter()
        .flatten()
        .map(|event| format!("{}: {}", text(event, "/reason"), text(event, "/message")))
        .collect();
    cluster.remove_namespace(space)?;
    Ok(starts)
}

fn manifest(plan: &StartsPlan) -> String {
    let StartsPlan { pods, image, .. } = plan;
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: starts}}
spec:
  replicas: {pods}
  selector: {{matchLabels: {{app: starts}}}}
  template:
    metadata: {{labels: {{app: starts}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: {image}
        args: [store, --listen, "0.0.0.0:8080"]
"#
    )
}

/// What is told of the pods of a namespace, as it is told.
struct Watch {
    child: Child,
    told: mpsc::Receiver<(Instant, Value)>,
}

impl Watch {
    fn start(cluster: &Cluster, space: &str) -> anyhow::Result<Self> {
        // Without a time-out for one request: this one lasts.
        let mut child = cluster
            .command_without_limit(&["get", "pods", "-n", space, "--watch", "-o", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("kubectl get pods --watch")?;
        let stdout = child.stdout.take().context("no output")?;
        let (sender, told) = mpsc::channel();
        std::thread::Builder::new()
            .name("watch-pods".to_owned())
            .spawn(move || {
                let documents = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>();
                for pod in documents.map_while(Result::ok) {
                    if sender.send((Instant::now(), pod)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { child, told })
    }

    /// When each pod came to each of its stages, once as many are ready.
    fn until_ready(
        &self,
        pods: usize,
    ) -> anyhow::Result<BTreeMap<String, BTreeMap<Stage, Duration>>> {
        let deadline = Instant::now() + PATIENCE;
        let mut begun = None;
        let mut seen: BTreeMap<String, BTreeMap<Stage, Duration>> = BTreeMap::new();
        let ready = |stages: &&BTreeMap<Stage, Duration>| stages.contains_key(&Stage::Ready);
        while seen.values().filter(ready).count() < pods {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((now, pod)) = self.told.recv_timeout(left) else {
                let ready = seen.values().filter(ready).count();
                bail!("{ready} of {pods} pods are ready after {PATIENCE:?}: {seen:?}");
            };
            // A list comes first, in which there is nothing.
            if text(&pod, "/kind") != "Pod" {
                continue;
            }
            let begun = *begun.get_or_insert(now);
            let stages = seen.entry(name(&pod).to_owned()).or_default();
            for stage in STAGES.into_iter().filter(|stage| stage.is_come_to(&pod)) {
                stages.entry(stage).or_insert(now - begun);
            }
        }
        Ok(seen)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Stage {
    fn is_come_to(self, pod: &Value) -> bool {
        let condition = |wanted: &str| {
            let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
            conditions
                .into_iter()
                .flatten()
                .any(|one| text(one, "/type") == wanted && text(one, "/status") == "True")
        };
        let container = |wanted: &str, pointer: &str| {
            ["/status/initContainerStatuses", "/status/containerStatuses"]
                .into_iter()
                .filter_map(|list| pod.pointer(list).and_then(Value::as_array))
                .flatten()
                .filter(|one| name_of(one) == wanted)
                .any(|one| {
                    one.pointer(pointer)
                        .is_some_and(|value| *value != Value::Bool(false))
                })
        };
        match self {
            Self::Scheduled => condition("PodScheduled"),
            Self::ProxyRuns => container("istio-proxy", "/state/running"),
            Self::ProxyReady => container("istio-proxy", "/ready"),
            Self::Captured => container("istio-init", "/state/terminated"),
            Self::ApplicationRuns => container("app", "/state/running"),
            Self::Ready => condition("Ready"),
        }
    }
}

fn name_of(status: &Value) -> &str {
    text(status, "/name")
}

impl Starts {
    /// How many pods came to a stage.
    pub fn count(&self, stage: Stage) -> usize {
        self.seen.get(&stage).map_or(0, Vec::len)
    }

    /// The middle time, if any pod came to the stage.
    pub fn median(&self, stage: Stage) -> Option<Duration> {
        let mut times = self.seen.get(&stage)?.clone();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }

    /// The longest time.
    pub fn max(&self, stage: Stage) -> Option<Duration> {
        self.seen.get(&stage)?.iter().max().copied()
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} pods at once, seconds until seen: median, max",
            self.pods
        )?;
        write!(f, "{:<10}", "sidecar")?;
        for stage in STAGES {
            write!(f, " {:>16}", format!("{stage:?}"))?;
        }
        for (form, starts) in [("without", &self.plain), ("with", &self.meshed)] {
            write!(f, "\n{form:<10}")?;
            for stage in STAGES {
                let cell = starts.median(stage).zip(starts.max(stage));
                let cell = cell.map_or_else(
                    || "-".to_owned(),
                    |(median, max)| format!("{:.2} {:.2}", median.as_secs_f64(), max.as_secs_f64()),
                );
                write!(f, " {cell:>16}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stages_are_read_from_what_a_kubelet_says() {
        let pod = json!({"kind": "Pod", "status": {
            "conditions": [{"type": "PodScheduled", "status": "True"},
                           {"type": "Ready", "status": "False"}],
            "initContainerStatuses": [
                {"name": "istio-proxy", "state": {"running": {}}, "ready": false},
                {"name": "istio-init", "state": {"waiting": {}}},
            ],
        }});
        let come_to: Vec<Stage> = STAGES
            .into_iter()
            .filter(|stage| stage.is_come_to(&pod))
            .collect();
        assert_eq!(come_to, [Stage::Scheduled, Stage::ProxyRuns]);
    }

    #[test]
    fn the_middle_and_the_longest_are_shown() {
        let seconds = |times: &[u64]| times.iter().map(|one| Duration::from_secs(*one)).collect();
        let starts = Starts {
            seen: BTreeMap::from([(Stage::Ready, seconds(&[9, 1, 2]))]),
            warnings: Vec::new(),
        };
        assert_eq!(starts.count(Stage::Ready), 3);
        assert_eq!(starts.median(Stage::ProxyRuns), None);
        let compared = Compared {
            pods: 3,
            plain: starts.clone(),
            meshed: Starts::default(),
        };
        assert!(compared.to_string().contains("2.00 9.00"), "{compared}");
    }
}
