//! What is in `packaging/`: each file is read by the program that it is for, and does with the real
//! server what it says.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{
    Folder, Io, Kind, Publisher, Server, Subscriber, ask, python, run, stentor, through, tool,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn packaged(path: &str) -> PathBuf {
    root().join("packaging").join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(packaged(path)).expect("it is there")
}

/// A command under the profile, or under the profile without some system calls.
fn under_seccomp(without: &str) -> Command {
    let mut command = python("under_seccomp.py");
    command.arg(packaged("seccomp.json"));
    if !without.is_empty() {
        command.args(["--without", without]);
    }
    command
}

/// Under the profile the server serves by io_uring, with a journal, as without it.
#[test]
fn the_seccomp_profile_allows_what_the_server_does() {
    for (io, engine) in [("uring", "io_uring: OK"), ("epoll", "epoll")] {
        let folder = Folder::new(&format!("seccomp-{io}"));
        let flags = ["--io", io, "--journal", folder.text(), "--channels", "* history=9"];
        let flags = [&flags[..], &["--input", "lines name=app from=tcp:127.0.0.1:0"]].concat();
        let server = Server::launch(&mut through(under_seccomp(""), &stentor(&flags)));
        assert!(server.stdout().contains(&format!("engine       {engine}")), "{}", server.stdout());
        let mut readers = Kind::BOTH.map(|kind| Subscriber::join(server.subscribers, kind, "news"));
        let position = Publisher::of(&server).publish("news", b"kept").0;
        readers.iter_mut().for_each(|reader| assert_eq!(reader.publication(), b"kept"));
        server.stop();
        let server = Server::launch(&mut through(under_seccomp(""), &stentor(&flags)));
        assert_eq!(server.shown("/channels/news")["position"], position.as_str(), "it was kept");
        server.stop();
    }
}

/// Without its first rule the profile is one that forbids io_uring; and it forbids what nobody needs
/// who serves: other namespaces, mounts, other processes' memory, modules, BPF.
#[test]
fn the_seccomp_profile_allows_no_more() {
    let ring = "io_uring_setup,io_uring_enter,io_uring_register";
    let server = Server::launch(&mut through(under_seccomp(ring), &stentor(&[])));
    assert!(server.stdout().contains("engine       epoll, since"), "{}", server.stdout());
    server.stop();
    let profile: Value = serde_json::from_str(&text("seccomp.json")).expect("JSON");
    let rules = profile["syscalls"].as_array().expect("rules");
    let of_rule = |rule: &Value| serde_json::from_value::<Vec<String>>(rule["names"].clone());
    assert_eq!(of_rule(&rules[0]).unwrap().len(), 3, "the ring's are a rule of their own");
    let all: Vec<String> = rules.iter().flat_map(|rule| of_rule(rule).unwrap()).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "each is named once");
    for denied in [
        "unshare",
        "setns",
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "ptrace",
        "bpf",
        "process_vm_readv",
        "init_module",
        "finit_module",
        "keyctl",
        "add_key",
        "userfaultfd",
        "perf_event_open",
        "open_by_handle_at",
        "personality",
        "reboot",
        "kexec_load",
        "swapon",
    ] {
        assert!(!all.iter().any(|name| name == denied), "{denied} is allowed");
    }
    let refused = under_seccomp("").args(["/usr/bin/unshare", "--mount", "true"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Operation not permitted"));
}

/// systemd finds nothing to complain of in the unit, and leaves it next to nothing that it could do
/// wrong; the exposure, of 10, is in tenths.
#[test]
fn the_unit_is_sound_and_sandboxed() {
    let folder = Folder::new("unit");
    let unit = folder.path().join("stentor.service");
    let program = env!("CARGO_BIN_EXE_stentor");
    let written = text("systemd/stentor.service").replace("/usr/bin/stentor", program);
    fs::write(&unit, written).expect("a file");
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new(tool("STENTOR_TEST_SYSTEMD", "/usr/bin/systemd-analyze"));
        command.args(arguments).arg(&unit).output().expect("it runs")
    };
    let verified = analyze(&["verify"]);
    let complaint = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && complaint.is_empty(), "{complaint}");
    let exposed = analyze(&["security", "--offline=true", "--no-pager", "--threshold=15"]);
    assert!(exposed.status.success(), "{}", String::from_utf8_lossy(&exposed.stdout));
}

/// The system calls that the unit leaves are enough, by io_uring and with a journal.
#[test]
fn the_unit_allows_what_the_server_does() {
    let mut allowed = BTreeSet::new();
    let unit = text("systemd/stentor.service");
    for line in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (denies, names) = line.strip_prefix('~').map_or((false, line), |names| (true, names));
        for name in names.split_whitespace().flat_map(system_calls) {
            _ = if denies { allowed.remove(&name) } else { allowed.insert(name) };
        }
    }
    assert!(allowed.contains("io_uring_setup") && !allowed.contains("chroot"), "{allowed:?}");
    let folder = Folder::new("filter");
    let profile = folder.path().join("filter.json");
    let rules = json!([{ "action": "SCMP_ACT_ALLOW", "names": allowed }]);
    let filter = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": rules
    });
    fs::write(&profile, filter.to_string()).expect("a file");
    let mut launcher = python("under_seccomp.py");
    launcher.arg(&profile);
    let flags = ["--io", "uring", "--journal", folder.text(), "--channels", "* history=9"];
    let server = Server::launch(&mut through(launcher, &stentor(&flags)));
    let mut readers = Kind::BOTH.map(|kind| Subscriber::join(server.subscribers, kind, "news"));
    Publisher::of(&server).publish("news", b"kept");
    readers.iter_mut().for_each(|reader| assert_eq!(reader.publication(), b"kept"));
    assert_eq!(server.shown("/channels/news")["kept"], 1);
    server.stop();
}

/// A system call, or all that a group of systemd's has.
fn system_calls(name: &str) -> Vec<String> {
    if !name.starts_with('@') {
        return vec![name.to_owned()];
    }
    let analyze = tool("STENTOR_TEST_SYSTEMD", "/usr/bin/systemd-analyze");
    let told = run(Command::new(analyze).args(["--no-pager", "syscall-filter", name]));
    let members = told.lines().skip(1).map(str::trim);
    members.filter(|it| !it.is_empty() && !it.starts_with('#')).flat_map(system_calls).collect()
}

/// The manifest is one of Kubernetes, its settings are settings, its probes are answered by the
/// server, and it gives the drain the time that it takes.
#[test]
fn the_manifest_is_one_that_runs() {
    let manifest = packaged("kubernetes/stentor.yaml");
    let validate = tool("STENTOR_TEST_KUBERNETES", ".venv/bin/kubernetes-validate");
    run(Command::new(validate).args(["--strict", "--quiet"]).arg(&manifest));
    let told = run(python("kubernetes.py").arg(&manifest));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let folder = Folder::new("manifest");
    let settings = folder.path().join("stentor.toml");
    fs::write(&settings, told["settings"].as_str().expect("TOML")).expect("a file");
    let shown = run(stentor(&["config", "--config"]).arg(&settings).env_clear());
    let drain = shown.lines().find_map(|line| line.strip_prefix("drain = \"")?.split_once("s\""));
    let drain: u64 = drain.expect("seconds").0.parse().expect("a number");
    assert_eq!((drain, told["before"].as_u64(), told["grace"].as_u64()), (30, Some(5), Some(60)));
    let server = Server::start(Io::Uring, &[]);
    let url = format!("http://{}", server.control);
    for (probe, words) in told["probes"].as_array().expect("probes").iter().zip([
        "\"ready\":true",
        "ok",
        "\"ready\":true",
    ]) {
        let command: Vec<&str> = probe.as_array().unwrap().iter().flat_map(Value::as_str).collect();
        assert_eq!(command[0], "stentor");
        let said = run(stentor(&command[1..]).args(["--url", &url]));
        assert!(said.contains(words), "{said}");
    }
    server.stop();
    let gone = stentor(&["health", "--url", &url]).output().expect("it runs");
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("nothing listens at"), "{gone:?}");
}

/// Prometheus takes the alerts; each fires when it is to and not before (in alerts_test.yml), and the
/// manual says what to do then.
#[test]
fn alerts_fire_when_they_are_to() {
    let folder = packaged("prometheus");
    for what in [
        &["check", "rules", "alerts.yml"][..],
        &["test", "rules", "alerts_test.yml"],
        &["check", "config", "--syntax-only", "prometheus.yml"],
    ] {
        let promtool = tool("STENTOR_TEST_PROMTOOL", ".venv/bin/promtool");
        run(Command::new(promtool).args(what).current_dir(&folder));
    }
    let manual = fs::read_to_string(root().join("docs/operations.md")).expect("the manual");
    let rules = text("prometheus/alerts.yml");
    let alerts: Vec<&str> = rules.lines().filter_map(|it| it.split("- alert: ").nth(1)).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    let tested = text("prometheus/alerts_test.yml");
    for alert in alerts {
        let row = manual.lines().find(|line| line.starts_with(&format!("| `{alert}` |")));
        assert!(row.is_some(), "{alert} has no row in docs/operations.md");
        assert_eq!(tested.matches(&format!("alertname: {alert}\n")).count(), 1, "{alert} fires");
        assert!(tested.contains(&format!("alertname: {alert} }}")), "{alert} is quiet once");
    }
}

/// Every metric that an alert, a panel or the manual names is one that the server has.
#[test]
fn every_metric_that_is_named_is_there() {
    let input = ["--input", "lines name=app from=tcp:127.0.0.1:0"];
    let server = Server::start(Io::Uring, &input);
    let answer = ask(server.control, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n");
    let told = String::from_utf8(answer.body).expect("text");
    let (mut there, mut histograms) = (BTreeSet::new(), Vec::new());
    for line in told.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        if kind == "histogram" {
            histograms.push(name);
        }
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[""],
        };
        there.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
    }
    server.stop();
    let board: Value = serde_json::from_str(&text("grafana/stentor.json")).expect("JSON");
    assert_eq!(board["title"], "Stentor");
    let manual = fs::read_to_string(root().join("docs/operations.md")).expect("the manual");
    let manual: Vec<&str> = manual.lines().filter(|it| it.starts_with("| `stentor_")).collect();
    // It speaks of a histogram by its name, not by those of its series.
    let series =
        |text: String, name: &&str| text.replace(&format!("`{name}`"), &format!("`{name}_sum`"));
    let manual = histograms.iter().fold(manual.join("\n"), series);
    for (place, text) in [
        ("alerts.yml", text("prometheus/alerts.yml")),
        ("stentor.json", board.to_string()),
        ("operations.md", manual),
    ] {
        let words = text.split(|it: char| !(it.is_ascii_alphanumeric() || it == '_'));
        let is_metric = |word: &&str| word.starts_with("stentor_") || word.starts_with("process_");
        let named: BTreeSet<&str> = words.filter(is_metric).collect();
        assert!(named.len() > 10, "{place} names {named:?}");
        for metric in named {
            assert!(there.contains(metric), "{place} names {metric}, which is none of {there:?}");
        }
    }
}

/// The image is built from what its ignore file lets through, by a compiler that is new enough, and runs
/// as nobody in particular.
#[test]
fn the_image_can_be_built_from_its_context() {
    let folder = Folder::new("context");
    let ignored = text("Dockerfile.dockerignore");
    for name in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
        symlink(root().join(name), folder.path().join(name)).expect("a link");
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]);
    let metadata: Value =
        serde_json::from_str(&run(cargo.current_dir(folder.path()))).expect("JSON");
    let ours = metadata["packages"].as_array().unwrap().iter().find(|it| it["name"] == "stentor");
    let wanted = ours.unwrap()["rust_version"].as_str().unwrap().to_owned();
    let dockerfile = text("Dockerfile");
    assert!(dockerfile.contains(&format!("FROM rust:{wanted}-slim-bookworm AS build")), "{wanted}");
    for line in ["USER 65532:65532", "STOPSIGNAL SIGTERM", "ENTRYPOINT [\"stentor\"]"] {
        assert!(dockerfile.lines().any(|it| it == line), "{line}");
    }
    assert!(dockerfile.contains("CMD [\"stentor\", \"health\"]"));
}
