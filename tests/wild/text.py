"""A few words to write prototxt with."""

from __future__ import annotations


class Text:
    """Collects layers; `add` returns the name of the layer's first top."""

    def __init__(self, name: str, channels: int, size: int, head: str = "") -> None:
        self.lines = [f'name: "{name}"', head]
        self.top = "data"
        self.count = 0
        self.add(
            "Input",
            [],
            f"input_param {{ shape {{ dim: 1 dim: {channels} dim: {size} dim: {size} }} }}",
            "data",
        )

    def add(self, kind: str, bottoms: list[str] | None = None, body: str = "", *tops: str) -> str:
        """One layer; without bottoms given it reads what was made last."""
        self.count += 1
        name = f"{kind.lower()}{self.count}"
        bottoms = [self.top] if bottoms is None else bottoms
        tops = tops or (name,)
        wires = " ".join([*(f'bottom: "{b}"' for b in bottoms), *(f'top: "{t}"' for t in tops)])
        self.lines.append(f'layer {{ name: "{name}" type: "{kind}" {wires} {body} }}')
        self.top = tops[0]
        return self.top

    def conv(self, outputs: int, kernel: int, more: str = "", bottom: str | None = None) -> str:
        """A convolution."""
        body = f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} {more} }}"
        return self.add("Convolution", [bottom or self.top], body)

    def inplace(self, kind: str, body: str = "") -> str:
        """A layer that writes over its bottom."""
        return self.add(kind, [self.top], body, self.top)

    def pool(self, how: str, kernel: int, stride: int, more: str = "") -> str:
        """A pooling."""
        return self.add(
            "Pooling",
            None,
            f"pooling_param {{ pool: {how} kernel_size: {kernel} stride: {stride} {more} }}",
        )

    def dense(self, outputs: int, more: str = "") -> str:
        """An inner product."""
        return self.add(
            "InnerProduct", None, f"inner_product_param {{ num_output: {outputs} {more} }}"
        )

    def norm(self, *, in_place: bool = True) -> str:
        """BatchNorm and Scale with bias."""
        add = self.inplace if in_place else lambda kind, body="": self.add(kind, None, body)
        add("BatchNorm")
        return add("Scale", "scale_param { bias_term: true }")

    def text(self) -> str:
        """The prototxt."""
        return "\n".join(self.lines) + "\n"
