#!/usr/bin/env bash
# The steps of action.yml in a container of nothing but Debian 12, as a CI job's would be: a root
# by mmdebstrap, imported into the Docker Engine of this machine. Its exit code is the gate's.
#
# usage: try-action.sh FOLDER [INPUT=VALUE...], such as models prototxt='*.prototxt' mode=run
# FOLDER is the repository to gate: pibench-out and summary.md are written there. Images are kept
# in FOLDER/.cache, as actions/cache would. The network is the host's, and so are certificates.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$here/.venv/bin/python}
repository=$(cd "$1" && pwd)
shift
image=pibench-debian:12

if ! docker image inspect "$image" >/dev/null 2>&1; then
    mmdebstrap --quiet --variant=apt --include=ca-certificates bookworm | docker import - "$image" >/dev/null
fi
steps=$("$python" "$here/scripts/action_steps.py" "$@")
given=(--volume /etc/resolv.conf:/etc/resolv.conf:ro --volume /etc/ssl/certs:/etc/ssl/certs:ro)
[ ! -f /etc/pip.conf ] || given+=(--volume /etc/pip.conf:/etc/pip.conf:ro)
mkdir -p "$repository/.cache"
rm -f "$repository/summary.md"
docker run --rm --network host "${given[@]}" \
    --volume "$here:/action:ro" --volume "$repository:/repository" --workdir /repository \
    --volume "$repository/.cache:/root/.cache" --env RUNNER_TEMP=/tmp --env GITHUB_ACTION_PATH=/action \
    --env GITHUB_OUTPUT=/tmp/output --env GITHUB_STEP_SUMMARY=/repository/summary.md \
    "$image" bash -c "$steps"
