#!/usr/bin/env bash
# py-cpuinfo's l1_data_cache_size is the sum of all cores' caches: 128 KiB for a Raspberry Pi 3, whose cores have 32 KiB.
#
# Guess: like l1_data_cache_size of cpuid and of the kernel (/sys/devices/system/cpu/cpu0/cache/index0/size), it is the cache that
# a core has, beside "count" for the number of cores.
# Seen with py-cpuinfo 9.0.0 and Debian 12's lscpu (util-linux 2.38.1), for /proc and /sys in the form that a Raspberry Pi 3B+ and 4
# have:
#                                   Pi 3B+ (4 x Cortex-A53)       Pi 4 (4 x Cortex-A72)
#   index0/size of cpu0             32K                           32K
#   lscpu                           128 KiB (4 instances)         128 KiB (4 instances)
#   l1_data_cache_size              131,072                       131,072
#   l1_instruction_cache_size       131,072                       196,608: 48K for each core
#   l2_cache_size, of all cores     524,288                       1,048,576
# lscpu prints the sum with the number of instances behind it, which py-cpuinfo drops; the field's name does not change with it.
# Blocks of a matrix product, or of im2col's columns, that are sized for this cache are four times too large for it. Read
# /sys/devices/system/cpu/cpu0/cache instead.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check py-cpuinfo==9.0.0
cd "$folder"
apt-get download --quiet util-linux >/dev/null 2>&1
dpkg-deb -x util-linux_*.deb tools
tools/usr/bin/lscpu --version
mkdir bin
cat >bin/lscpu <<WRAPPER
#!/bin/sh
exec "$folder/tools/usr/bin/lscpu" --sysroot "\$BOARD" "\$@"
WRAPPER
chmod +x bin/lscpu
# Write /proc and /sys of a board: its name, the core's part number, MHz, and the sizes of L1d, L1i and L2 in KiB.
board() {
    local name=$1 part=$2 mhz=$3 number cpu index
    mkdir -p "$name/proc"
    for number in 0 1 2 3; do
        cpu=$name/sys/devices/system/cpu/cpu$number
        mkdir -p "$cpu/topology" "$cpu/cpufreq"
        echo "$number" >"$cpu/topology/core_id"
        echo 0 >"$cpu/topology/physical_package_id"
        echo $((1 << number)) >"$cpu/topology/thread_siblings"
        echo f >"$cpu/topology/core_siblings"
        echo "${mhz}000" >"$cpu/cpufreq/cpuinfo_max_freq"
        echo 600000 >"$cpu/cpufreq/cpuinfo_min_freq"
        index=0
        for cache in "1 Data $4 $number $((1 << number))" "1 Instruction $5 $number $((1 << number))" "2 Unified $6 0-3 f"; do
            read -r level type size list map <<<"$cache"
            mkdir -p "$cpu/cache/index$index"
            echo "$level" >"$cpu/cache/index$index/level"
            echo "$type" >"$cpu/cache/index$index/type"
            echo "${size}K" >"$cpu/cache/index$index/size"
            echo "$list" >"$cpu/cache/index$index/shared_cpu_list"
            echo "$map" >"$cpu/cache/index$index/shared_cpu_map"
            index=$((index + 1))
        done
        printf '%s\t: %s\n' processor "$number" Features "fp asimd evtstrm crc32 cpuid" "CPU implementer" 0x41 \
            "CPU architecture" 8 "CPU variant" 0x0 "CPU part" "$part" "CPU revision" 4 >>"$name/proc/cpuinfo"
        echo >>"$name/proc/cpuinfo"
    done
    for file in online present possible; do echo 0-3 >"$name/sys/devices/system/cpu/$file"; done
    echo 255 >"$name/sys/devices/system/cpu/kernel_max"
}
board pi-3b+ 0xd03 1400 32 32 512
board pi-4 0xd08 1500 32 48 1024
for name in pi-3b+ pi-4; do
    BOARD=$folder/$name bin/lscpu | grep -E '^(Model name|L..? cache)'
    BOARD=$folder/$name PATH=$folder/bin:$PATH venv/bin/python - <<'PROGRAM'
import os
from pathlib import Path

import cpuinfo

board = Path(os.environ["BOARD"])
info = cpuinfo.get_cpu_info()
core = [int((board / f"sys/devices/system/cpu/cpu0/cache/index{k}/size").read_text().rstrip("K\n")) * 1024 for k in range(3)]
seen = [info[f"{name}_cache_size"] for name in ("l1_data", "l1_instruction", "l2")]
print(f"py-cpuinfo: L1d, L1i and L2 {seen}; of one core {core}")
assert seen == [4 * core[0], 4 * core[1], core[2]], "py-cpuinfo has other sizes now"
PROGRAM
done
