"""What the reader and the writer ask of a format; each library has a module that answers."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..architecture import TITLES, Architecture, Size, ViTConfig
from ..checkpoint import LoadedModel
from ..errors import CheckpointError, ConfigError
from ..preprocess import Preprocess
from .layout import Pair
from .tensors import Tensors

HEAD_DIM = 64
"""width of a head in the paper's B and L and in DeiT's Ti and S: what is taken when nothing tells"""

SIZES = ("image_size", "patch_size", "in_channels", "num_classes", "dim", "depth", "num_heads", "mlp_dim")
_WITHOUT_EFFECT = (
    "dropout", "attention_dropout", "drop_path", "patch_dropout", "relative_slope", "residual_gain", "position_resize",
    "resnet_rule", "kind", "attention", "attention_window", "merge", "merge_schedule",
)  # fmt: skip
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
OPENAI = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
"""mean and std of the pixels in ImageNet, and of those that CLIP was trained on"""
MOST_BLOCKS = 1000
"""a larger number in a name is damage"""


@dataclass(frozen=True)
class Source:
    """A checkpoint as it lies on disk."""

    tensors: Tensors
    config: Mapping[str, Any] = field(default_factory=dict)
    """config.json beside the tensors; empty when there is none"""
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    """preprocessor_config.json beside them; empty when there is none"""


@dataclass(frozen=True)
class Description:
    """What a checkpoint says of itself."""

    config: ViTConfig
    """the architecture of the file as it is: with its own grid, patch, channels and classes"""
    preprocess: Preprocess
    classes: tuple[str, ...]
    """class names in the order of the logits; numbers when the file has no names; empty without a head"""
    assumed: dict[str, str] = field(default_factory=dict)
    """setting -> its value and the ground for it: all that neither the file nor the user says"""


@dataclass(frozen=True)
class Format:
    """One library's files, in both directions."""

    name: str
    about: str
    """one line for the help: whose files, and what they are"""
    recognises: Callable[[Source], bool]
    """from the names of the arrays alone, and the config's library or model type"""
    canonical: Callable[[Source], Source]
    """the same arrays under the one set of names that `pairs` knows: prefixes off, other spellings changed"""
    describe: Callable[[Source, Facts], Description]
    """from canonical arrays; raises CheckpointError for what cannot be a model of this format"""
    pairs: Callable[[Source | None, ViTConfig], list[Pair]]
    """every parameter of the model of a config; from a canonical source, or None when writing"""
    idle: Callable[[str, ViTConfig], str]
    """why the model needs no array of this canonical name; "" when it is not known"""
    refuses: Callable[[ViTConfig], list[str]] | None = None
    """what a model of this config has that the format cannot express, a few words each; None: is not written"""
    constants: Callable[[ViTConfig], dict[str, Any]] = lambda config: {}
    """settings that the library fixes and no file of it can say: {field of ViTConfig: its value there}"""
    files: Callable[[LoadedModel, Path], Mapping[str, Any]] | None = None
    """what lies beside the arrays: file name -> JSON value"""
    respelled: Callable[[LoadedModel, Format], Mapping[str, str]] = lambda loaded, format: {}
    """names of `pairs` -> those to write in their place, where the file that a model was read from had others"""
    assemble: Callable[[Mapping[str, Tensor], ViTConfig], dict[str, Tensor]] = lambda arrays, config: dict(arrays)
    """the arrays of `pairs` as they lie in a written file: parts put together, idle ones that must be there added"""


class Facts(dict[str, Any]):
    """What the user says of a file: settings of `ViTConfig`, such as num_heads; they go before everything else."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        if isinstance(self.get("image_size"), int):
            self["image_size"] = (self["image_size"],) * 2
        self.where = where
        self.assumed: dict[str, str] = {}

    def take(self, name: str, said: Any, convention: Any, ground: str) -> Any:
        """Return the setting `name`: the user's word, else what the file says (None: nothing), else a convention.

        A convention is written down in `assumed` with its ground.
        """
        if name in self:
            return self[name]
        if said is None:
            self.assumed[name] = f"{convention} ({ground})"
        return convention if said is None else said

    def num_heads(self, dim: int, said: int | None = None) -> int:
        """Return the number of heads; without a word of it heads are `HEAD_DIM` wide.

        Raises:
            CheckpointError: nobody says, and the width is no multiple of that.
        """
        if said is None and "num_heads" not in self and dim % HEAD_DIM:
            fix = "Give --model.num_heads N (in Python: num_heads=N)"
            raise CheckpointError(
                f"does not say how many heads a width of {dim} is cut into", where=self.where, fix=fix
            )
        return self.take("num_heads", said, dim // HEAD_DIM, f"heads {HEAD_DIM} wide, the convention")

    def config(self, **settings: Any) -> ViTConfig:
        """Return the ViTConfig of the settings read off a file.

        Raises:
            CheckpointError: they are impossible. ConfigError: the one at fault is the user's.
        """
        try:
            return ViTConfig(**settings)
        except ConfigError as error:
            if error.where.removeprefix("model.") in self:
                raise
            what = f"describes no possible model ({error.where}: {error.what})"
            raise CheckpointError(what, where=self.where, fix="Use a sound copy") from None

    def image_size(self, count: int, cell: Size, said: Size | None = None) -> Size:
        """Return pixels (rows, columns) of a picture that is `count` patches of `cell` pixels.

        Without a word of it the grid is square; a user's image_size counts when it has that many patches and the
        grid cannot be square (otherwise it is a wish for another size, see `adapt`).

        Raises:
            CheckpointError: what is said is not `count` patches; nobody says and they make no square; or they make
                one, and the user's image_size as well.
        """
        side, wish = math.isqrt(count), self.get("image_size")
        wished = (wish[0] // cell[0], wish[1] // cell[1]) if wish else None
        if said is None and "grid" in self:
            said = self["grid"][0] * cell[0], self["grid"][1] * cell[1]
        elif said is None and side * side != count:
            said = wish
        elif said is None and wished and wished[0] != wished[1] and math.prod(wished) == count:
            raise self.two_grids(count)
        if said is None and side * side == count:
            said = side * cell[0], side * cell[1]
            self.assumed["image_size"] = f"{said[0]}x{said[1]} (a square grid)"
        if said is None:
            fix = "Give --grid ROWS,COLUMNS (in Python: grid=(rows, columns))"
            raise CheckpointError(f"has {count} positions, which are no square grid", where=self.where, fix=fix)
        if (said[0] // cell[0]) * (said[1] // cell[1]) != count:
            what = f"has {count} positions, a picture of {said[0]}x{said[1]} has other patches of {cell[0]}x{cell[1]}"
            raise CheckpointError(what, where=self.where, fix="Give --grid ROWS,COLUMNS, or mend its config")
        return tuple(said)

    def whole(self, size: Size, cell: Size) -> Size:
        """Return the pixels (rows, columns) of `size` that patches of `cell` pixels fill; say so when some are left."""
        whole = size[0] // cell[0] * cell[0], size[1] // cell[1] * cell[1]
        if whole != tuple(size):
            about = f"patches of {cell[0]}x{cell[1]} leave out the rest of {size[0]}x{size[1]}"
            self.assumed["image_size"] = f"{whole[0]}x{whole[1]} ({about})"
        return whole

    def two_grids(self, count: int) -> CheckpointError:
        """Return the error that `count` positions can be a square grid, or that of the picture that the user names."""
        what = f"has {count} positions: of a square, or of the picture that --image-size names"
        fix = "Give --grid ROWS,COLUMNS of the file (in Python: grid=(rows, columns))"
        return CheckpointError(what, where=self.where, fix=fix)


def numbered(names: Mapping[str, Any] | Tensors, prefix: str, end: str = ".") -> int:
    """Return how many blocks there are: one more than the largest N in names `prefix`N`end`something.

    A gap is left for the reader to find: the parameters of the missing block are in no file.
    """
    found = {name.removeprefix(prefix).partition(end)[0] for name in names if name.startswith(prefix)}
    counted = [int(number) for number in found if number.isdecimal() and len(number) <= len(str(MOST_BLOCKS))]
    return max((number for number in counted if number < MOST_BLOCKS), default=-1) + 1


def absent_biases(tensors: Tensors, patterns: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the switches of the biases of which a file has not one: setting -> the value that means so.

    Args:
        patterns: setting -> patterns of the names of its arrays.
    """
    absent = [name for name, each in patterns.items() if not any(fnmatch.filter(tensors, one) for one in each)]
    return {name: "none" if name == "qkv_bias" else False for name in absent}


def beyond_all(config: Architecture) -> list[str]:
    """Return what a model of `config` has that no library's files can say, a few words each; [] for a global ViT."""
    if not isinstance(config, ViTConfig):
        return [f"kind={config.kind} ({TITLES[config.kind]})"]
    found = [] if config.attention == "global" else [f"attention={config.attention}"]
    return found + ([f"merge={config.merge} (--merge 0 leaves it out)"] if config.merge else [])


def beyond(config: ViTConfig, sayable: Iterable[str]) -> list[str]:
    """Return the settings of `config`, as "name=value", that a format cannot say: not usual, and not `sayable`.

    Sizes can be said in every format; what only matters to training, and what is only read by other settings that
    are off, is not looked at.
    """
    free = {*SIZES, *_WITHOUT_EFFECT, *sayable}
    names = [each.name for each in dataclasses.fields(ViTConfig) if each.name not in free]
    usual = ViTConfig()
    return [f"{name}={getattr(config, name)}" for name in names if getattr(config, name) != getattr(usual, name)]


def numbers(count: int) -> tuple[str, ...]:
    """Return names for classes that a file only counts."""
    return tuple(map(str, range(count)))
