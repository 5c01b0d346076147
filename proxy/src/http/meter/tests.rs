//! What passes is what came, less what is to be ignored, however it is cut into reads.

use std::collections::BTreeMap;
use std::future::poll_fn;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::net::Way;
use crate::net::connections::Connections;
use crate::net::slots::ConnectionSlots;

/// One frame as it is written down.
#[derive(Clone)]
struct Wire {
    kind: u8,
    flags: u8,
    stream: u32,
    content: Vec<u8>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, flags, length) = (self.kind, self.flags, self.content.len());
        write!(
            f,
            "kind {kind} flags {flags} stream {} length {length}",
            self.stream
        )
    }
}

impl Wire {
    fn new(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Self {
        let content = content.to_vec();
        Self {
            kind,
            flags,
            stream,
            content,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = FrameHead::data(self.stream, self.content.len());
        head[3] = self.kind;
        head[4] = self.flags;
        [&head[..], &self.content].concat()
    }

    /// Whether it passes where no head is open.
    fn passes(&self) -> bool {
        match self.kind {
            0 => self.flags & 9 != 0 || !self.content.is_empty(),
            2 => self.content.len() != PRIORITY || self.stream == 0,
            6 => self.flags & 1 == 0 || self.content.len() != PING,
            kind => kind < 10,
        }
    }
}

/// Those that pass: in the middle of a head all do, since nothing but its rest may come there.
fn passing(frames: &[Wire]) -> impl Iterator<Item = &Wire> {
    let mut in_head = false;
    frames.iter().filter(move |frame| {
        let passes = in_head || frame.passes();
        if passes {
            in_head = matches!(frame.kind, 1 | 9) && frame.flags & 4 == 0;
        }
        passes
    })
}

fn watched<T>(test: impl AsyncFnOnce(Rc<Meter>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let connections = Connections::default();
        let slot = ConnectionSlots::new(0, 1).acquire(Way::Inbound).unwrap();
        let seat = connections.arrive(slot, [127, 0, 0, 1].into());
        test(Meter::new(seat.watch())).await
    })
}

/// Reads what there is, in turns and in pieces of at most `size`.
async fn read(metered: &mut Metered<tokio::io::DuplexStream>, size: usize) -> Vec<u8> {
    let mut read = Vec::new();
    loop {
        metered.meter.begin_turn();
        let mut room = vec![0; size];
        let mut buffer = ReadBuf::new(&mut room);
        let polled = poll_fn(|context| {
            let polled = Pin::new(&mut *metered).poll_read(context, &mut buffer);
            Poll::Ready(polled)
        });
        // The runtime does not ask for its turn here: what is pending has nothing to read.
        match tokio::task::unconstrained(polled).await {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return read,
            Poll::Ready(Ok(())) => read.extend_from_slice(buffer.filled()),
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending if metered.meter.turn.get() == 0 => {}
            Poll::Pending => return read,
        }
    }
}

fn pass(frames: &[Wire], cuts: &[usize], size: usize) -> Vec<u8> {
    let mut bytes = vec![b'p'; PREFACE];
    bytes.extend(frames.iter().flat_map(Wire::bytes));
    watched(async |meter| {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut metered = Metered::new(near, &meter);
        let mut passed = Vec::new();
        let mut cuts = cuts.iter().cycle();
        while !bytes.is_empty() {
            let rest = bytes.split_off((*cuts.next().unwrap()).clamp(1, bytes.len()));
            far.write_all(&bytes).await.unwrap();
            passed.extend(read(&mut metered, size).await);
            bytes = rest;
        }
        assert_eq!(meter.abuse(), None);
        passed
    })
}

fn frames() -> impl Strategy<Value = Vec<Wire>> {
    let content = prop_oneof![
        Just(0_usize),
        Just(PING),
        Just(PRIORITY),
        1_usize..40,
        200_usize..300,
        Just(3_000)
    ];
    let one = (
        0_u8..13,
        prop_oneof![1 => Just(0_u8), 1 => Just(1), 1 => Just(8), 3 => Just(4), 1 => Just(5)],
        0_u32..6,
        content,
    );
    let wire = one.prop_map(|(kind, flags, stream, length)| {
        Wire::new(kind, flags, stream, &vec![kind; length])
    });
    proptest::collection::vec(wire, 0..40)
}

proptest! {
    #[test]
    fn what_passes_does_not_depend_on_how_it_is_cut(
        frames in frames(),
        cuts in proptest::collection::vec(1_usize..400, 1..8),
        size in prop_oneof![Just(1_usize), 5_usize..64, Just(8_192)],
    ) {
        let mut expected = vec![b'p'; PREFACE];
        expected.extend(passing(&frames).flat_map(Wire::bytes));
        let passed = pass(&frames, &cuts, size);
        let first = passed.iter().zip(&expected).position(|(one, other)| one != other);
        prop_assert_eq!((passed.len(), first), (expected.len(), None));
    }

    /// Frames come, and are read, in any order; of each stream everything arrives, in its order, and
    /// few small frames lie around.
    #[test]
    fn small_frames_are_joined_and_nothing_is_lost(
        steps in proptest::collection::vec((0_u32..3, 0_u8..8, 1_usize..300), 1..400),
    ) {
        watched(async |meter| {
            let (near, mut far) = tokio::io::duplex(1 << 20);
            let mut metered = Metered::new(near, &meter);
            far.write_all(&[b'p'; PREFACE]).await.unwrap();
            let mut arrived = read(&mut metered, 8_192).await.split_off(PREFACE);
            let streams = [1, 3, 5];
            for stream in streams {
                meter.open(stream);
            }
            let mut sent: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
            let mut lying: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
            let mut got: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
            let mut counter = 0_u8;
            for (stream, action, length) in steps {
                let stream = stream * 2 + 1;
                if action == 0 {
                    // The reader of this stream takes one frame.
                    if let Some(length) = lying.entry(stream).or_default().pop() {
                        meter.read(stream, length);
                    }
                } else {
                    let content: Vec<u8> = (0..length)
                        .map(|_| {
                            counter = counter.wrapping_add(1);
                            counter
                        })
                        .collect();
                    sent.entry(stream).or_default().extend(&content);
                    let frame = Wire::new(0, 0, stream, &content);
                    far.write_all(&frame.bytes()).await.unwrap();
                }
                arrived.extend(read(&mut metered, 8_192).await);
                take(&mut arrived, &mut lying, &mut got);
                for (stream, lying) in &lying {
                    let small = lying.iter().filter(|length| **length < SMALL).count();
                    assert!(small <= 17, "{small} on {stream}");
                }
            }
            // Nobody reads any more: what waits passes all the same, so that it is accounted for.
            for stream in streams {
                meter.close(stream);
            }
            arrived.extend(read(&mut metered, 8_192).await);
            take(&mut arrived, &mut lying, &mut got);
            assert_eq!(sent, got);
            assert_eq!(meter.joining.borrow().waiting(), 0);
        });
    }
}

/// Takes whole DATA frames apart.
fn take(
    bytes: &mut Vec<u8>,
    lying: &mut BTreeMap<u32, Vec<usize>>,
    got: &mut BTreeMap<u32, Vec<u8>>,
) {
    while let Some(head) = FrameHead::parse(bytes) {
        assert_eq!(head.kind, Kind::Data);
        if bytes.len() < HEAD + head.length {
            return;
        }
        let rest = bytes.split_off(HEAD + head.length);
        got.entry(head.stream).or_default().extend(&bytes[HEAD..]);
        lying.entry(head.stream).or_default().push(head.length);
        *bytes = rest;
    }
}

#[test]
fn what_ends_a_stream_comes_after_what_waited() {
    watched(async |meter| {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut metered = Metered::new(near, &meter);
        far.write_all(&[b'p'; PREFACE]).await.unwrap();
        meter.open(1);
        for _ in 0..100 {
            let frame = Wire::new(0, 0, 1, b"x");
            far.write_all(&frame.bytes()).await.unwrap();
        }
        let first = read(&mut metered, 8_192).await.split_off(PREFACE);
        assert_eq!(first.len(), 16 * (HEAD + 1));
        let trailers = Wire::new(1, 5, 1, b"trailers").bytes();
        far.write_all(&trailers).await.unwrap();
        let rest = read(&mut metered, 8_192).await;
        let joined = Wire::new(0, 0, 1, &[b'x'; 84]).bytes();
        assert_eq!(rest, [joined, trailers].concat());
    });
}

#[test]
fn a_turn_ends_whatever_the_client_sends() {
    watched(async |meter| {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut metered = Metered::new(near, &meter);
        far.write_all(&[b'p'; PREFACE]).await.unwrap();
        let ping = Wire::new(6, 0, 0, &[7; PING]).bytes();
        for _ in 0..600 {
            far.write_all(&ping).await.unwrap();
        }
        let mut passed = 0;
        let mut turns = 0;
        loop {
            meter.begin_turn();
            let before = passed;
            loop {
                let mut room = [0; 1_024];
                let mut buffer = ReadBuf::new(&mut room);
                let polled = poll_fn(|context| {
                    Poll::Ready(Pin::new(&mut metered).poll_read(context, &mut buffer))
                });
                if polled.await.is_pending() {
                    break;
                }
                passed += buffer.filled().len();
            }
            if passed == before {
                break;
            }
            turns += 1;
        }
        assert_eq!(passed, PREFACE + 600 * ping.len());
        // One read beyond what a turn is for.
        assert!(turns >= 3, "{turns}");
    });
}

#[test]
fn who_floods_is_not_read_any_more() {
    watched(async |meter| {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut metered = Metered::new(near, &meter);
        far.write_all(&[b'p'; PREFACE]).await.unwrap();
        let answer = Wire::new(6, 1, 0, &[7; PING]).bytes();
        for _ in 0..2_000 {
            far.write_all(&answer).await.unwrap();
        }
        // Answers to nothing do not even reach the library.
        assert_eq!(read(&mut metered, 8_192).await.len(), PREFACE);
        assert_eq!(meter.abuse(), Some(Abuse::Ping));
    });
}

#[test]
fn nothing_comes_between_the_parts_of_a_head() {
    watched(async |meter| {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut metered = Metered::new(near, &meter);
        far.write_all(&[b'p'; PREFACE]).await.unwrap();
        meter.open(1);
        for _ in 0..30 {
            let frame = Wire::new(0, 0, 1, b"x");
            far.write_all(&frame.bytes()).await.unwrap();
        }
        read(&mut metered, 8_192).await;
        let begin = Wire::new(1, 0, 3, b"be").bytes();
        far.write_all(&begin).await.unwrap();
        assert_eq!(read(&mut metered, 8_192).await, begin);
        // What waited may go on, but not here.
        for _ in 0..16 {
            meter.read(1, 1);
        }
        assert_eq!(read(&mut metered, 8_192).await, b"");
        let end = Wire::new(9, 4, 3, b"gin").bytes();
        far.write_all(&end).await.unwrap();
        let joined = Wire::new(0, 0, 1, &[b'x'; 14]).bytes();
        assert_eq!(read(&mut metered, 8_192).await, [end, joined].concat());
    });
}

#[test]
fn what_is_too_long_for_a_frame_is_left_to_be_refused() {
    watched(async |meter| {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut metered = Metered::new(near, &meter);
        // Said twice, the preface is a frame of a kind nobody knows and of five megabytes.
        let twice = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".repeat(2);
        far.write_all(&twice).await.unwrap();
        assert_eq!(read(&mut metered, 8_192).await, twice);
    });
}
