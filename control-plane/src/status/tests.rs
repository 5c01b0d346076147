//! The whole of it: objects in, proxies that acknowledge or do not, conditions out.

use mesh_kubernetes::testing::FakeApi;
use mesh_runtime::drain::Drain;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::fixtures::{MESH, route, sidecar};
use super::*;
use crate::discovery::registry::SessionId;
use crate::model::{Change, MeshSettings, World};
use crate::push::{Command, Desired, PushLoop, Timing};
use crate::source::Batch;
use crate::testing::objects;

const ROUTE: &str = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/backend";

struct Mesh {
    api: FakeApi,
    registry: Arc<Registry>,
    board: Arc<Board>,
    batches: mpsc::Sender<Batch>,
    commands: mpsc::Sender<Command>,
    leads: watch::Sender<bool>,
    drain: Drain,
}

/// A proxy that acknowledges at once, unless it is stopped.
struct Proxy {
    session: SessionId,
    stopped: watch::Sender<bool>,
}

impl Mesh {
    fn start() -> Self {
        let (registry, board) = (Arc::<Registry>::default(), Arc::<Board>::default());
        let (batches, batches_out) = mpsc::channel(16);
        let (commands, commands_out) = mpsc::channel(16);
        let world = World::new(MeshSettings::default());
        let push = PushLoop::new(world, Timing::default(), Arc::clone(&board));
        tokio::spawn(push.run(batches_out, commands_out, || {}));
        tokio::spawn(Arc::clone(&board).examiner());
        let mesh = Self {
            api: installed(),
            registry,
            board,
            batches,
            commands,
            leads: watch::Sender::new(true),
            drain: Drain::new(),
        };
        tokio::spawn(mesh.replica("istiod-1", mesh.leads.subscribe()));
        mesh
    }

    fn replica(
        &self,
        pod: &str,
        leading: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + use<> {
        let settings = Settings {
            pod: pod.to_owned(),
            namespace: "istio-system".to_owned(),
        };
        let (registry, board) = (Arc::clone(&self.registry), Arc::clone(&self.board));
        run(
            self.api.client(),
            registry,
            board,
            leading,
            settings,
            self.drain.watch(),
        )
    }

    /// Applies a form of the route, as `kubectl apply` would.
    async fn apply(&self, generation: i64) {
        let mut object = self.api.object(ROUTE).unwrap_or_else(|| {
            json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {}})
        });
        object["metadata"]["generation"] = json!(generation);
        self.api.put(ROUTE, object);
        self.batch(&route("backend", generation), false).await;
    }

    async fn batch(&self, yaml: &str, initial_complete: bool) {
        let changes = objects(yaml).into_iter().map(Change::Applied).collect();
        let batch = Batch {
            changes,
            initial_complete,
            ..Batch::default()
        };
        self.batches.send(batch).await.unwrap();
    }

    async fn connect(&self, name: &str) -> Proxy {
        let who = sidecar(name);
        let session = self.registry.connect(who.clone(), Instant::now());
        let (slot, mut desired) = watch::channel(Desired::Starting);
        let (stopped, mut stop) = watch::channel(false);
        let registry = Arc::clone(&self.registry);
        tokio::spawn(async move {
            while desired.changed().await.is_ok() {
                if stop.wait_for(|stopped| !stopped).await.is_err() {
                    return;
                }
                if let Desired::State { revision, .. } = &*desired.borrow_and_update() {
                    registry.update(session, |status| status.applied = Some(*revision));
                }
            }
        });
        let command = Command::Connected {
            session,
            who,
            workloads: std::collections::BTreeSet::new(),
            slot,
        };
        self.commands.send(command).await.unwrap();
        Proxy { session, stopped }
    }

    async fn disconnect(&self, proxy: &Proxy) {
        self.registry.disconnect(proxy.session);
        let session = proxy.session;
        self.commands
            .send(Command::Disconnected { session })
            .await
            .unwrap();
    }

    fn programmed(&self) -> (String, String, i64) {
        let object = self.api.object(ROUTE).unwrap();
        let conditions = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let find = |one: &&Value| one["type"] == "Programmed";
        let one = conditions.iter().find(find).cloned().unwrap_or_default();
        let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
        (
            text("status"),
            text("message"),
            one["observedGeneration"].as_i64().unwrap_or(0),
        )
    }

    fn writes(&self) -> usize {
        let seen = self.api.seen();
        seen.iter()
            .filter(|one| one.path.ends_with("/status"))
            .count()
    }
}

fn row(status: &str, message: &str, generation: i64) -> (String, String, i64) {
    (status.to_owned(), message.to_owned(), generation)
}

async fn pass(milliseconds: u64) {
    for _ in 0..milliseconds / 50 {
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn programmed_follows_the_proxies() {
    let mesh = Mesh::start();
    mesh.batch(MESH, true).await;
    mesh.apply(1).await;
    let _first = mesh.connect("shop/v1").await;
    let second = mesh.connect("shop/v2").await;
    let _third = mesh.connect("shop/front").await;
    pass(12_000).await;
    assert_eq!(
        mesh.programmed(),
        row("True", "applied by 3 of 3 proxies", 1)
    );
    assert_eq!(mesh.writes(), 1);

    mesh.apply(2).await;
    pass(1000).await;
    assert_eq!(
        mesh.programmed(),
        row("True", "applied by 3 of 3 proxies", 2)
    );
    assert_eq!(
        mesh.writes(),
        2,
        "what all proxies take at once is one write"
    );

    second.stopped.send_replace(true);
    mesh.apply(3).await;
    pass(1500).await;
    let waiting = "applied by 2 of 3 proxies; waiting for shop/v2 (connected, no acknowledgement)";
    assert_eq!(mesh.programmed(), row("False", waiting, 3));
    pass(20_000).await;
    assert_eq!(mesh.writes(), 3, "waiting is no reason to write");

    // Its stream is given up by the keep-alive; its pod is still there.
    mesh.disconnect(&second).await;
    pass(3000).await;
    let lost = "applied by 2 of 3 proxies; waiting for shop/v2 (connection lost)";
    assert_eq!(mesh.programmed(), row("False", lost, 3));

    let _again = mesh.connect("shop/v2").await;
    pass(1500).await;
    assert_eq!(
        mesh.programmed(),
        row("True", "applied by 3 of 3 proxies", 3)
    );
    let writes = mesh.writes();
    pass(60_000).await;
    assert_eq!(mesh.writes(), writes);
}

#[tokio::test(start_paused = true)]
async fn proxies_that_come_and_go_do_not_rewrite_objects() {
    let mesh = Mesh::start();
    mesh.batch(MESH, true).await;
    mesh.apply(1).await;
    let _first = mesh.connect("shop/v1").await;
    pass(12_000).await;
    let writes = mesh.writes();
    for _ in 0..50 {
        let proxy = mesh.connect("shop/v2").await;
        pass(300).await;
        mesh.disconnect(&proxy).await;
        pass(300).await;
    }
    assert!(
        mesh.writes() - writes <= 4,
        "{} writes",
        mesh.writes() - writes
    );
    assert_eq!(mesh.programmed().0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_alters_nothing_for_a_proxy_is_applied_by_it() {
    let mesh = Mesh::start();
    mesh.batch(MESH, true).await;
    mesh.apply(1).await;
    let _proxy = mesh.connect("shop/v1").await;
    pass(12_000).await;
    // The same content under a newer generation: nothing is pushed for it.
    let same = route("backend", 1).replace("generation: 1", "generation: 2");
    mesh.batch(&same, false).await;
    pass(2000).await;
    assert_eq!(
        mesh.programmed(),
        row("True", "applied by 1 of 1 proxies", 2)
    );
    // Another object, of which this proxy has no resource.
    let far = route("far", 1).replace("namespace: shop", "namespace: other");
    mesh.batch(&far, false).await;
    pass(2000).await;
    assert_eq!(
        mesh.programmed(),
        row("True", "applied by 1 of 1 proxies", 2)
    );
}

/// A cluster to which the manifests were applied, as far as replicas need them.
fn installed() -> FakeApi {
    let api = FakeApi::new();
    api.put(
        "/api/v1/namespaces/istio-system/configmaps/istiod-acknowledgements",
        json!({"apiVersion": "v1", "kind": "ConfigMap"}),
    );
    api
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_writes_and_the_other_tells_it_what_it_counted() {
    let mesh = Mesh::start();
    mesh.batch(MESH, true).await;
    mesh.apply(1).await;
    let _proxy = mesh.connect("shop/v1").await;
    // Another replica, with a proxy of its own.
    let other = Mesh {
        api: mesh.api.clone(),
        ..Mesh::start()
    };
    other.batch(MESH, true).await;
    other.apply(1).await;
    let its_proxy = other.connect("shop/v2").await;
    let follows = watch::Sender::new(false);
    tokio::spawn(other.replica("istiod-2", follows.subscribe()));
    pass(30_000).await;
    assert_eq!(
        mesh.programmed(),
        row("True", "applied by 2 of 2 proxies", 1)
    );
    its_proxy.stopped.send_replace(true);
    mesh.apply(2).await;
    other.apply(2).await;
    pass(5000).await;
    let waiting = "applied by 1 of 2 proxies; waiting for shop/v2 (connected, no acknowledgement)";
    assert_eq!(mesh.programmed(), row("False", waiting, 2));
}
