"""Target `vm`: real Caffe in a full machine emulated by QEMU, without root or a daemon."""

from pibench.targets.vm.target import VmTarget

__all__ = ["VmTarget"]
