#!/usr/bin/env bash
# Debian 12's smem cannot read what its smemcap has captured on a board, and prints nothing, with success, for a missing folder.
#
# Guess: `smemcap >capture.tar` on the device and `smem -S capture.tar` on a PC, as the manual has it, list the memory of the
# device's processes; a source that is not there is an error.
# Seen with Debian 12's smem and smemcap 1.5-2, Python 3.11:
#   smem                             a list of this machine's processes
#   smemcap >capture.tar             some MiB, exit status 0
#   smem -S capture.tar              TypeError: cannot use a string pattern on a bytes-like object
#   smem -S FOLDER
#     the capture, unpacked          nothing, exit status 0
#     the same in FOLDER/proc        a list of the captured processes
#     a folder that is not there     nothing, exit status 0
# A tarball's text is read as bytes, which Python 3 does not match with patterns. On the board the capture looks complete, and the
# measurement is over when it is first read: unpack it in a folder that is called "proc". An empty list can also mean a
# wrong path; all errors of files but one are dropped.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download --quiet smem smemcap >/dev/null 2>&1
for package in *.deb; do dpkg-deb -x "$package" tools; done
ls -- *.deb
smem=tools/usr/bin/smem
fields="pid command uss pss rss"
python3 -c 'import time; memory = b"x" * (64 << 20); time.sleep(60)' &
process=$!
trap 'kill "$process"; rm -rf "$folder"' EXIT
sleep 1
"$smem" -c "$fields" -P "64 << 20" | tee live
tools/usr/bin/smemcap >capture.tar
if "$smem" -S capture.tar -c "$fields" >tar.log 2>&1; then
    echo "smem reads the capture now" >&2
    exit 1
fi
tail -1 tar.log
grep -q "TypeError: cannot use a string pattern on a bytes-like object" tar.log
mkdir -p plain whole/proc
tar xf capture.tar -C plain
tar xf capture.tar -C whole/proc
for source in plain nowhere; do
    "$smem" -S "$source" -c "$fields" >"$source.log" 2>&1
    echo "smem -S $source: exit status 0, $(wc -c <"$source.log") bytes"
    [ ! -s "$source.log" ]
done
"$smem" -S whole -c "$fields" -P "64 << 20" | tee whole.log
for list in live whole.log; do
    awk -v pid="$process" '$1 == pid && $(NF - 1) > 65536 { found = 1 } END { exit !found }' "$list"
done
