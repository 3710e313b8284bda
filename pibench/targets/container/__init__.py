"""Networks in Docker Engine (or Podman) containers limited to the device's memory and cores."""

from pibench.targets.container.target import ContainerTarget

__all__ = ["ContainerTarget"]
