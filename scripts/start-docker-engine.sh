#!/bin/sh
# Have a Docker Engine that runs arm64 containers: install and start one where
# none answers, and register QEMU with the kernel; with sudo when not root. Says
# nothing and changes nothing when all is there.
#
# usage: start-docker-engine.sh [PYTHON], that of an environment with pibench[container]
set -eu
python=${1:-.venv/bin/python}
log=/var/log/dockerd.log
deadline_s=60

fail() {
    echo "pibench: $1" >&2
    exit 3
}

# Honours DOCKER_HOST, as pibench does.
answers() {
    "$@" "$python" -c 'import docker; docker.from_env(timeout=5).ping()' >/dev/null 2>&1
}

mount_cgroups() {
    # An init system has done this; without one (a bare chroot, a small VM) nobody has. v2 has a
    # file of this name, v1 a folder for each controller.
    if [ ! -e /sys/fs/cgroup/cgroup.controllers ] && [ ! -e /sys/fs/cgroup/memory ]; then
        $sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup ||
            fail "no cgroup hierarchy is mounted, and none could be; in a container, it takes --privileged"
    fi
}

# The process id of a dockerd in the background that outlives this script and its terminal: in a
# session of its own, with none of the caller's files, which may be a lock or the pipe of a CI step.
start_by_hand() {
    $sudo "$python" - "$log" <<'END'
import os, subprocess, sys

os.environ["PATH"] += ":/usr/sbin:/sbin"
try:
    with open(sys.argv[1], "wb") as log:
        dockerd = subprocess.Popen(
            ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            close_fds=True, cwd="/", start_new_session=True,
        )
except OSError as error:
    sys.exit(f"pibench: the Docker Engine cannot be started: {error}")
print(dockerd.pid)
END
}

wait_until_it_answers() { # [PID]
    waited_s=0
    until answers; do
        [ -n "$sudo" ] && answers "$sudo" &&
            fail "the Docker Engine runs, but you may not use it; sudo usermod -aG docker $(id -un), and log in again"
        if [ "$waited_s" -ge "$deadline_s" ] || { [ -n "${1:-}" ] && [ ! -d "/proc/$1" ]; }; then
            $sudo tail -n 5 "$log" >&2 || true
            fail "the Docker Engine does not answer; see $log"
        fi
        sleep 1
        waited_s=$((waited_s + 1))
    done
}

needs_root() {
    [ -z "$sudo" ] || command -v sudo >/dev/null 2>&1 || fail "as root, please run: $0 $python"
}

sudo=""
if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
fi

if ! answers; then
    [ -z "${DOCKER_HOST:-}" ] ||
        fail "DOCKER_HOST=$DOCKER_HOST does not answer; correct or unset it"
    needs_root
    "$(dirname "$0")/install-system-packages.sh" engine
    # The package may have started it, or it runs and is another group's.
    if ! answers && ! { [ -n "$sudo" ] && answers "$sudo"; }; then
        echo "pibench: starting the Docker Engine" >&2
        if [ -d /run/systemd/system ]; then
            log="the journal: journalctl -u docker"
            $sudo systemctl start docker || fail "systemd could not start it; see $log"
            wait_until_it_answers
        else
            mount_cgroups
            pid=$(start_by_hand) || exit 3
            wait_until_it_answers "$pid"
        fi
    else
        wait_until_it_answers
    fi
fi

if ! "$python" -c 'from pibench.targets import binfmt; binfmt.require()' >/dev/null 2>&1; then
    needs_root
    $sudo "$python" -m pibench doctor --fix >/dev/null
fi
