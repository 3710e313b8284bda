"""Target `vm`: real Caffe in a full machine emulated by QEMU; no root, no daemon."""

from pibench.targets.vm.target import VmTarget

__all__ = ["VmTarget"]
