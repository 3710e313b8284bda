#!/usr/bin/env bash
# archspec takes a Cortex-A53 for a Cortex-A72, the Cortex-A72 of a Raspberry Pi 4 for no core that it knows, and a Cortex-A55
# for a server's Neoverse N1.
#
# Guess: /proc/cpuinfo has the number of the core, and archspec knows 0xd08 as cortex_a72; a core that it does not know is the
# general aarch64.
# Seen with archspec 0.2.7 for a /proc/cpuinfo with the number and the features of such a core:
#   core                             on                    CPU part   archspec       its flags for GCC 12
#   Cortex-A53 without encryption    Raspberry Pi 3        0xd03      aarch64        -march=armv8-a -mtune=generic
#   Cortex-A53                       i.MX 8M Mini          0xd03      cortex_a72     -mcpu=cortex-a72
#   Cortex-A72 without encryption    Raspberry Pi 4        0xd08      aarch64        -march=armv8-a -mtune=generic
#   Cortex-A72                       LS1046A               0xd08      cortex_a72     -mcpu=cortex-a72
#   Cortex-A55                       i.MX 93, RK3588       0xd05      neoverse_n1    -mcpu=neoverse-n1
#   Cortex-A76                       Raspberry Pi 5        0xd0b      neoverse_n1    -mcpu=neoverse-n1
# The instructions for encryption decide: the number is looked at only among cores whose features are all there, and is dropped
# if none of them has it. So code for the cores that run in order is ordered for one that does not, and a table of results by
# archspec's name joins boards with different cores.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check archspec==0.2.7
cd "$folder"
venv/bin/python - <<'PROGRAM'
import builtins
import io
import platform
from unittest import mock

import archspec.cpu

BASE, CRYPTO = "fp asimd evtstrm crc32 cpuid", "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
V82 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
GENERIC = "-march=armv8-a -mtune=generic"
opened = builtins.open


def detected(part, features):
    """Return the name that archspec finds on a board with such a core, and its flags for GCC."""
    text = f"""processor\t: 0
BogoMIPS\t: 48.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {part}
CPU revision\t: 4

"""

    def board_file(path, *rest, **options):
        return io.StringIO(text) if path == "/proc/cpuinfo" else opened(path, *rest, **options)

    archspec.cpu.host.cache_clear()
    with mock.patch.object(builtins, "open", board_file), mock.patch.object(platform, "machine", lambda: "aarch64"):
        found = archspec.cpu.host()
    return found.name, found.optimization_flags("gcc", "12.2.0")


assert archspec.cpu.TARGETS["cortex_a72"].cpu_part == "0xd08", "archspec's table has changed"
for label, part, features, expected in [
    ("Cortex-A53 without crypto", "0xd03", BASE, ("aarch64", GENERIC)),
    ("Cortex-A53", "0xd03", CRYPTO, ("cortex_a72", "-mcpu=cortex-a72")),
    ("Cortex-A72 without crypto", "0xd08", BASE, ("aarch64", GENERIC)),
    ("Cortex-A72", "0xd08", CRYPTO, ("cortex_a72", "-mcpu=cortex-a72")),
    ("Cortex-A55", "0xd05", V82, ("neoverse_n1", "-mcpu=neoverse-n1")),
    ("Cortex-A76", "0xd0b", V82, ("neoverse_n1", "-mcpu=neoverse-n1")),
]:
    found = detected(part, features)
    print(f"{label} ({part}): {found}")
    assert found == expected, "the behaviour has changed"
PROGRAM
