"""Target `ssh`: a board over SSH. Nothing is installed there, and only a cache remains."""

from pibench.targets.ssh.target import SshTarget

__all__ = ["SshTarget"]
