"""Networks in the user's own qemu-user processes: no root, no daemon, no namespace."""

from pibench.targets.sysroot.target import SysrootTarget

__all__ = ["SysrootTarget"]
