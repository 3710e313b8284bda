#!/usr/bin/env bash
# A gate for CI: do these networks fit the board? What action.yml and examples/ci/ run.
#
#   gate.sh install   pibench into an environment of its own, and by apt what the mode needs
#   gate.sh key       a line "key=…" for a cache of images: another where they would be others
#   gate.sh           the gate; its exit code is pibench's (docs/ci.md)
#
# Settings are environment variables, and nothing of them is read as code:
#   PIBENCH_PROTOTXT   files or patterns (*, **), one a line
#   PIBENCH_MODE       plan (default): nothing is run. run: real Caffe, on PIBENCH_TARGET
#   PIBENCH_TARGET     vm (default), container, sysroot, twin
#   PIBENCH_DEVICE     rpi3b
#   PIBENCH_ENGINE     caffe, opencv or ncnn; onnxruntime and litert in mode run. Default: what reads the file
#   PIBENCH_PROTOCOL   caffe-time, or inference, which is the default of engines other than Caffe
#   PIBENCH_INPUT      the image size, or the sizes that an ONNX or TFLite model leaves open: 1,3,224,224
#   PIBENCH_RESERVE    MiB that other programs on the device take: 0
#   PIBENCH_MAX_MS     a limit of the predicted time of a forward pass, in ms; of Caffe alone, in both modes
#   PIBENCH_BASELINE   accepted figures to compare with as well, decided by PIBENCH_FAIL_ON (verdict)
#   PIBENCH_OUT        the folder of summary.md, gate.xml and the rest: pibench-out
#   PIBENCH_VENV       the environment; pibench is taken from there, or else from PATH
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mode=${PIBENCH_MODE:-plan}
target=${PIBENCH_TARGET:-vm}
device=${PIBENCH_DEVICE:-rpi3b}
engine=${PIBENCH_ENGINE:-}
protocol=${PIBENCH_PROTOCOL:-}
reserve=${PIBENCH_RESERVE:-}
input=${PIBENCH_INPUT:-}
max_ms=${PIBENCH_MAX_MS:-}
baseline=${PIBENCH_BASELINE:-}
fail_on=${PIBENCH_FAIL_ON:-verdict}
out=${PIBENCH_OUT:-pibench-out}
venv=${PIBENCH_VENV:-${RUNNER_TEMP:-${CI_PROJECT_DIR:-$HOME}}/.pibench-venv}
export PIBENCH_CACHE_DIR=${PIBENCH_CACHE_DIR:-$HOME/.cache/pibench}

refuse() {
    echo "pibench: $1" >&2
    exit 2
}

install() {
    local packages=all image='' extras=''
    case $mode,$target in
        plan,*) packages=python ;;
        run,vm) packages=vm image=vm ;;
        run,sysroot | run,twin) image=$target ;;
        run,container) extras=container ;;
        run,*) ;;
        *) refuse "PIBENCH_MODE=$mode is neither plan nor run" ;;
    esac
    case $mode,${engine%%[=:]*} in
        run,onnxruntime | run,ncnn) extras+=${extras:+,}engines ;;
    esac
    # The environment is made, and the image built, while the other system packages are installed.
    "$here/scripts/install-system-packages.sh" first "$packages"
    "$here/scripts/install-system-packages.sh" rest "$packages" &
    local others=$!
    python3 -m venv --without-pip "$venv"
    "$venv/bin/python" "$here/scripts/install_packages.py" "$here${extras:+[$extras]}"
    "$venv/bin/pibench" --version
    if [ -n "$image" ] && [ "${engine:-caffe}" = caffe ] && ! "$venv/bin/pibench" image build "$image" >/dev/null; then
        # Perhaps a package was not there yet. The gate builds what is missing, and says what fails.
        echo "pibench: the gate will try again" >&2
    fi
    wait "$others"
}

key() {
    local digest
    digest=$(cd "$here" && find docker qemu -type f | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum)
    echo "key=pibench-$(uname -m)-${target//[!a-z]/}-${digest:0:16}"
}

# Standard output goes to a file: names in a prototxt are anyone's, and a line of a job's log
# can be a command to the CI (GitHub's ::...::). Errors are pibench's own lines.
out_file=log.txt
pibench() {
    { command pibench "$@" 2>&1 >>"$out/$out_file" | tee -a "$out/errors.txt" >&2; }
}

gate() {
    [ -x "$venv/bin/pibench" ] && PATH=$venv/bin:$PATH
    if ! type -P pibench >/dev/null; then
        echo "pibench: it is not installed, neither in $venv nor on PATH; first: $0 install" >&2
        exit 3
    fi
    local files=() found=() pattern code=0 options
    while IFS= read -r pattern; do
        [ -n "${pattern//[[:space:]]/}" ] || continue
        mapfile -t found < <(shopt -s globstar; compgen -G "$pattern")
        [ "${#found[@]}" -gt 0 ] || refuse "PIBENCH_PROTOTXT: no file is named $pattern"
        files+=("${found[@]}")
    done <<<"${PIBENCH_PROTOTXT:-}"
    [ "${#files[@]}" -gt 0 ] || refuse "PIBENCH_PROTOTXT names no file; one a line, or a pattern"

    if [ -n "$max_ms" ]; then
        [[ $max_ms =~ ^[0-9]*\.?[0-9]+$ ]] || refuse "PIBENCH_MAX_MS: '$max_ms' is not a number of milliseconds"
        [ "${engine%%[=:]*}" = "" ] || [ "$engine" = caffe ] ||
            refuse "PIBENCH_MAX_MS: times are predicted for Caffe, not for $engine; leave one of them out"
        case $mode,$target in
            run,native | run,*://*) refuse "PIBENCH_MAX_MS: the gate predicts times; a board's own: pytest --pibench-target" ;;
        esac
    fi

    mkdir -p -- "$out" || refuse "PIBENCH_OUT: the folder $out cannot be made; name another"
    for name in summary.md gate.xml badge.svg report.html records.jsonl plan.json latency.{md,xml} baseline.{md,xml} log.txt errors.txt; do
        rm -f "$out/$name"
    done
    options=(--device "$device" ${engine:+--engine "$engine"} ${protocol:+--protocol "$protocol"} ${input:+--input "$input"} --require-fit)
    case $mode in
        plan)
            out_file=plan.json pibench plan "${options[@]}" ${reserve:+--reserve "$reserve"} --json \
                -o "$out/summary.md" -o "$out/gate.xml" -o "$out/badge.svg" -- "${files[@]}" || code=$?
            ;;
        run)
            pibench run "${options[@]}" ${reserve:+--reserve "$reserve"} --target "$target" \
                --quiet --out "$out/records.jsonl" -- "${files[@]}" || code=$?
            [ ! -s "$out/records.jsonl" ] ||
                pibench report "$out/records.jsonl" --require-fit \
                    -o "$out/summary.md" -o "$out/gate.xml" -o "$out/badge.svg" -o "$out/report.html" ||
                code=$((code ? code : $?))
            ;;
        *) refuse "PIBENCH_MODE=$mode is neither plan nor run" ;;
    esac
    if [ -n "$max_ms" ]; then
        pibench predict --device "$device" ${protocol:+--protocol "$protocol"} ${input:+--input "$input"} \
            ${reserve:+--reserve "$reserve"} --max-ms "$max_ms" \
            -o "$out/latency.md" -o "$out/latency.xml" -- "${files[@]}" || code=$((code ? code : $?))
    fi
    if [ -n "$baseline" ] && { [ -s "$out/plan.json" ] || [ -s "$out/records.jsonl" ]; }; then
        local side=$out/records.jsonl
        [ "$mode" = run ] || side=$out/plan.json
        pibench reconcile "$side" --baseline "$baseline" --fail-on "$fail_on" \
            -o "$out/baseline.md" -o "$out/baseline.xml" || code=$((code ? code : $?))
    fi
    if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
        summarise "$code" >>"$GITHUB_STEP_SUMMARY"
    else
        summarise "$code"
    fi
    [ "$code" -gt 1 ] || echo "decided=true" >>"${GITHUB_OUTPUT:-/dev/null}"
    exit "$code"
}

# What was decided, and what pibench complained of; indented, that is text and no markup.
summarise() {
    cat "$out/summary.md" "$out/latency.md" "$out/baseline.md" 2>/dev/null || true
    if [ -s "$out/errors.txt" ]; then
        printf '\npibench ended with exit code %s and printed:\n\n' "$1"
        sed 's/^/    /' "$out/errors.txt"
    fi
}

case ${1:-gate} in
    -h | --help) echo "usage: $0 [install|key|gate]; it reads PIBENCH_PROTOTXT and the variables in docs/ci.md" ;;
    install | key | gate) "${1:-gate}" ;;
    *) refuse "$0 knows install, key and gate, not $1" ;;
esac
