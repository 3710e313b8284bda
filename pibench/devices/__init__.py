"""Device profiles: a board's hardware and the memory it leaves to programs, as data files."""

from pibench.devices.profile import Device, load, names

__all__ = ["Device", "load", "names"]
