#!/usr/bin/env bash
# Installs what the tests need where it is missing, and runs them. See --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly ALL=(fmt clippy doc test loom bench fuzz)
readonly POLICY=/usr/sbin/policy-rc.d
readonly FUZZ_SECONDS="${STENTOR_FUZZ_SECONDS:-10}"

help() {
    cat <<'HELP'
Usage: scripts/test.sh [STAGE]...

Runs every test of the project, or the stages that are named. What they need and the machine lacks is
installed first: Debian packages, and PyPI and npm packages into .venv and tests/browser/node_modules.

Stages of a whole run, in this order:
  fmt       the code is formatted
  clippy    no lint has a complaint, in tests and benches neither
  doc       the documentation can be built without a warning
  test      unit tests, property tests, doc tests, the command line, everything end to end, tidiness
  loom      every order of threads that the memory model allows, where threads share memory
  bench     each bench runs once
  fuzz      each parser of a peer's bytes, for $STENTOR_FUZZ_SECONDS (10)

By hand, for they need more than Rust's stable tools or take their time:
  miri      no undefined behaviour where there is `unsafe` without system calls; needs a nightly Rust
  deny      crates, licences and sources are those of deny.toml; needs cargo-deny

Parts of `test`:
  unit      only what needs no server
  e2e       only what runs the programs, end to end
  loadtest  only the load tester, all of its tests
  buses     only what runs edges on real brokers
  autobahn  only the conformance suite, on io_uring and on epoll
  browser   only what Chromium sees
  packaging only what is in packaging/, by the tools that read it
  setup     installs, and runs nothing
HELP
}

main() {
    for argument in "$@"; do
        case "$argument" in
        -h | --help) help && exit 0 ;;
        esac
        if ! declare -F "stage_$argument" >/dev/null; then
            echo "test.sh: there is no stage '$argument'; --help lists them" >&2
            exit 2
        fi
    done
    local stages=("$@")
    if [ $# -eq 0 ]; then stages=("${ALL[@]}"); fi
    set_up_rust
    # Most tests that take long wait for other processes.
    export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((2 * $(nproc)))}"
    for stage in "${stages[@]}"; do run_stage "$stage"; done
    echo "== all passed: ${stages[*]} (${SECONDS} s)"
}

stage_fmt() {
    local folder
    for folder in . fuzz verify/loom; do (cd "$folder" && cargo fmt --check) || return 1; done
}
stage_clippy() { cargo clippy --locked --all-targets -- -D warnings; }
stage_doc() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps; }
stage_test() { set_up_tools && set_up_packaging && set_up_brokers && cargo test --locked; }
stage_unit() { cargo test --locked --lib --bins --test cli --test tidy --test fault_proxy; }
stage_e2e() { set_up_tools && set_up_packaging && cargo test --locked --test e2e; }
stage_buses() { set_up_python && set_up_brokers && cargo test --locked -p stentor --test buses; }
stage_autobahn() { set_up_tools && cargo test --locked -p stentor --test e2e -- autobahn; }
stage_browser() { set_up_tools && cargo test --locked -p stentor --test e2e -- dashboard every_client the_client; }
stage_packaging() { set_up_packaging && cargo test --locked -p stentor --test e2e -- packaging::; }
stage_loadtest() { set_up_python && set_up_brokers && cargo test --locked -p stentor-loadtest; }
stage_loom() { cargo test --locked --release --manifest-path verify/loom/Cargo.toml; }
# Without `--bench` in its arguments a bench runs each of its parts once, and says nothing of time.
stage_bench() {
    set_up_python && set_up_brokers && cargo build --locked -p stentor-loadtest && cargo test --locked --bench '*'
}
# The compiler's interpreter takes minutes for what takes seconds: few cases, see `cfg!(miri)`.
stage_miri() {
    if ! cargo +nightly miri --version >/dev/null 2>&1; then
        echo "test.sh: there is no Miri; rustup component add --toolchain nightly miri rust-src" >&2
        exit 1
    fi
    MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked -p stentor --lib \
        --no-default-features --target-dir target/miri -- segment:: log:: live::
}
stage_deny() {
    if ! cargo deny --version >/dev/null 2>&1; then
        echo "test.sh: there is no cargo-deny; cargo install cargo-deny --locked" >&2
        exit 1
    fi
    cargo deny --locked check bans licenses sources
}
stage_setup() { set_up_tools && set_up_packaging && set_up_brokers; }

stage_fuzz() {
    cd fuzz
    cargo build --locked --release
    mkdir -p corpus
    tar -xzf seeds.tar.gz -C corpus
    local target
    for target in fuzz_targets/*.rs; do
        target="$(basename "$target" .rs)"
        mkdir -p artifacts "corpus/$target"
        echo "-- $target, $FUZZ_SECONDS s"
        cargo run --locked --release --quiet --bin "$target" -- -verbosity=0 -print_final_stats=1 \
            "-max_total_time=$FUZZ_SECONDS" -artifact_prefix=artifacts/ "corpus/$target"
    done
}

# Runs a stage as a process group of its own, so that its end is the end of all that it started.
run_stage() {
    local began=$SECONDS status=0
    echo "== $1"
    set -m
    ( "stage_$1" ) </dev/null &
    running=$!
    set +m
    wait "$running" || status=$?
    local left
    left="$(pgrep -l -g "$running" || true)"
    end_running
    if [ "$status" -ne 0 ]; then
        echo "== $1 FAILED after $((SECONDS - began)) s (again: scripts/test.sh $1)" >&2
        exit 1
    fi
    if [ -n "$left" ]; then
        echo "== $1 FAILED: it left processes running: $left" >&2
        exit 1
    fi
    echo "== $1 passed ($((SECONDS - began)) s)"
}

running=
end_running() {
    if [ -n "$running" ]; then kill -KILL -- "-$running" 2>/dev/null || true; fi
    running=
}
trap 'exit 130' INT
trap 'exit 143' TERM

# A linker, and the C and C++ compilers that the allocator and libFuzzer are built with.
set_up_rust() {
    if ! command -v cargo >/dev/null; then
        echo "test.sh: there is no cargo; install Rust from https://rustup.rs" >&2
        exit 1
    fi
    install_packages c++:build-essential pgrep:procps
    local component
    for component in fmt:rustfmt clippy:clippy; do
        if ! cargo "${component%:*}" --version >/dev/null 2>&1; then
            rustup component add "${component#*:}"
        fi
    done
}

# What the end-to-end tests drive. They find it by these variables.
set_up_tools() {
    set_up_python || return 1
    install_packages curl:curl node:nodejs npm:npm haproxy:haproxy
    # Without any font Chromium does not start.
    if ! command -v chromium >/dev/null; then install_packages :chromium :fonts-liberation; fi
    local browser=tests/browser
    if ! cmp -s "$browser/package-lock.json" "$browser/node_modules/installed.json"; then
        npm ci --prefix "$browser" --no-audit --no-fund --loglevel=error
        cp "$browser/package-lock.json" "$browser/node_modules/installed.json"
    fi
    STENTOR_TEST_NODE="$(command -v node)"
    STENTOR_TEST_CHROMIUM="$(command -v chromium)"
    export STENTOR_TEST_NODE STENTOR_TEST_CHROMIUM
}

# Python with the packages that tests use.
set_up_python() {
    install_packages python3:python3
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then install_packages :python3-venv; fi
    local wanted=tests/e2e/python/requirements.txt
    if ! cmp -s "$wanted" .venv/installed.txt; then
        python3 -m venv --clear .venv || return 1
        .venv/bin/pip install --quiet --disable-pip-version-check --requirement "$wanted" || return 1
        # A broker of Kafka's protocol. What pip makes of it is a script that starts it.
        (cd .venv/bin && ln -s ../lib/python3*/site-packages/noida_db/noida-db kafka)
        chmod +x .venv/bin/kafka
        cp "$wanted" .venv/installed.txt
    fi
    STENTOR_TEST_PYTHON="$PWD/.venv/bin/python"
    STENTOR_TEST_KOSOKU="$PWD/.venv/bin/kosoku"
    STENTOR_TEST_KAFKA="$PWD/.venv/bin/kafka"
    export STENTOR_TEST_PYTHON STENTOR_TEST_KOSOKU STENTOR_TEST_KAFKA
}

# What reads the files of packaging/. Of Prometheus only its checker is taken: the package would run it.
set_up_packaging() {
    set_up_python || return 1
    install_packages systemd-analyze:systemd unshare:util-linux
    if ! ldconfig -p | grep -q 'libseccomp\.so\.2'; then install_packages :libseccomp2; fi
    STENTOR_TEST_PROMTOOL="$PWD/.venv/bin/promtool"
    STENTOR_TEST_KUBERNETES="$PWD/.venv/bin/kubernetes-validate"
    export STENTOR_TEST_PROMTOOL STENTOR_TEST_KUBERNETES
    if [ -x "$STENTOR_TEST_PROMTOOL" ]; then return; fi
    echo "-- fetching promtool"
    local folder
    folder="$(mktemp -d)"
    if [ ! -e "$updated" ]; then
        as_root apt-get update -qq
        : >"$updated"
    fi
    (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root prometheus) || return 1
    dpkg-deb --fsys-tarfile "$folder"/prometheus_*.deb | tar -x -C "$folder" ./usr/bin/promtool
    install "$folder/usr/bin/promtool" "$STENTOR_TEST_PROMTOOL"
    rm -r "$folder"
}

# The brokers that tests start, each on a port and in a folder of its own. Their packages would run
# them as services of the machine, which is neither wanted nor left behind: Debian asks policy-rc.d
# before it starts one.
set_up_brokers() {
    # In Debian some of them are where only root looks for commands.
    PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
    local broker missing=()
    for broker in nats-server redis-server rabbitmq-server mosquitto; do
        if ! command -v "$broker" >/dev/null; then missing+=("$broker"); fi
    done
    if [ ${#missing[@]} -eq 0 ]; then return; fi
    local before after failed=
    before="$(running_brokers)"
    if [ ! -e "$POLICY" ]; then
        : >"$policy_made"
        printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$POLICY" || return 1
    fi
    install_packages "${missing[@]/#/:}" || failed=yes
    take_back_policy
    if [ -n "$failed" ]; then return 1; fi
    if [ -d /run/systemd/system ]; then as_root systemctl disable --quiet "${missing[@]}"; fi
    after="$(running_brokers)"
    if [ "$after" != "$before" ]; then
        echo "test.sh: installing ${missing[*]} has started something: $after" >&2
        return 1
    fi
}

running_brokers() { pgrep -l -x 'nats-server|redis-server|mosquitto|beam.smp|epmd' || true; }

take_back_policy() {
    if [ -e "$policy_made" ]; then as_root rm -f "$POLICY" "$policy_made"; fi
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs the Debian packages of the commands that are missing: COMMAND:PACKAGE, or :PACKAGE.
install_packages() {
    local pair missing=()
    for pair in "$@"; do
        if [ -z "${pair%%:*}" ] || ! command -v "${pair%%:*}" >/dev/null; then
            missing+=("${pair#*:}")
        fi
    done
    if [ ${#missing[@]} -eq 0 ]; then return; fi
    echo "-- installing ${missing[*]}"
    if [ ! -e "$updated" ]; then
        as_root apt-get update -qq
        : >"$updated"
    fi
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
}

# Stages are processes of their own: what they did is remembered in files. That the package lists are
# fresh, and that there is a policy of ours.
updated="$(mktemp -u)"
policy_made="$(mktemp -u)"
trap 'end_running; take_back_policy; rm -f "$updated"' EXIT

main "$@"
