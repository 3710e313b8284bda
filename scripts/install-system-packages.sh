#!/bin/sh
# Install by apt what is missing of the system packages that pibench uses; with
# sudo when not root. Says nothing and changes nothing when all is there.
#
# usage: install-system-packages.sh [first | rest] [python | [all | vm] [engine] [browser]]
# python: nothing but what makes an environment, which is all that plans need.
# all: what pibench uses on any target but container; the default. vm: what target vm uses.
# engine: a Docker Engine too, which target container alone needs.
# browser: Chromium too, in which the HTML report is tested and pictured.
# first: of those, what an environment and images need to be made, while a second call
# with rest installs the others.
set -eu

# program or file that shows that a package is there : the package
first="
mke2fs:e2fsprogs
dpkg-deb:dpkg
"
vm="
qemu-system-aarch64:qemu-system-arm
gcc:gcc
bwrap:bubblewrap
"
others="
g++:g++
ssh-keygen:openssh-client
"
# An arm64 machine runs arm64 programs itself, and Debian has no cross compiler there for its own
# architecture.
if [ "$(uname -m)" != aarch64 ]; then
    vm="$vm
aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu
"
    others="$others
qemu-aarch64:qemu-user
qemu-aarch64-static:qemu-user-static
aarch64-linux-gnu-g++:g++-aarch64-linux-gnu
"
fi
part=""
case ${1:-} in
    first | rest) part=$1; shift ;;
esac
needed="$first $vm $others"
for more in "$@"; do
    case $more in
        python) needed="" ;;
        all) ;;
        vm) needed="$first $vm" ;;
        # Its package pulls containerd, runc and iptables.
        engine) needed="$needed dockerd:docker.io" ;;
        browser) needed="$needed chromium:chromium" ;;
        *) echo "pibench: $0 knows python, all, vm, engine and browser, not $more" >&2; exit 2 ;;
    esac
done

missing_of() { # ENTRY...
    for entry in "$@"; do
        shown=${entry%%:*}
        if [ ! -e "$shown" ] && ! PATH="$PATH:/usr/sbin:/sbin" command -v "$shown" >/dev/null 2>&1; then
            printf ' %s' "${entry#*:}"
        fi
    done
}

# The venv module is there without the package, but cannot make an environment.
venv=""
if ! python3 -c 'import ensurepip' >/dev/null 2>&1; then
    venv=" python3-venv"
fi
# shellcheck disable=SC2086  # lists of words are meant
missing="$venv$(missing_of $needed)"

[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "pibench: these Debian packages are missing, and there is no apt-get:$missing" >&2
    exit 3
fi
sudo=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "pibench: as root, please run: apt-get install$missing" >&2
        exit 3
    fi
    sudo=sudo
fi
# Image builds ask apt for this machine's mirror: its lists must not change during the second call.
if [ "$part" != rest ]; then
    echo "pibench: updating apt's lists of packages" >&2
    $sudo apt-get update -qq
fi
if [ "$part" = first ]; then
    # shellcheck disable=SC2086
    missing="$venv$([ -z "$needed" ] || missing_of $first)"
    [ -n "$missing" ] || exit 0
fi
echo "pibench: installing$missing" >&2
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
