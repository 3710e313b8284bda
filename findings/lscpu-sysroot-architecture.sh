#!/usr/bin/env bash
# lscpu on the files of a board names the PC's architecture and byte order, beside the board's processor.
#
# Guess: `lscpu --sysroot FOLDER` ("gather CPU data for a Linux instance other than the instance from which lscpu is issued")
# tells about the board whose /proc and /sys are in the folder, or leaves out what these do not contain.
# Seen with Debian 12's util-linux 2.38.1 for /proc/cpuinfo and /sys/devices/system/cpu in the form that a Raspberry Pi 3B+
# has, on x86-64; its JSON has the same:
#   Architecture:        x86_64
#   Byte Order:          Little Endian
#   CPU(s):              4
#   Vendor ID:           ARM
#   Model name:          Cortex-A53
#   CPU max MHz:         1400.0000
#   Flags:               fp asimd evtstrm crc32 cpuid
# The first two lines are of the machine that runs lscpu; all others are the board's. Files that were gathered from boards, and
# are read in one place, are all filed under the architecture of that place. Keep `uname -m` beside them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download --quiet util-linux >/dev/null 2>&1
dpkg-deb -x util-linux_*.deb tools
cpu=board/sys/devices/system/cpu
mkdir -p board/proc
for number in 0 1 2 3; do
    mkdir -p "$cpu/cpu$number/topology" "$cpu/cpu$number/cpufreq"
    echo "$number" >"$cpu/cpu$number/topology/core_id"
    echo 0 >"$cpu/cpu$number/topology/physical_package_id"
    echo $((1 << number)) >"$cpu/cpu$number/topology/thread_siblings"
    echo f >"$cpu/cpu$number/topology/core_siblings"
    echo 1400000 >"$cpu/cpu$number/cpufreq/cpuinfo_max_freq"
    echo 600000 >"$cpu/cpu$number/cpufreq/cpuinfo_min_freq"
    printf '%s\t: %s\n' processor "$number" BogoMIPS 38.40 Features "fp asimd evtstrm crc32 cpuid" \
        "CPU implementer" 0x41 "CPU architecture" 8 "CPU variant" 0x0 "CPU part" 0xd03 "CPU revision" 4 >>board/proc/cpuinfo
    echo >>board/proc/cpuinfo
done
for file in online present possible; do echo 0-3 >"$cpu/$file"; done
echo 255 >"$cpu/kernel_max"
tools/usr/bin/lscpu --version
tools/usr/bin/lscpu --sysroot "$PWD/board" | tee text
tools/usr/bin/lscpu --sysroot "$PWD/board" --json >json
machine=$(uname -m)
if [ "$machine" = aarch64 ]; then
    echo "This machine is an arm64 one itself: there is nothing to see." >&2
    exit 1
fi
grep -Eq "^Architecture: +$machine\$" text
grep -Eq '^Model name: +Cortex-A53$' text
grep -Eq '^CPU\(s\): +4$' text
grep -Eq '^CPU max MHz: +1400' text
tr -d ' \n' <json | grep -q "\"field\":\"Architecture:\",\"data\":\"$machine\""
