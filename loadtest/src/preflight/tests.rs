//! Each limit at its boundary: at 98 % it speaks, one below it is silent.

use super::{Severity::*, *};
use crate::{plan, watch::files::Proc};

/// A million connections on loopback.
fn demand() -> Demand {
    Demand {
        connections: MILLION,
        server_is_here: true,
        ramp_per_second: 40_000,
        source_addresses: None,
        threads: 2,
    }
}

fn connections(connections: u64) -> Demand {
    Demand { connections, ..demand() }
}

const MILLION: u64 = 1_000_000;

/// A machine of which nothing is known and whose descriptors never end.
fn unlimited() -> Limits {
    Limits { nofile: u64::MAX, ..Limits::default() }
}

#[track_caller]
fn only(demand: &Demand, limits: &Limits) -> Finding {
    let mut findings = check(demand, limits);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.remove(0)
}

#[track_caller]
fn silent(demand: &Demand, limits: &Limits) {
    assert_eq!(check(demand, limits), []);
}

/// A server elsewhere is connected to from one address, and so is one on IPv6's only loopback
/// address; ports count for each of several targets.
#[test]
fn ports_are_counted_where_addresses_are_not_ours_to_choose() {
    let sources = |targets: &[&str]| {
        let subscribe = targets.iter().map(|target| Subscribe {
            address: target.parse().expect("an address"),
            host: String::new(),
            path: String::new(),
            headers: Vec::new(),
            tls: None,
            tokens: Vec::new(),
        });
        let subscribe: Vec<_> = subscribe.map(|it| (Transport::WebSocket, it)).collect();
        Demand::of(&plan::sample(), &subscribe, 60_000, 2).source_addresses
    };
    assert_eq!(sources(&["127.0.0.1:80"]), None);
    for elsewhere in ["192.0.2.1:80", "[::1]:80", "[2001:db8::1]:80"] {
        assert_eq!(sources(&[elsewhere, elsewhere]), Some(1), "{elsewhere}");
    }
    assert_eq!(sources(&["192.0.2.1:80", "192.0.2.1:81"]), None);
}

/// What a limit needs to be is the least that is silent, and the most within it is, too.
#[test]
fn the_least_and_the_most_are_exact() {
    for needed in (0..500).chain([979_999, 980_000, 2_000_000, 1 << 40]) {
        let enough = enough_for(needed);
        assert!(!is_tight(needed, enough) && is_tight(needed, enough - 1), "{needed}");
    }
    for limit in (1..500).chain([999_999, MILLION, 1 << 40]) {
        let most = most_within(limit);
        assert!(!is_tight(most, limit) && is_tight(most + 1, limit), "{limit}");
    }
    assert_eq!(enough_for(2_000_000), 2_040_817);
    assert_eq!((enough_for(u64::MAX), most_within(0)), (u64::MAX, 0));
}

/// A machine about which nothing is known is found no fault with.
#[test]
fn the_unknown_is_not_checked() {
    silent(&demand(), &unlimited());
}

/// What stops a run is said before what slows it.
#[test]
fn what_stops_the_run_comes_first() {
    let limits = Limits {
        somaxconn: Some(128),
        hash_buckets: Some(1),
        files: Some(Taken { taken: 0, max: 1 }),
        conntrack: Some(Taken { taken: 1, max: 1 }),
        ..unlimited()
    };
    let severities: Vec<_> = check(&demand(), &limits).iter().map(|it| it.severity).collect();
    assert_eq!(severities, [Stops, Stops, Advice, Advice]);
}

/// Both ends are open files of this machine if the server is here.
#[test]
fn open_files_at_their_boundary() {
    let limits = Limits { files: Some(Taken { taken: 80_000, max: MILLION }), ..unlimited() };
    silent(&connections(449_999), &limits);
    let finding = only(&connections(450_000), &limits);
    assert_eq!(finding.severity, Stops);
    let what = "fs.file-max is 1,000,000, and 900,000 sockets besides 80,000 open files need \
                1,000,001";
    assert_eq!(finding.what, what);
    assert_eq!(finding.fix, "sysctl -w fs.file-max=1100000");

    let one_end = |connections| Demand { connections, server_is_here: false, ..demand() };
    silent(&one_end(899_999), &limits);
    only(&one_end(900_000), &limits);
}

/// A connection takes 8.5 kB with both ends here and 4.4 kB with one.
#[test]
fn memory_at_its_boundary() {
    let available = |bytes| Limits { memory_available: Some(bytes), ..unlimited() };
    // 98 % of it are a fraction of a byte above 8,500,000,000, and of one byte less, below.
    silent(&demand(), &available(8_673_469_388));
    let finding = only(&demand(), &available(8_673_469_387));
    assert_eq!(finding.severity, Stops);
    let what = "8.67 GB of memory are available, and 1,000,000 connections need 8.5 GB, \
                besides what the server takes";
    assert_eq!(finding.what, what);
    assert_eq!(finding.fix, "add memory, or open at most 999,999 connections");

    let one_end = Demand { server_is_here: false, ..demand() };
    silent(&one_end, &available(4_489_795_919));
    only(&one_end, &available(4_489_795_918));
}

/// A page for each connection, beyond what is in use.
#[test]
fn tcp_buffers_at_their_boundary() {
    let limits = Limits { tcp_pages: Some(Taken { taken: 163, max: MILLION }), ..unlimited() };
    silent(&connections(979_836), &limits);
    let finding = only(&connections(979_837), &limits);
    assert_eq!(finding.severity, Advice);
    let what = "net.ipv4.tcp_mem ends at 1,000,000 pages, and one publication to 979,837 \
                connections may take 1,000,001";
    assert_eq!(finding.what, what);
    assert_eq!(finding.fix, "sysctl -w net.ipv4.tcp_mem=\"550000 825000 1100000\"");
}

/// Few ports are slow and too few impossible. Loopback has as many addresses as wanted.
#[test]
fn ports_at_their_boundaries() {
    let limits = Limits { ports: Some(28_232), ..unlimited() };
    let from_two = |connections| Demand { connections, source_addresses: Some(2), ..demand() };
    silent(&from_two(19_599), &limits);
    let finding = only(&from_two(19_600), &limits);
    assert_eq!(finding.severity, Advice);
    let what = "net.ipv4.ip_local_port_range has 28,232 ports: 2 source addresses can open \
                20,000 connections quickly and 56,464 at most, and 19,600 are wanted";
    assert_eq!(finding.what, what);
    let widen = "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"";
    assert_eq!(finding.fix, widen);

    // 98 % of 56,464 are 55,334.72.
    assert_eq!(only(&from_two(55_334), &limits).severity, Advice);
    let finding = only(&from_two(55_335), &limits);
    assert_eq!(finding.severity, Stops);
    let more = ", and 3 source addresses (ip address add ADDRESS dev DEVICE)";
    assert_eq!(finding.fix, format!("{widen}{more}"));
    silent(&demand(), &limits);
}

/// What a fix for too few ports promises is enough.
#[test]
fn more_ports_suffice() {
    let widest = Limits { ports: Some(64_512), ..unlimited() };
    let from = |addresses| Demand { source_addresses: Some(addresses), ..demand() };
    assert!(only(&from(1), &widest).fix.contains("and 45 source addresses"));
    silent(&from(45), &widest);
    only(&from(44), &widest);
}

/// The queue of a server that is here holds an eighth of a second's connections.
#[test]
fn the_accept_queue_at_its_boundary() {
    let limits = Limits { somaxconn: Some(5_000), ..unlimited() };
    let ramp = |ramp_per_second| Demand { ramp_per_second, ..demand() };
    silent(&ramp(39_199), &limits);
    let finding = only(&ramp(39_200), &limits);
    assert_eq!(finding.severity, Advice);
    let what = "net.core.somaxconn is 5,000, and 39,200 connections per second may queue 4,900: \
                what does not fit waits a second";
    assert_eq!(finding.what, what);
    assert_eq!(finding.fix, "sysctl -w net.core.somaxconn=5120, before the server starts");
    silent(&Demand { server_is_here: false, ..ramp(MILLION) }, &limits);
}

/// Rings, threads and pending connects are descriptors; connections are not.
#[test]
fn descriptors_at_their_boundary() {
    let nofile = |nofile| Limits { nofile, ..Limits::default() };
    // Two threads, each with 50 and a ring, and 576: 678, which are 98 % of 691.8.
    let few = connections(1_000);
    silent(&few, &nofile(692));
    let finding = only(&few, &nofile(691));
    assert_eq!(finding.severity, Stops);
    let what = "the hard limit of open files is 691, and 1,000 connections on 2 threads need 692";
    assert_eq!(finding.what, what);
    assert_eq!(finding.fix, "ulimit -n 1024");

    // A table has no more places than the limit: 500 rings for each thread.
    let finding = only(&demand(), &nofile(1_000));
    assert_eq!(finding.fix, "ulimit -n 2048");
    silent(&demand(), &nofile(2_048));
    silent(&demand(), &nofile(20_000));
}

/// Four sockets in a bucket are too many.
#[test]
fn the_hash_table_at_its_boundary() {
    let limits = Limits { hash_buckets: Some(250_000), ..unlimited() };
    silent(&connections(489_999), &limits);
    let finding = only(&connections(490_000), &limits);
    assert_eq!(finding.severity, Advice);
    let what = "the TCP hash has 250,000 buckets for 980,000 sockets, and finding one costs \
                processor time that would be the server's";
    assert_eq!(finding.what, what);
    let fix = "sysctl -w net.ipv4.tcp_child_ehash_entries=4194304, then a new network namespace: \
               scripts/million.sh does it";
    assert_eq!(finding.fix, fix);
    silent(&connections(MILLION), &Limits { hash_buckets: Some(4_194_304), ..unlimited() });
}

/// A table in use stops the run; one that nobody uses may never be.
#[test]
fn conntrack_at_its_boundary() {
    let table = |taken| Limits { conntrack: Some(Taken { taken, max: MILLION }), ..unlimited() };
    silent(&connections(979_992), &table(7));
    let finding = only(&connections(979_993), &table(7));
    assert_eq!(finding.severity, Stops);
    let what = "net.netfilter.nf_conntrack_max is 1,000,000, and 979,993 connections besides 7 \
                tracked ones need 1,000,001";
    assert_eq!(finding.what, what);
    assert_eq!(finding.fix, "sysctl -w net.netfilter.nf_conntrack_max=1100000");

    silent(&connections(979_999), &table(0));
    assert_eq!(only(&connections(980_000), &table(0)).severity, Advice);
}

/// What stands in the files is what is read; what is missing or in an unknown form is unknown.
#[test]
fn limits_are_read_as_the_kernel_writes_them() {
    let fake = Proc::fake(
        "preflight",
        &[
            ("meminfo", "MemTotal:       24684000 kB\nMemAvailable:   24377000 kB\n"),
            ("net/sockstat", "sockets: used 11\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 163\n"),
            ("sys/fs/file-nr", "1312\t0\t2466170\n"),
            ("sys/net/core/somaxconn", "many\n"),
            ("sys/net/ipv4/tcp_mem", "287898\t383867\t575796\n"),
            ("sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ("sys/net/ipv4/tcp_ehash_entries", "-262144\n"),
            ("sys/net/netfilter/nf_conntrack_max", "262144\n"),
            ("sys/net/netfilter/nf_conntrack_count", "7\n"),
        ],
    );
    let expected = Limits {
        files: Some(Taken { taken: 1_312, max: 2_466_170 }),
        nofile: u64::MAX,
        memory_available: Some(24_377_000 * 1024),
        tcp_pages: Some(Taken { taken: 163, max: 575_796 }),
        ports: Some(28_232),
        somaxconn: None,
        hash_buckets: Some(262_144),
        conntrack: Some(Taken { taken: 7, max: 262_144 }),
    };
    assert_eq!(Limits::read_from(&fake.0), expected);
    assert_eq!(Limits::read_from(&Proc::fake("preflight-empty", &[]).0), unlimited());
}

/// This machine tells its limits.
#[test]
fn this_machine_tells() {
    let limits = Limits::read().unwrap();
    assert!(limits.nofile > 0 && limits.memory_available > Some(0), "{limits:?}");
}
