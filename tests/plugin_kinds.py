"""A distribution with an encoder and an adapter of its own, as another package would bring them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

ALL = ("conf", "module", "shapes", "operations", "packing")
ENCODER = {
    "conf": """
from pydantic.dataclasses import dataclass

PROTECTED = ("still",)

@dataclass(frozen=True, kw_only=True)
class Conf:
    patch: int = 320
    dim: int = 16
""",
    "module": """
import torch
from torch import nn
from torch.nn import functional as F
from espnet_part.model.masking import zero_padding

class Patches(nn.Module):
    protected = ("still",)
    base = None

    def __init__(self, conf):
        super().__init__()
        self.patch, self.dim = conf.patch, conf.dim
        self.layers = nn.ModuleList([nn.Linear(conf.patch, conf.dim)])
        self.still = nn.Linear(conf.dim, conf.dim)

    def output_lengths(self, num_samples):
        return (-(-num_samples // self.patch)).clamp(min=1)

    def forward(self, speech, lengths):
        count = self.output_lengths(lengths)
        size = int(count.max()) * self.patch
        speech = F.pad(speech, (0, max(0, size - speech.shape[1])))[:, :size]
        states = self.still(self.layers[0](speech.unflatten(1, (-1, self.patch))))
        return zero_padding(states, count), count

def build(conf, load_weights=True):
    encoder = Patches(conf)
    if load_weights:
        from .packing import identify
        encoder.base = identify(conf)
    return encoder
""",
    "shapes": """
from espnet_part.model.sizes import linear

def shapes(conf):
    named = [*linear("encoder.layers.0", conf.dim, conf.patch),
             *linear("encoder.still", conf.dim, conf.dim)]
    return conf.dim, dict(named)
""",
    "operations": """
from espnet_part.model.operations import Block, EncoderOperations, Linear, Part

def operations(conf):
    block = Block((Linear("encoder.layers.0", conf.patch, conf.dim),
                   Linear("encoder.still", conf.dim, conf.dim)))
    return EncoderOperations(
        Part("encoder", conf.dim, conf.patch, (block,)), conf.dim, 16000 / conf.patch)
""",
    "packing": """
import dataclasses
from espnet_part.errors import DataError
from espnet_part.model.base import describe_base
from espnet_part.model.packing import PackedBase

def identify(conf):
    return describe_base("encoder", None, None, dataclasses.asdict(conf))

def pack(conf, base, with_base_models, trained, names, room):
    return PackedBase(base, dataclasses.asdict(conf), "patches")

def export(encoder, conf, directory):
    raise NotImplementedError

def check(conf, where):
    if conf.get("patch", 1) == 666:
        raise DataError(f"{where}: patch: evil")
""",
}
ADAPTER = {
    "conf": """
from pydantic.dataclasses import dataclass

@dataclass(frozen=True, kw_only=True)
class Conf:
    bias: bool = True
""",
    "module": """
from torch import nn
from espnet_part.model.masking import zero_padding

class Plain(nn.Module):
    def __init__(self, conf, encoder_dim, llm_dim):
        super().__init__()
        self.linear = nn.Linear(encoder_dim, llm_dim, conf.bias)

    def match_scale(self, std):
        nn.init.normal_(self.linear.weight, std=std)

    def output_lengths(self, frames):
        return frames

    def forward(self, x, lengths):
        return zero_padding(self.linear(x[:, : int(lengths.max())]), lengths), lengths

def build(conf, encoder_dim, llm_dim):
    return Plain(conf, encoder_dim, llm_dim)
""",
    "shapes": """
from espnet_part.model.sizes import linear

def shapes(conf, encoder_dim, llm_dim):
    return dict(linear("adapter.linear", llm_dim, encoder_dim, conf.bias))
""",
    "operations": """
from espnet_part.model.operations import AdapterOperations, Block, Linear, Part

def operations(conf, encoder_dim, llm_dim):
    block = Block((Linear("adapter.linear", encoder_dim, llm_dim),))
    return AdapterOperations(Part("adapter", llm_dim, llm_dim, (block,)), lambda frames: frames)
""",
}


def install(folder: Path, package: str, parts: Collection[str] = ALL) -> None:
    """Install it into ``folder``, as pip does, with these parts of each kind.

    Args:
        package: its name, another for each test of a process; its encoder is called
            ``PACKAGE_patches``, its adapter ``PACKAGE_plain``.
    """
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[espnet_part.encoders]\n{package}_patches = {package}.patches\n"
        f"[espnet_part.adapters]\n{package}_plain = {package}.plain\n"
    )
    (folder / package).mkdir()
    (folder / package / "__init__.py").touch()
    for kind, sources in (("patches", ENCODER), ("plain", ADAPTER)):
        (folder / package / kind).mkdir()
        (folder / package / kind / "__init__.py").touch()
        for part in set(parts) & set(sources):
            (folder / package / kind / f"{part}.py").write_text(sources[part])
