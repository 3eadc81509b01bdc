//! Each check, both ways.

use super::{Verdict::*, *};
use crate::{
    config::SETTINGS,
    io::probe::{
        Problem,
        room::{self, CONNECTIONS_UNLESS_TOLD},
    },
};

/// A machine on which nothing is to be found fault with, for a million connections.
fn fine() -> Machine {
    Machine {
        release: Some("6.18.44".to_owned()),
        uring: Uring::Usable { found: "1 ring".into() },
        cores: 2,
        page: 4096,
        nofile: 2_000_000,
        memlock: 8 << 20,
        can_lock: Some(false),
        memory_available: Some(16 << 30),
        files: Some((1_000, 4_000_000)),
        somaxconn: Some(65_535),
        syn_backlog: Some(65_535),
        tcp_mem: Some([1_000_000, 2_000_000, 3_000_000]),
        ports: Some((1_024, 65_535)),
        hash_buckets: Some(1 << 20),
        conntrack: None,
        migrates: Some(true),
    }
}

fn wish(connections: u64, io: IoChoice) -> Wish {
    Wish { connections, io, shards: 2, backlog: 4_096, ports: vec![8_080] }
}

const MILLION: u64 = 1_000_000;

fn find(machine: &Machine, wish: &Wish, name: &str) -> Check {
    let found = judge(machine, wish).into_iter().find(|check| check.name == name);
    found.expect("a check of this name")
}

/// Breaks the fine machine in one way and says what the check of this name then finds.
#[track_caller]
fn broken(name: &str, wish: &Wish, expected: Verdict, breaks: impl FnOnce(&mut Machine)) -> Check {
    let mut machine = fine();
    breaks(&mut machine);
    let check = find(&machine, wish, name);
    assert_eq!(check.verdict, expected, "{check:?}");
    assert_eq!(check.remedy.is_empty(), expected == Ok, "{check:?}");
    check
}

/// A machine that has everything passes every check, with all three kernels.
#[test]
fn a_fine_machine_passes() {
    for io in [IoChoice::Auto, IoChoice::Uring, IoChoice::Epoll] {
        for check in judge(&fine(), &wish(MILLION, io)) {
            assert_eq!((check.verdict, check.remedy.as_str()), (Ok, ""), "{check:?}");
        }
    }
}

/// About a machine that tells nothing, no check fails and none that matters says OK.
#[test]
fn an_unreadable_machine_is_unknown() {
    let machine = Machine {
        release: None,
        can_lock: None,
        memory_available: None,
        files: None,
        somaxconn: None,
        syn_backlog: None,
        tcp_mem: None,
        ports: None,
        hash_buckets: None,
        migrates: None,
        ..fine()
    };
    let checks = judge(&machine, &wish(MILLION, IoChoice::Auto));
    let unknown = checks.iter().filter(|check| check.finding.starts_with("unknown: ")).count();
    assert_eq!(unknown, 8, "{checks:?}");
    assert!(checks.iter().all(|check| check.verdict != Fail), "{checks:?}");
}

/// An old kernel cannot be used for io_uring, and for epoll is merely untested.
#[test]
fn the_kernel_is_recent_enough() {
    let release = |release: &str| {
        let release = Some(release.to_owned());
        move |machine: &mut Machine| machine.release = release
    };
    let (uring, epoll) = (wish(1, IoChoice::Auto), wish(1, IoChoice::Epoll));
    for fine in ["6.1.0-13-amd64", "6.18.44", "7.0-rc1"] {
        broken("kernel", &uring, Ok, release(fine));
    }
    broken("kernel", &uring, Fail, release("5.15.0-100-generic"));
    broken("kernel", &epoll, Warn, release("5.15.0-100-generic"));
    broken("kernel", &uring, Warn, release("unknowable"));
}

/// Without io_uring the wish fails if it was demanded, and turns to epoll if not.
#[test]
fn io_uring_is_to_be_had() {
    let refused = |machine: &mut Machine| {
        machine.uring = Uring::Refused { problem: Problem::Disabled { value: 2 } };
    };
    broken("io_uring", &wish(1, IoChoice::Uring), Fail, refused);
    broken("io_uring", &wish(1, IoChoice::Epoll), Ok, refused);
    let check = broken("io_uring", &wish(1, IoChoice::Auto), Warn, refused);
    assert!(check.finding.contains("kernel.io_uring_disabled=2"), "{}", check.finding);
    broken("nofile", &wish(MILLION, IoChoice::Auto), Fail, |machine| {
        refused(machine);
        machine.nofile = 20_000;
    });
}

/// With rings a low limit means more rings; with epoll it is the limit of connections.
#[test]
fn descriptors_are_enough() {
    let nofile = |nofile| move |machine: &mut Machine| machine.nofile = nofile;
    let uring = |connections| wish(connections, IoChoice::Uring);
    let check = broken("nofile", &uring(MILLION), Ok, nofile(20_000));
    assert_eq!(check.finding, "20,000: 26 rings for each of 2 shards, 258 open files in all");
    let check = broken("nofile", &uring(MILLION), Fail, nofile(1_024));
    assert_eq!(check.remedy, "ulimit -n 1122, or LimitNOFILE=1122 in the unit");

    let epoll = |connections| wish(connections, IoChoice::Epoll);
    broken("nofile", &epoll(19_800), Ok, nofile(20_000));
    let check = broken("nofile", &epoll(19_801), Fail, nofile(20_000));
    assert_eq!(check.remedy, "ulimit -n 20001, or LimitNOFILE=20001 in the unit");
    broken("nofile", &epoll(u64::MAX), Fail, nofile(20_000));
    broken("nofile", &uring(u64::MAX), Fail, nofile(256));
    broken("nofile", &epoll(MILLION), Ok, nofile(u64::MAX));
}

/// The figures are those that the plan's own test of the same limits expects; one connection more
/// than the limit has room for fails with the limit that it would take.
#[test]
fn the_doctor_agrees_with_the_plan() {
    for (limit, connections, rings) in [
        (256, 11_860, 25),
        (400, 74_418, 97),
        (512, 100_000, 102),
        (1024, 100_000, 51),
        (20_000, 100_000, 3),
    ] {
        let nofile = |machine: &mut Machine| machine.nofile = limit;
        let check = broken("nofile", &wish(connections, IoChoice::Auto), Ok, nofile);
        let expected = format!("{}: {rings} rings for each of 2 shards, ", grouped(limit));
        assert!(check.finding.starts_with(&expected), "{check:?}");

        let most = room::most(2, limit);
        assert_eq!(connections, u64::from(most.min(CONNECTIONS_UNLESS_TOLD)));
        if most < CONNECTIONS_MAX {
            let more = wish(u64::from(most) + 1, IoChoice::Auto);
            let check = broken("nofile", &more, Fail, nofile);
            let needed = format!("ulimit -n {},", room::files_needed(most + 1, 2));
            assert!(check.remedy.starts_with(&needed), "{check:?}");
        }
    }
}

/// What the setting max-connections would refuse fails here in its words.
#[test]
fn impossible_wishes_are_refused() {
    for (connections, finding) in
        [(0, "0 is too little"), (16_777_217, "16777217 is too much"), (u64::MAX, "")]
    {
        for io in [IoChoice::Uring, IoChoice::Epoll] {
            let check = broken("connections", &wish(connections, io), Fail, |_| {});
            assert!(check.finding.contains(finding), "{check:?}");
            assert_eq!(check.remedy, "write a whole number from 1 to 16777216");
        }
    }
    broken("connections", &wish(1, IoChoice::Auto), Ok, |_| {});
    broken("connections", &wish(16_777_216, IoChoice::Auto), Ok, |_| {});
    let range = SETTINGS.iter().find(|setting| setting.name == "max-connections").unwrap().range;
    assert_eq!(range, Some(("1", CONNECTIONS_MAX.to_string().as_str())));
}

/// Locked memory counts only with rings, on kernels from 6.14, without the capability.
#[test]
fn locked_memory_holds_the_rings() {
    let uring = wish(MILLION, IoChoice::Uring);
    let small = |machine: &mut Machine| (machine.nofile, machine.memlock) = (20_000, 64 << 10);
    let check = broken("memlock", &uring, Fail, small);
    assert_eq!(check.finding, "64 KiB does not hold 52 rings of 145 KiB");
    broken("memlock", &wish(MILLION, IoChoice::Epoll), Ok, small);
    broken("memlock", &uring, Ok, |machine| {
        small(machine);
        machine.can_lock = Some(true);
    });
    broken("memlock", &uring, Ok, |machine| {
        small(machine);
        machine.release = Some("6.12.1".to_owned());
    });
    broken("memlock", &uring, Ok, |machine| machine.memlock = 2 * 145 * 1024);
    broken("memlock", &uring, Fail, |machine| machine.memlock = 2 * 145 * 1024 - 1);
}

/// Idle connections must fit; that one in a hundred stalls should.
#[test]
fn memory_holds_the_connections() {
    let available = |bytes| move |machine: &mut Machine| machine.memory_available = Some(bytes);
    let wish = wish(MILLION, IoChoice::Auto);
    broken("memory", &wish, Ok, available(4_750_000_000));
    broken("memory", &wish, Warn, available(4_749_999_999));
    broken("memory", &wish, Warn, available(4_500_000_000));
    let check = broken("memory", &wish, Fail, available(4_499_999_999));
    assert_eq!(check.remedy, "add memory, or wish for at most 999,999");
}

/// Files that are open already count.
#[test]
fn open_files_are_enough() {
    let files = |files| move |machine: &mut Machine| machine.files = Some(files);
    let wish = wish(MILLION, IoChoice::Auto);
    broken("file-max", &wish, Ok, files((500, 1_000_500)));
    let check = broken("file-max", &wish, Fail, files((501, 1_000_500)));
    assert_eq!(check.remedy, "sysctl -w fs.file-max=2001002");
}

/// A page for everybody should fit below the pressure mark.
#[test]
fn tcp_memory_holds_a_publication() {
    let pressure =
        |pages| move |machine: &mut Machine| machine.tcp_mem = Some([1, pages, 2 * pages]);
    let wish = wish(MILLION, IoChoice::Auto);
    broken("tcp_mem", &wish, Ok, pressure(MILLION));
    let check = broken("tcp_mem", &wish, Warn, pressure(MILLION - 1));
    assert_eq!(check.remedy, "sysctl -w net.ipv4.tcp_mem=\"500000 1000000 1500000\"");
}

/// Queues shorter than the backlog are warned about.
#[test]
fn queues_hold_the_backlog() {
    let wish = wish(1, IoChoice::Auto);
    broken("somaxconn", &wish, Ok, |machine| machine.somaxconn = Some(4_096));
    let check = broken("somaxconn", &wish, Warn, |machine| machine.somaxconn = Some(4_095));
    assert_eq!(check.remedy, "sysctl -w net.core.somaxconn=4096");
    broken("syn_backlog", &wish, Ok, |machine| machine.syn_backlog = Some(4_096));
    broken("syn_backlog", &wish, Warn, |machine| machine.syn_backlog = Some(512));
}

/// The port range never keeps a server from anything, and the finding says whom it concerns.
#[test]
fn ports_concern_only_a_load_tester() {
    let ports = |machine: &mut Machine| machine.ports = Some((32_768, 60_999));
    let few = broken("port range", &wish(28_232, IoChoice::Auto), Ok, ports).finding;
    assert_eq!(few, "28,232 ports, and only a load tester on this machine needs them");
    let many = broken("port range", &wish(MILLION, IoChoice::Auto), Ok, ports).finding;
    assert_eq!(many, format!("{few}: let it dial 36 addresses"));
}

/// More than two connections to a bucket are warned about, with a table that would do.
#[test]
fn the_hash_is_large_enough() {
    let buckets = |machine: &mut Machine| machine.hash_buckets = Some(262_144);
    broken("tcp hash", &wish(524_288, IoChoice::Auto), Ok, buckets);
    let check = broken("tcp hash", &wish(MILLION, IoChoice::Auto), Warn, buckets);
    assert!(check.remedy.contains("tcp_child_ehash_entries=2097152"), "{check:?}");
    assert!(check.remedy.contains("network namespace"), "{check:?}");
    broken("tcp hash", &wish(u64::MAX, IoChoice::Auto), Warn, buckets);
}

/// A tracking table that would overflow fails the wish; one that is unused does not.
#[test]
fn conntrack_holds_the_connections() {
    let wish = wish(MILLION, IoChoice::Auto);
    let table = |count, max| {
        move |machine: &mut Machine| machine.conntrack = Some(Conntrack { count, max })
    };
    broken("conntrack", &wish, Ok, table(0, 2_000_000));
    broken("conntrack", &wish, Warn, table(0, 262_144));
    broken("conntrack", &wish, Warn, table(5, 2_000_000));
    let check = broken("conntrack", &wish, Fail, table(5, 262_144));
    assert!(check.remedy.contains("--dport 8080 -j NOTRACK"), "{check:?}");
}

/// Handing on a listener's queue matters as soon as there is a second listener.
#[test]
fn a_closing_listener_hands_its_queue_on() {
    let off = |machine: &mut Machine| machine.migrates = Some(false);
    broken("tcp_migrate_req", &wish(1, IoChoice::Auto), Warn, off);
    broken("tcp_migrate_req", &Wish { shards: 1, ..wish(1, IoChoice::Auto) }, Ok, off);
}

/// The report has a line per check, remedies under theirs, and ends with the answer.
#[test]
fn the_report_ends_with_the_answer() {
    let wish = wish(MILLION, IoChoice::Auto);
    let report = |checks: &[Check]| Report { wish: &wish, checks }.to_string();
    let (good, bad) = (Check::ok("a", "1"), Check::fail("bbb", "2", "do 3"));
    assert_eq!(
        report(&[good.clone(), bad]),
        "OK    a    1\nFAIL  bbb  2\n             do 3\n\n\
         This machine cannot hold 1,000,000 connections as it is: 1 check failed.\n",
    );
    assert!(report(&[good]).ends_with("\nThis machine can hold 1,000,000 connections.\n"));
}

/// Only the number of shards depends on the machine.
#[test]
fn a_wish_follows_the_configuration() {
    let config = |pairs| Config::with(pairs).unwrap();
    assert_eq!(Wish::new(1, &config(&[]), &fine()).shards, 2);
    let wish = Wish::new(1, &config(&[("shards", "7"), ("backlog", "9")]), &fine());
    assert_eq!((wish.shards, wish.backlog, &wish.ports[..]), (7, 9, &[8080][..]));
}
