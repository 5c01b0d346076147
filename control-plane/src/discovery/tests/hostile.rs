//! One peer that means harm among others that do not.

use std::collections::BTreeSet;

use mesh_api::proto::proxy_message::Message;

use super::*;

fn answer(message: Message) -> ProxyMessage {
    ProxyMessage {
        message: Some(message),
    }
}

fn ask(names: impl IntoIterator<Item = String>) -> ProxyMessage {
    answer(Message::Subscribe(proto::Subscribe {
        names_added: names.into_iter().collect(),
        ..proto::Subscribe::default()
    }))
}

/// The status a stream ends with; what is pushed until then is acknowledged.
async fn end_of(opened: &mut Opened) -> Status {
    loop {
        match opened.hear().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a reason"),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn a_pod_has_one_stream_and_the_newest_is_it() {
    let server = Server::start().await;
    let mut first = server.with_token("web", "shop/web-1").await.unwrap();
    assert!(first.hear().await.unwrap().is_some());
    let mut second = server.with_token("web", "shop/web-1").await.unwrap();
    assert!(second.hear().await.unwrap().is_some());
    let status = end_of(&mut first).await;
    assert_eq!(status.code(), Code::Aborted, "{status}");
    assert!(status.message().contains("newer stream"), "{status}");
    assert!(status.metadata().contains_key("grpc-retry-pushback-ms"));
    // A storm of them leaves one, and is told to wait.
    let mut refused = 0;
    let mut open = Vec::new();
    for _ in 0..30 {
        match server.with_token("web", "shop/web-1").await {
            Ok(stream) => open.push(stream),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                refused += 1;
            }
        }
    }
    assert!(refused > 5, "{refused} of 30 were refused");
    soon(async {
        while server.registry.report(Instant::now()).len() != 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_storm_of_questions_is_answered_together() {
    const QUESTIONS: usize = 400;
    let server = Server::start().await;
    let mut opened = server.with_token("web", "shop/web-1").await.unwrap();
    let mut asked = BTreeSet::new();
    let (mut pushes, mut answered) = (0, BTreeSet::new());
    let say = opened.say.clone();
    let asking = tokio::spawn(async move {
        for index in 0..QUESTIONS {
            say.send(ask([format!("policy/no-{index}")])).await.unwrap();
        }
    });
    asked.extend((0..QUESTIONS).map(|index| format!("policy/no-{index}")));
    while answered.len() < QUESTIONS {
        let Some(server_message::Message::Push(push)) = opened.hear().await.unwrap() else {
            panic!("a push was expected");
        };
        pushes += 1;
        for name in push.removed {
            assert!(asked.contains(&name) && answered.insert(name));
        }
        let ack = Message::Ack(proto::Ack { nonce: push.nonce });
        opened.say.send(answer(ack)).await.unwrap();
    }
    asking.await.unwrap();
    assert!(
        pushes < QUESTIONS / 4,
        "{pushes} pushes for {QUESTIONS} questions"
    );
}

#[tokio::test]
async fn a_nack_of_anything_but_what_was_sent_changes_nothing_and_costs_little() {
    let server = Server::start().await;
    let mut opened = server.with_token("web", "shop/web-1").await.unwrap();
    let Some(server_message::Message::Push(push)) = opened.hear().await.unwrap() else {
        panic!("a push was expected");
    };
    let sent = &push.resources[0];
    let rejection = |name: &str, version: u64| proto::Rejection {
        name: name.to_owned(),
        version,
        field: "see https://evil.example for help".to_owned(),
        reason: "x".repeat(1000),
    };
    let mut rejections: Vec<_> = (0..999)
        .map(|_| rejection(&sent.name, sent.version))
        .collect();
    let others = (0..20_000).map(|index| rejection(&format!("routes/80/h{index}.example"), 1));
    rejections.extend(others.map(|mut one| {
        one.reason.truncate(10);
        one
    }));
    let nonce = push.nonce;
    let nack = Message::Nack(proto::Nack { nonce, rejections });
    opened.say.send(answer(nack)).await.unwrap();
    let refused = soon(async {
        loop {
            let report = server.registry.report(Instant::now());
            let refused = Arc::clone(&report[0].refused);
            if !refused.is_empty() {
                return refused;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let [one] = &refused.first[..] else {
        panic!("{refused:?}");
    };
    assert_eq!(one.resource, sent.name);
    assert_eq!(one.field, "", "what is no path is not taken for one");
    assert!(one.reason.len() <= 200, "{}", one.reason.len());
}

#[tokio::test]
async fn a_hello_that_holds_more_than_there_can_be_is_refused() {
    let server = Server::start().await;
    let mut client = DiscoveryClient::new(server.channel().await.unwrap());
    client = client.max_encoding_message_size(64 << 20);
    for (held, expected) in [(70_000, "held"), (900_000, "at most")] {
        let (say, said) = mpsc::channel(4);
        let mut hello = hello("shop/web-1");
        if let Some(Message::Hello(hello)) = &mut hello.message {
            hello.held = (0..held)
                .map(|index| proto::HeldResource {
                    name: format!("policy/{index}"),
                    version: 1,
                })
                .collect();
        }
        say.send(hello).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(said));
        let header = format!("Bearer {}", token("web")).parse().unwrap();
        request.metadata_mut().insert("authorization", header);
        let answers = soon(client.stream(request)).await.unwrap().into_inner();
        let status = end_of(&mut Opened { say, answers }).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains(expected), "{status}");
    }
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let server = Server::start().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let mut opened = server.with_token("web", "shop/web-1").await.unwrap();
    assert!(opened.hear().await.unwrap().is_some());
    // The oldest went for it: reading from it ends.
    let mut oldest = silent.remove(0);
    let mut rest = Vec::new();
    let ended = soon(oldest.read_to_end(&mut rest)).await;
    assert!(ended.is_err() || rest.is_empty());
}
