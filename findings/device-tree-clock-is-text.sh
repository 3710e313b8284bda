#!/usr/bin/env bash
# Readers of device trees take a clock of 1.3, 1.4, 1.5 or 2.1 GHz for a text.
#
# Guess: clock-frequency = <1500000000> is read as 1,500,000,000, as <1200000000> is read as 1,200,000,000.
# Seen with fdt 0.3.3, pyfdt 0.3, pylibfdt 1.7.2.post2 and Debian 12's device-tree-compiler 1.6.1 for each 100 MHz up to
# 3 GHz:
#                     1,200,000,000        1,300,000,000   1,400,000,000   1,500,000,000   2,100,000,000
#   fdt, pyfdt        number               text "M|m"      text "SrN"      text "Yh/"      text "}+u"
#   dtc -I dtb        <0x47868c00>         "M|m"           "SrN"           "Yh/"           "}+u"
#   fdtget            1200000000           M|m             SrN             Yh/             }+u
#   fdtget -t u       the number for all of them; pylibfdt's as_uint32() too
# Without -t, fdtget prints the clocks from 2.2 GHz on as negative numbers.
# A property has no type in the file. These programs call it a text if its bytes are printable and end in a zero byte: 1.5e9
# is 59 68 2f 00. So is a memory region at such an address. A program that takes .value as a number works for the
# boards of its tests (a Raspberry Pi 3: 1.2 GHz) and not for the next (3B+: 1.4 GHz, 4: 1.5 GHz). Read the bytes as
# the number that the binding promises.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fdt==0.3.3 pyfdt==0.3 pylibfdt==1.7.2.post2
cd "$folder"
apt-get download --quiet device-tree-compiler libfdt1 >/dev/null 2>&1
for package in ./*.deb; do dpkg-deb -x "$package" tools; done
LD_LIBRARY_PATH=$(dirname "$(find "$folder/tools" -name libfdt.so.1)")
export LD_LIBRARY_PATH
"$folder/tools/usr/bin/dtc" --version
"$folder/venv/bin/python" - <<'PROGRAM'
import io
import subprocess

import fdt
import libfdt
from pyfdt import pyfdt

TEXTS = {1300: "M|m", 1400: "SrN", 1500: "Yh/", 2100: "}+u"}
CLOCKS = [mhz * 1_000_000 for mhz in range(100, 3001, 100)]


def tool(*arguments):
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


tree, node = fdt.FDT(), fdt.Node("cpus")
for clock in CLOCKS:
    node.append(fdt.PropWords(f"c{clock}", clock))
tree.root.append(node)
blob = tree.to_dtb(version=17)
with open("clocks.dtb", "wb") as file:
    file.write(blob)
by_fdt = fdt.parse_dtb(blob).get_node("/cpus")
by_pyfdt = {p.get_name(): list(p)[0] for p in pyfdt.FdtBlobParse(io.BytesIO(blob)).to_fdt().resolve_path("/cpus")}
by_libfdt = libfdt.Fdt(blob)
cpus = by_libfdt.path_offset("/cpus")
source = tool("tools/usr/bin/dtc", "-q", "-I", "dtb", "-O", "dts", "clocks.dtb")
for clock in CLOCKS:
    name, text = f"c{clock}", TEXTS.get(clock // 1_000_000)
    asked = tool("tools/usr/bin/fdtget", "clocks.dtb", "/cpus", name).strip()
    typed = tool("tools/usr/bin/fdtget", "-t", "u", "clocks.dtb", "/cpus", name).strip()
    found = (by_fdt.get_property(name).value, by_pyfdt[name], asked)
    if text or clock == 1_200_000_000:
        print(clock, "| fdt, pyfdt, fdtget:", *found, "| fdtget -t u:", typed)
    signed = clock - 2**32 if clock >= 2**31 else clock
    assert found == ((text,) * 3 if text else (clock, clock, str(signed))), f"the behaviour has changed: {found}"
    assert typed == str(clock) and by_libfdt.getprop(cpus, name).as_uint32() == clock, "the number is not there"
    shown = f'"{text}"' if text else f"<{clock:#04x}>"
    assert f"{name} = {shown};" in source, "dtc's behaviour has changed"
PROGRAM
