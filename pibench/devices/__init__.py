"""Device profiles: what a board has and what it leaves to a program, as data files."""

from pibench.devices.profile import Device, load, names

__all__ = ["Device", "load", "names"]
