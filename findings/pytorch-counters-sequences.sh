#!/usr/bin/env bash
# Four counters of a PyTorch network's MACs agree on convolutions, and differ by ten to a thousand for layers of sequences.
#
# Guess: a counter that runs the network, or traces it, counts a layer for each step; what it does not know it reports, and
# what is right for LSTM is right for GRU.
# Seen with torchprofile 0.1.0, torchinfo 1.8.0, ptflops 0.7.5, flopth 0.1.6, thop 0.1.1 (torch 2.13.0, numpy 2.4.6), no bias:
#                                            right      torchprofile  torchinfo  ptflops  flopth
#   Conv2d, 8 to 16 channels, 16 x 16        294,912    right         right      right    right
#   Linear, 16 to 32, of 10 x 16               5,120    right             512    right       100
#                     of 8 x 16 x 16          65,536    right             512    right        64
#   LSTM, 16 to 32, 10 steps                  61,440    right         right      6,464    -
#   GRU, 16 to 32, 10 steps                   46,080        0         right      4,832    -
#   GRUCell, 16 to 32                          4,608    4,672         147,456    4,832    -
#   Conv2d, 8 to 8, called twice             294,912    right         right      right    147,456
#   ConvTranspose2d, 8 to 4, kernel and
#     stride 2, of 16 x 16                    32,768    131,072       131,072    right    131,072
# thop has the same 131,072, and all others within 5 %, but takes a convolution without a batch for one of twice the work.
# ptflops reads the first of a recurrent layer's axes as the batch, which it does not count; with batch_first=True it is
# right within 6 %. torchinfo takes the 32 of a GRUCell's output for steps. flopth refuses recurrent layers; else no warning is
# printed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
    torchprofile==0.1.0 torchinfo==1.8.0 ptflops==0.7.5 flopth==0.1.6 tabulate==0.9.0 thop==0.1.1.post2209072238
cd "$folder"
# flopth imports it for its command line alone.
mkdir torchvision && touch torchvision/__init__.py torchvision/models.py
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import copy
import warnings

import torch
from flopth import flopth
from ptflops import get_model_complexity_info
from thop import profile
from torch import nn
from torchinfo import summary
from torchprofile import profile_macs


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(8, 8, 3, padding=1, bias=False)

    def forward(self, x):
        return self.layer(self.layer(x))


def by_flopth(layer, x):
    if isinstance(layer, (nn.RNNBase, nn.RNNCellBase)):
        return -1  # "Op LSTM is not supported at now"
    return flopth(layer, inputs=(x,), bare_number=True)[0]


def by_ptflops(layer, x):
    return get_model_complexity_info(
        layer, tuple(x.shape[1:]), as_strings=False, print_per_layer_stat=False, backend="pytorch",
        input_constructor=lambda _: x,
    )[0]


COUNTERS = {
    "torchprofile": lambda layer, x: profile_macs(layer, x),
    "torchinfo": lambda layer, x: summary(layer, input_data=x, verbose=0).total_mult_adds,
    "ptflops": by_ptflops,
    "flopth": by_flopth,
    "thop": lambda layer, x: profile(layer, (x,), verbose=False)[0],
}
LAYERS = [
    ("Conv2d", nn.Conv2d(8, 16, 3, padding=1, bias=False), (1, 8, 16, 16), 294_912, [294_912] * 5),
    ("Linear", nn.Linear(16, 32, bias=False), (1, 10, 16), 5_120, [5_120, 512, 5_120, 100, 5_120]),
    ("Linear", nn.Linear(16, 32, bias=False), (1, 8, 16, 16), 65_536, [65_536, 512, 65_536, 64, 65_536]),
    ("LSTM", nn.LSTM(16, 32, bias=False), (10, 1, 16), 61_440, [61_440, 61_440, 6_464, -1, 64_000]),
    ("LSTM, batch_first", nn.LSTM(16, 32, bias=False, batch_first=True), (1, 10, 16), 61_440,
     [61_440, 61_440, 64_640, -1, 64_000]),
    ("GRU", nn.GRU(16, 32, bias=False), (10, 1, 16), 46_080, [0, 46_080, 4_832, -1, 48_320]),
    ("GRUCell", nn.GRUCell(16, 32, bias=False), (1, 16), 4_608, [4_672, 147_456, 4_832, -1, 4_832]),
    ("Conv2d twice", Twice(), (1, 8, 16, 16), 294_912, [294_912] * 3 + [147_456, 294_912]),
    ("ConvTranspose2d", nn.ConvTranspose2d(8, 4, 2, stride=2, bias=False), (1, 8, 16, 16), 32_768,
     [131_072, 131_072, 32_768, 131_072, 131_072]),
]
warnings.simplefilter("ignore")
without_batch = int(profile(nn.Conv2d(8, 16, 3, padding=1, bias=False), (torch.ones(8, 16, 16),), verbose=False)[0])
print(f"Conv2d without a batch | right 294912 | thop {without_batch}")
assert without_batch == 589_824, "thop's behaviour has changed"
for label, layer, shape, right, seen in LAYERS:
    found = [int(counter(copy.deepcopy(layer).eval(), torch.ones(shape))) for counter in COUNTERS.values()]
    print(f"{label} {list(shape)} | right {right} |", ", ".join(map("{} {}".format, COUNTERS, found)))
    assert found == seen, "the behaviour has changed"
PROGRAM
