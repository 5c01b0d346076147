//! From which moment on a proxy counts as having applied a revision.

use mesh_api::encoded::Encoded;
use mesh_api::name::PolicyName;
use mesh_api::policy::{Policy, PolicyRule};
use mesh_api::proto::{self, proxy_message::Message};
use mesh_api::resource::Resource;

use super::*;
use crate::discovery::desired::DesiredState;
use crate::discovery::registry::Registry;

fn policy(reason: &str) -> Encoded {
    Encoded::new(&Resource::from(Policy::uniform(
        PolicyName("inbound".into()),
        PolicyRule::Refuse {
            reason: reason.into(),
        },
    )))
}

/// A stream, its proxy, and the push loop that serves it.
struct Bench {
    stream: ProxyStream,
    registry: Arc<Registry>,
    sent: mpsc::Receiver<Result<ServerMessage, Status>>,
    slot: watch::Sender<Desired>,
}

impl Bench {
    async fn new() -> Self {
        let registry = Arc::<Registry>::default();
        let (commands, mut asked) = mpsc::channel(16);
        let (outgoing, sent) = mpsc::channel(64);
        let service = Discovery::new(Arc::clone(&registry), commands);
        let peer = Peer {
            address: None,
            verified: None,
            seat: None,
            _proved: None,
        };
        let mut stream = ProxyStream::new(service, outgoing, peer);
        let hello = proto::Hello {
            workload: "shop/backend-1".to_owned(),
            role: proto::Role::Sidecar.into(),
            capture_mode: proto::CaptureMode::Explicit.into(),
            proxy_version: "1.2.3".to_owned(),
            protocol_revision: 1,
            subscription: Some(proto::hello::Subscription::AllHosts(proto::AllHosts {})),
            names: Vec::new(),
            held: Vec::new(),
        };
        let said = stream.take_message(say(Message::Hello(hello))).await;
        assert!(said.is_ok());
        let Some(Command::Connected { slot, .. }) = asked.recv().await else {
            panic!("the push loop did not hear of the proxy");
        };
        Self {
            stream,
            registry,
            sent,
            slot,
        }
    }

    async fn desire(&mut self, reason: &str, revision: u64) {
        let encoded = policy(reason);
        let state = DesiredState::new([(encoded.name.clone(), encoded)]);
        self.slot.send_replace(Desired::State {
            state: Arc::new(state),
            changed: Instant::now(),
            revision,
        });
        let desired = newest(&mut self.stream.known).await;
        assert!(self.stream.take_desired(desired).await.is_ok());
    }

    async fn answer(&mut self, message: Message) {
        assert!(self.stream.take_message(say(message)).await.is_ok());
        if self.stream.session.asks() {
            assert!(self.stream.settle().await.is_ok());
        }
    }

    fn applied(&self) -> Option<u64> {
        self.registry.applied(|_| true)[0].revision
    }

    fn messages(&mut self) -> usize {
        let mut count = 0;
        while self.sent.try_recv().is_ok() {
            count += 1;
        }
        count
    }
}

fn say(message: Message) -> ProxyMessage {
    ProxyMessage {
        message: Some(message),
    }
}

fn ack(nonce: u64) -> Message {
    Message::Ack(proto::Ack { nonce })
}

#[tokio::test]
async fn a_revision_is_applied_when_it_is_acknowledged() {
    let mut bench = Bench::new().await;
    bench.desire("one", 3).await;
    assert_eq!(bench.applied(), None);
    bench.answer(ack(1)).await;
    assert_eq!(bench.applied(), Some(3));
}

#[tokio::test]
async fn a_revision_with_the_same_content_is_applied_at_once() {
    let mut bench = Bench::new().await;
    bench.desire("one", 3).await;
    bench.answer(ack(1)).await;
    bench.messages();
    bench.desire("one", 4).await;
    assert_eq!((bench.applied(), bench.messages()), (Some(4), 0));
}

#[tokio::test]
async fn content_that_comes_back_is_not_applied_while_other_content_is_in_flight() {
    let mut bench = Bench::new().await;
    bench.desire("one", 3).await;
    bench.answer(ack(1)).await;
    bench.desire("two", 4).await;
    bench.desire("one", 5).await;
    assert_eq!(bench.applied(), Some(3));
    bench.answer(ack(2)).await;
    assert_eq!(
        bench.applied(),
        Some(3),
        "it holds what is no longer wanted"
    );
    bench.answer(ack(3)).await;
    assert_eq!(bench.applied(), Some(5));
}

#[tokio::test]
async fn what_is_refused_is_said_beside_the_revision() {
    let mut bench = Bench::new().await;
    bench.desire("one", 3).await;
    bench.answer(ack(1)).await;
    bench.desire("two", 4).await;
    let nack = proto::Nack {
        nonce: 2,
        rejections: vec![proto::Rejection {
            name: "policy/inbound".to_owned(),
            version: policy("two").version.0,
            field: "rule".to_owned(),
            reason: "no".to_owned(),
        }],
    };
    bench.answer(Message::Nack(nack)).await;
    let of = |bench: &Bench| bench.registry.applied(|_| true).remove(0);
    assert_eq!(of(&bench).revision, Some(4));
    assert_eq!(of(&bench).refused.first[0].resource, "policy/inbound");
    // Offered again, nobody knows yet whether it is refused again.
    assert!(bench.stream.take_due(Due::Retry).await.is_ok());
    assert_eq!(of(&bench).refused.first.len(), 1);
    bench.answer(ack(3)).await;
    assert!(of(&bench).refused.is_empty());
}

#[tokio::test]
async fn a_new_stream_keeps_what_the_proxy_had_applied() {
    let mut bench = Bench::new().await;
    bench.desire("one", 3).await;
    bench.answer(ack(1)).await;
    let registry = Arc::clone(&bench.registry);
    bench.stream.end().await;
    let lost = registry.applied(|_| true).remove(0);
    assert_eq!((lost.connected, lost.revision), (false, Some(3)));
    registry.connect(lost.who, Instant::now());
    let again = registry.applied(|_| true).remove(0);
    assert_eq!((again.connected, again.revision), (true, Some(3)));
    assert_eq!(
        registry.applied(|_| false).len(),
        1,
        "connected ones are not forgotten"
    );
}
