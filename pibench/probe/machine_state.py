"""The machine around a timed pass: throttling, clock, temperature and swap, from the kernel.

A figure that a machine does not report is None, and `unavailable` has the reason: the file
does not exist, may not be read, or has an impossible value. Reading takes
well under a millisecond and starts no process in the one that is measured.

Throttle bits are those of the Raspberry Pi's firmware (documentation of
`vcgencmd get_throttled`): 0 under-voltage, 1 clock capped, 2 throttled, 3 soft
temperature limit, each *now*, and 16 to 19 the same *has occurred*.
"""

import glob
import os
import re
import select
import subprocess
import time

NUMBER = re.compile(r"-?[0-9]{1,18}\Z")
HEXADECIMAL = re.compile(r"(?:throttled=)?(?:0x)?([0-9a-fA-F]{1,8})\Z")
LONGEST_BYTES = 4096
# Values beyond these bounds cannot be what the file's name states.
CLOCK_KHZ = (1000, 10000000)
TEMPERATURE_MC = (-60000, 200000)
UNDER_VOLTAGE_OCCURRED = 1 << 16
# The firmware's bits are up to 0.1 s late. drivers/hwmon/raspberrypi-hwmon.c reads them
# every 2 s, and then has the firmware clear the bits for what has occurred.
FIRMWARE_LAG_S = 0.15
KERNEL_LAG_S = 2.5
ANSWER_TIMEOUT_S = 2.0
# A shell, started while this process is small: to fork a process with a network in it
# would take time and have its pages copied in the next pass.
ASK_ALWAYS = 'while read -r _; do echo $("$0" get_throttled 2>&1); done'


class Unavailable(Exception):
    """A figure that the machine does not report, and the reason."""


def text_of(path):
    """Return the text of a small file. Raises Unavailable."""
    try:
        with open(path, "rb") as handle:
            return handle.read(LONGEST_BYTES).decode("ascii", "replace").strip()
    except (OSError, IOError) as error:
        raise Unavailable("{}: {}".format(path, error.strerror or error)) from None


def number_in(path, low, high):
    """Return the whole number in a file; raise Unavailable for other text or one out of bounds."""
    text = text_of(path)
    if not NUMBER.match(text) or not low <= int(text) <= high:
        raise Unavailable("{} contains {!r}".format(path, text[:40]))
    return int(text)


def bits_in(text, place):
    """Return throttle bits as the kernel or vcgencmd writes them. Raises Unavailable."""
    found = HEXADECIMAL.match(text)
    if not found:
        raise Unavailable("{} contains {!r}".format(place, text[:80]))
    return int(found.group(1), 16)


class FirmwareFile(object):
    """The file of the Raspberry Pi's own kernels, 4.14 and later.

    The kernel reads the firmware every two seconds and clears what has occurred:
    a bit that is set is from the last few seconds, not from any time since boot.
    """

    lag_s = KERNEL_LAG_S
    occurred_since = "last look"

    def __init__(self, path):
        self.place = path

    def bits(self):
        return bits_in(text_of(self.place), self.place)


class UnderVoltageAlarm(FirmwareFile):
    """Mainline kernels report under-voltage only (drivers/hwmon/raspberrypi-hwmon.c)."""

    def bits(self):
        return UNDER_VOLTAGE_OCCURRED if number_in(self.place, 0, 1) else 0


class Vcgencmd(object):
    """The firmware's own tool, for kernels that do not have that file (before 4.14)."""

    lag_s = FIRMWARE_LAG_S

    def __init__(self, path, occurred_since, answer_timeout_s=ANSWER_TIMEOUT_S):
        self.place = path
        self.answer_timeout_s = answer_timeout_s
        self.occurred_since = occurred_since
        try:
            self.shell = subprocess.Popen(
                ["/bin/sh", "-c", ASK_ALWAYS, path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            self.shell = None

    def bits(self):
        return bits_in(self.answer(), self.place)

    def answer(self):
        if self.shell is None:
            raise Unavailable("{} cannot be asked".format(self.place))
        end = time.monotonic() + self.answer_timeout_s
        answer = b""
        try:
            os.write(self.shell.stdin.fileno(), b"\n")
            while not answer.endswith(b"\n"):
                pipe = self.shell.stdout.fileno()
                if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                    break
                chunk = os.read(pipe, LONGEST_BYTES)
                if not chunk:
                    break
                answer += chunk
        except OSError:
            pass
        if not answer.endswith(b"\n"):
            self.close()
            raise Unavailable("{} does not answer".format(self.place))
        return answer.decode("ascii", "replace").strip()

    def close(self):
        if self.shell is not None:
            self.shell.kill()
            self.shell.wait()
            self.shell.stdin.close()
            self.shell.stdout.close()
            self.shell = None


class MachineState(object):
    """Reads the machine's state repeatedly; `base` is the root of /sys, /proc and /usr."""

    def __init__(self, base="/", answer_timeout_s=ANSWER_TIMEOUT_S):
        self.base = base
        self.answer_timeout_s = answer_timeout_s
        self.unavailable = {}
        pattern = self._path("sys/devices/system/cpu/cpu[0-9]*/cpufreq")
        # A folder for each clock; several cores may share one.
        self.clocks = sorted({os.path.realpath(path) for path in glob.glob(pattern)})
        self.zones = sorted(glob.glob(self._path("sys/class/thermal/thermal_zone*/temp")))
        self.throttle = self._throttle()
        self.page_bytes = os.sysconf("SC_PAGE_SIZE")
        self.last_s = None

    def read(self):
        """Return the state now; its time is this machine's monotonic clock, in seconds."""
        state = {
            "throttled_bits": self._reported("throttled_bits", self._bits),
            "clock_hz": self._reported("clock_hz", self._clock_hz),
            "temperature_c": self._reported("temperature_c", self._temperature_c),
            "swapped_bytes": self._reported("swapped_bytes", self._swapped_bytes),
        }
        self.last_s = time.monotonic()
        state["time_s"] = round(self.last_s, 4)
        return state

    def settled(self):
        """Return the state after the delay with which the kernel learns of throttling.

        It thereby covers the time before the last reading.
        """
        if self.throttle is not None and self.last_s is not None:
            time.sleep(max(0.0, self.throttle.lag_s - (time.monotonic() - self.last_s)))
        return self.read()

    def describe(self):
        """Return this machine's sources of state; `unavailable` names what it does not report."""
        governor = self._reported("governor", self._governor)
        throttle = None
        if self.throttle is not None:
            throttle = {
                "source": self.throttle.place,
                "lag_s": self.throttle.lag_s,
                "occurred_since": self.throttle.occurred_since,
            }
        return {"governor": governor, "throttle": throttle, "unavailable": dict(self.unavailable)}

    def close(self):
        if isinstance(self.throttle, Vcgencmd):
            self.throttle.close()

    def _path(self, path):
        return os.path.join(self.base, path)

    def _reported(self, figure, read):
        try:
            return read()
        except Unavailable as reason:
            # The first reason counts: later ones may be its consequences.
            self.unavailable.setdefault(figure, str(reason))
            return None

    def _throttle(self):
        for path in sorted(
            glob.glob(self._path("sys/devices/platform/soc*/soc*:firmware/get_throttled"))
        ):
            return FirmwareFile(path)
        alarm = self._alarm()
        for path in (self._path("usr/bin/vcgencmd"), self._path("opt/vc/bin/vcgencmd")):
            if os.access(path, os.X_OK):
                since = alarm.occurred_since if alarm else "boot"
                return Vcgencmd(path, since, self.answer_timeout_s)
        if alarm:
            self.unavailable["throttled_bits"] = (
                "this kernel reports under-voltage only, no throttling: " + alarm.place
            )
        return alarm

    def _alarm(self):
        for name in sorted(glob.glob(self._path("sys/class/hwmon/hwmon*/name"))):
            alarm = os.path.join(os.path.dirname(name), "in0_lcrit_alarm")
            try:
                if text_of(name) == "rpi_volt" and os.path.exists(alarm):
                    return UnderVoltageAlarm(alarm)
            except Unavailable:
                continue
        return None

    def _bits(self):
        if self.throttle is None:
            raise Unavailable("no get_throttled of a Raspberry Pi's kernel, and no vcgencmd")
        return self.throttle.bits()

    def _known_clocks(self):
        if not self.clocks:
            raise Unavailable("no cpufreq in {}".format(self._path("sys/devices/system/cpu")))
        return self.clocks

    def _clock_hz(self):
        """Return the slowest core's clock."""
        return 1000 * min(self._clock_khz(folder) for folder in self._known_clocks())

    def _clock_khz(self, folder):
        # The firmware's actual clock, which only root may read, before the requested one.
        for name in ("cpuinfo_cur_freq", "scaling_cur_freq"):
            path = os.path.join(folder, name)
            if os.access(path, os.R_OK):
                break
        return number_in(path, *CLOCK_KHZ)

    def _temperature_c(self):
        """Return the highest temperature of all zones that report one."""
        if not self.zones:
            raise Unavailable("no thermal zone in {}".format(self._path("sys/class/thermal")))
        temperatures = []
        reason = None
        for path in self.zones:
            try:
                temperatures.append(number_in(path, *TEMPERATURE_MC) / 1000.0)
            except Unavailable as error:
                reason = reason or error
        if not temperatures:
            raise reason
        return max(temperatures)

    def _swapped_bytes(self):
        """Return the bytes moved to and from swap since the machine started."""
        path = self._path("proc/vmstat")
        try:
            with open(path, "r", errors="replace") as handle:
                fields = dict(line.split()[:2] for line in handle if line.startswith("pswp"))
            return self.page_bytes * (int(fields["pswpin"]) + int(fields["pswpout"]))
        except (OSError, IOError) as error:
            raise Unavailable("{}: {}".format(path, error.strerror or error)) from None
        except (KeyError, ValueError):
            raise Unavailable("{} has no pswpin and pswpout".format(path)) from None

    def _governor(self):
        """Return the governor of all clocks; several are separated by commas."""
        clocks = self._known_clocks()
        found = [text_of(os.path.join(folder, "scaling_governor")) for folder in clocks]
        if not all(re.match(r"[a-z_]{1,15}\Z", one) for one in found):
            raise Unavailable("{}/scaling_governor contains {!r}".format(clocks[0], found[0][:40]))
        return ", ".join(sorted(set(found)))
