"""Networks in qemu-user processes of one's own: no root, no daemon, no namespace."""

from pibench.targets.sysroot.target import SysrootTarget

__all__ = ["SysrootTarget"]
