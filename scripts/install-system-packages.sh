#!/bin/sh
# Install by apt what is missing of the system packages that pibench uses; with
# sudo when not root. Says nothing and changes nothing when all is there.
#
# usage: install-system-packages.sh [python | [engine] [browser]]
# python: nothing but what makes an environment, which is all that plans need.
# engine: a Docker Engine too, which target container alone needs.
# browser: Chromium too, in which the HTML report is tested and pictured.
set -eu

# program or file that shows that a package is there : the package
needed="
qemu-system-aarch64:qemu-system-arm
aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu
gcc:gcc
aarch64-linux-gnu-g++:g++-aarch64-linux-gnu
g++:g++
mke2fs:e2fsprogs
dpkg-deb:dpkg
/usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
qemu-aarch64:qemu-user
qemu-aarch64-static:qemu-user-static
bwrap:bubblewrap
ssh-keygen:openssh-client
"
for more in "$@"; do
    case $more in
        python) needed="" ;;
        # Its package pulls containerd, runc and iptables.
        engine) needed="$needed dockerd:docker.io" ;;
        browser) needed="$needed chromium:chromium" ;;
        *) echo "pibench: $0 knows python, engine and browser, not $more" >&2; exit 2 ;;
    esac
done

missing=""
for entry in $needed; do
    shown=${entry%%:*}
    package=${entry#*:}
    if [ ! -e "$shown" ] && ! PATH="$PATH:/usr/sbin:/sbin" command -v "$shown" >/dev/null 2>&1; then
        missing="$missing $package"
    fi
done

# The venv module is there without the package, but cannot make an environment.
if ! python3 -c 'import ensurepip' >/dev/null 2>&1; then
    missing="$missing python3-venv"
fi

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
echo "pibench: installing$missing" >&2
$sudo apt-get update -qq
# shellcheck disable=SC2086  # a list of words is meant
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
