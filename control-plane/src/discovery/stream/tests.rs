//! From which moment on a proxy counts as having applied a revision, what is taken from it, and what
//! does not wait for it.

use mesh_api::encoded::Encoded;
use mesh_api::name::PolicyName;
use mesh_api::policy::{Policy, PolicyRule};
use mesh_api::proto::{self, proxy_message::Message, server_message};
use mesh_api::resource::Resource;
use mesh_runtime::drain::Drain;

use std::time::Duration;

use super::*;
use crate::discovery::desired::DesiredState;
use crate::discovery::registry::Registry;
use crate::discovery::seats::{Seats, Sitter};

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
    asked: mpsc::Receiver<Command>,
    drain: Drain,
}

fn held(name: &str) -> proto::HeldResource {
    proto::HeldResource {
        name: name.to_owned(),
        version: 3,
    }
}

impl Bench {
    async fn new() -> Self {
        Self::of(64, None, &[]).await
    }

    /// With room for so many messages, a seat, and workloads it holds and wants.
    async fn of(room: usize, seat: Option<Seat>, workloads: &[String]) -> Self {
        let registry = Arc::<Registry>::default();
        let (commands, mut asked) = mpsc::channel(16);
        let (outgoing, sent) = mpsc::channel(room);
        let drain = Drain::new();
        let service = Discovery::new(Arc::clone(&registry), commands).draining(drain.watch());
        let peer = Peer {
            address: None,
            verified: None,
            seat,
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
            names: workloads.to_vec(),
            held: workloads.iter().map(|name| held(name)).collect(),
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
            asked,
            drain,
        }
    }

    async fn desire(&mut self, reason: &str, revision: u64) {
        self.desire_when(reason, revision, 0).await;
    }

    /// A state that was made after so many questions for workloads, none of which exists.
    async fn desire_when(&mut self, reason: &str, revision: u64, looked_up: u64) {
        self.offer(reason, revision, looked_up);
        let desired = newest(&mut self.stream.known).await;
        assert!(self.stream.take_desired(desired).await.is_ok());
    }

    fn offer(&mut self, reason: &str, revision: u64, looked_up: u64) {
        let encoded = policy(reason);
        let state = DesiredState::new([(encoded.name.clone(), encoded)]);
        self.slot.send_replace(Desired::State {
            state: Arc::new(state),
            changed: Instant::now(),
            revision,
            looked_up,
        });
    }

    /// What was sent since the last time is to be removed.
    fn removals(&mut self) -> usize {
        let mut count = 0;
        while let Ok(Ok(message)) = self.sent.try_recv() {
            if let Some(server_message::Message::Push(push)) = message.message {
                count += push.removed.len();
            }
        }
        count
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

/// What was not looked for is not taken away, whatever else changes meanwhile.
#[tokio::test]
async fn many_workloads_are_taken_away_together_and_only_once_all_were_looked_for() {
    let names: Vec<String> = (0..600_u32)
        .map(|bits| {
            format!(
                "workload/{}",
                std::net::Ipv4Addr::from_bits(0x0a00_0000 | bits)
            )
        })
        .collect();
    let mut bench = Bench::of(64, None, &names).await;
    let mut looked_up = 0;
    for revision in 1.. {
        let Ok(Command::Wanted { more, done, .. }) = bench.asked.try_recv() else {
            panic!("the rest was not asked for");
        };
        // None of those asked for first is there any more.
        bench
            .desire_when(&revision.to_string(), revision, looked_up)
            .await;
        assert_eq!(bench.removals(), 0, "{revision}");
        bench.answer(ack(revision)).await;
        looked_up += 1;
        drop(done);
        if !more {
            bench.desire_when("last", revision + 1, looked_up).await;
            break;
        }
        bench.stream.asking.done().await;
        assert!(bench.stream.ask().await.is_ok());
    }
    assert_eq!((looked_up, bench.removals()), (2, 600));
}

fn sitter() -> Sitter {
    Sitter {
        workload: "shop/backend-1".parse().unwrap(),
        uid: Some("u-1".into()),
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_loses_its_stream_at_once_when_another_one_has_its_seat() {
    let seats = Arc::<Seats>::default();
    let seat = seats.take(sitter(), Instant::now()).unwrap();
    let mut bench = Bench::of(1, Some(seat), &[]).await;
    bench.desire("one", 1).await;
    bench.answer(ack(1)).await;
    // What it was sent lies there still, so that the next has to wait.
    bench.offer("two", 2, 0);
    let desired = newest(&mut bench.stream.known).await;
    let began = Instant::now();
    let sending = bench.stream.take_desired(desired);
    let newer = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        seats.take(sitter(), Instant::now()).unwrap()
    };
    let (sent, _newer) = tokio::join!(sending, newer);
    assert!(sent.is_err());
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_does_not_hold_up_the_end() {
    let mut bench = Bench::of(1, None, &[]).await;
    bench.desire("one", 1).await;
    bench.answer(ack(1)).await;
    bench.offer("two", 2, 0);
    let desired = newest(&mut bench.stream.known).await;
    let began = Instant::now();
    bench.drain.trigger();
    assert!(bench.stream.take_desired(desired).await.is_err());
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}
