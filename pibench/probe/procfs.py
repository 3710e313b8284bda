"""Read the small text files of the kernel."""


def read_text(path):
    """Return a file's text, stripped, or None where it is absent or unreadable."""
    try:
        with open(path, "r", errors="replace") as handle:
            return handle.read().strip().strip("\0")
    except (OSError, IOError):
        return None


def read_fields(path):
    """Return `Name: value kB` lines of a /proc file as {name: first word of the value}."""
    fields = {}
    for line in (read_text(path) or "").splitlines():
        name, _, value = line.replace(":", " ").partition(" ")
        words = value.split()
        if words:
            fields[name] = words[0]
    return fields


def read_int(fields, name):
    try:
        return int(fields[name])
    except (KeyError, ValueError):
        return None


def high_water_kib():
    """Return this process's own peak of resident memory so far, as the kernel counts it."""
    return read_int(read_fields("/proc/self/status"), "VmHWM")


def resident_kib():
    """Return this process's own resident memory now, as the kernel counts it."""
    return read_int(read_fields("/proc/self/status"), "VmRSS")
