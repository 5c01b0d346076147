//! Who goes, and who stays.

use super::*;

fn limits(seconds: u64) -> TimeLimits {
    let time = Duration::from_secs(seconds);
    TimeLimits {
        head: time,
        idle: time,
        stall: time,
    }
}

/// A little more than what makes a connection that carries bytes one with nothing to do.
const SILENCE_IS_OVER: Duration = Duration::from_secs(70);

fn peer(number: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, number])
}

async fn local(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

/// A connection that is there.
fn arrive(connections: &Connections, slots: &ConnectionSlots, from: u8) -> Option<Seat> {
    let slot = connections.place(slots, Way::Inbound)?;
    Some(connections.arrive(slot, peer(from)))
}

#[tokio::test(start_paused = true)]
async fn the_oldest_with_nothing_to_do_goes_and_nobody_at_work() {
    local(async {
        let (connections, slots) = (Connections::default(), ConnectionSlots::new(1, 3));
        let working = arrive(&connections, &slots, 1).unwrap();
        working.speaks_http(limits(60), true);
        let request = working.watch().begin();
        let carrying = arrive(&connections, &slots, 2).unwrap();
        carrying.carries(Duration::from_mins(5));
        let idle = arrive(&connections, &slots, 3).unwrap();
        idle.speaks_http(limits(60), true);
        assert_eq!(idle.watch().verdict(), Verdict::Fine);
        // There is a place for the newcomer, and the idle one knows that it is to go.
        let newcomer = arrive(&connections, &slots, 4).unwrap();
        assert_eq!(idle.watch().verdict(), Verdict::Idle);
        assert_eq!(slots.open(Way::Inbound), 4);
        drop(idle);
        assert_eq!(slots.open(Way::Inbound), 3);
        // Whoever is answered may go now; who carries bytes may not.
        drop(request);
        newcomer.carries(Duration::from_mins(5));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(arrive(&connections, &slots, 5).is_some());
        assert_eq!(working.watch().verdict(), Verdict::Idle);
        assert_eq!(carrying.watch().verdict(), Verdict::Fine);
        drop((working, carrying, newcomer));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_has_most_gives_way_first() {
    local(async {
        let (connections, slots) = (Connections::default(), ConnectionSlots::new(1, 50));
        let modest = arrive(&connections, &slots, 1).unwrap();
        modest.speaks_http(limits(600), false);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let greedy: Vec<Seat> = (0..500)
            .map(|_| {
                let seat = arrive(&connections, &slots, 2).unwrap();
                seat.speaks_http(limits(600), false);
                seat
            })
            .collect();
        assert_eq!(modest.watch().verdict(), Verdict::Fine);
        let told = greedy
            .iter()
            .filter(|seat| seat.watch().verdict() == Verdict::Idle);
        assert_eq!(told.count(), 451);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn when_all_are_at_work_the_newcomer_is_turned_away() {
    local(async {
        let (connections, slots) = (Connections::default(), ConnectionSlots::new(1, 2));
        let seats: Vec<Seat> = (0..2)
            .map(|_| arrive(&connections, &slots, 1).unwrap())
            .collect();
        for seat in &seats {
            seat.carries(Duration::from_mins(5));
        }
        assert!(arrive(&connections, &slots, 2).is_none());
        assert_eq!(slots.open(Way::Inbound), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bytes_that_have_been_silent_for_long_give_way_last() {
    local(async {
        let (connections, slots) = (Connections::default(), ConnectionSlots::new(1, 3));
        let [silent, talking] = [(); 2].map(|()| arrive(&connections, &slots, 1).unwrap());
        silent.carries(Duration::from_mins(5));
        talking.carries(Duration::from_mins(5));
        tokio::time::sleep(SILENCE_IS_OVER).await;
        talking.watch().moved();
        let idle = arrive(&connections, &slots, 1).unwrap();
        idle.speaks_http(limits(600), true);
        // Before it, although for shorter, whoever speaks HTTP.
        let _first = arrive(&connections, &slots, 2).unwrap();
        assert_eq!(idle.watch().verdict(), Verdict::Idle);
        assert_eq!(silent.watch().verdict(), Verdict::Fine);
        let given_up = silent.watch().given_up();
        assert!(futures_util::FutureExt::now_or_never(given_up).is_none());
        let second = arrive(&connections, &slots, 2).unwrap();
        second.carries(Duration::from_mins(5));
        silent.watch().given_up().await;
        assert_eq!(talking.watch().verdict(), Verdict::Fine);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_ended_with_its_task() {
    local(async {
        let (connections, slots) = (Connections::default(), ConnectionSlots::new(1, 1));
        let silent = arrive(&connections, &slots, 1).unwrap();
        let watch = Arc::clone(silent.watch());
        let task = tokio::task::spawn_local(async move {
            let _silent = silent;
            std::future::pending::<()>().await;
        });
        Seat::ends_with(&watch, task.abort_handle());
        drop(watch);
        let _newcomer = arrive(&connections, &slots, 2).unwrap();
        assert!(task.await.unwrap_err().is_cancelled());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(slots.open(Way::Inbound), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn time_runs_for_heads_answers_and_clients_that_take_nothing() {
    local(async {
        let (connections, slots) = (Connections::default(), ConnectionSlots::new(1, 9));
        let [head, late, stalled, idle, fine] = [(); 5].map(|()| {
            let seat = arrive(&connections, &slots, 1).unwrap();
            seat.speaks_http(limits(5), true);
            seat
        });
        head.watch().head_begins();
        let answer = late.watch().begin();
        answer.answer_within(Duration::from_secs(2));
        let stuck = stalled.watch().begin();
        stalled.watch().wrote(&std::task::Poll::Pending);
        let working = fine.watch().begin();
        fine.watch().wrote(&std::task::Poll::Pending);
        fine.watch().wrote(&std::task::Poll::Ready(Ok(1)));
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(answer.verdict(), Verdict::AnswerLate);
        assert_eq!(stuck.verdict(), Verdict::Fine);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(head.watch().verdict(), Verdict::HeadLate);
        assert_eq!(stuck.verdict(), Verdict::Stalled);
        assert_eq!(idle.watch().verdict(), Verdict::Idle);
        assert_eq!(working.verdict(), Verdict::Fine);
    })
    .await;
}
