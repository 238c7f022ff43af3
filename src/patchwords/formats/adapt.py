"""A model's weights for other picture sizes, patches, channels and classes."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..architecture import TITLES, Size, ViTConfig
from ..checkpoint import LoadedModel
from ..errors import CheckpointError, ConfigError
from ..models import build_empty
from ..models.position import relative_resampled, resample
from ..preprocess import Preprocess

_CHANGES = ("image_size", "patch_size", "in_channels", "num_classes", "position_resize")
"""settings that may differ: what this file is for"""
_CHANGES_OF_OTHERS = {True: ("image_size", "num_classes"), False: ("num_classes",)}
"""the same for a model that is no ViT, by whether it reads pictures of any size"""
_OF_TRAINING = ("dropout", "attention_dropout", "drop_path", "patch_dropout", "residual_gain", "relative_slope")
"""settings that may differ and change no weight: they say how a model starts and trains, not what it answers"""
_OF_MERGING = ("merge", "merge_schedule")
"""settings that may differ and change no weight: they say how many tokens are computed"""
_OF_HEAD = ("pre_logits", "head_bias")
"""settings that may differ when the head is new"""
NEW_HEAD = "new head of zeros"
_KNOWN = {1: ("grey",), 3: ("red", "green", "blue")}
"""number of channels -> their names"""
_FIRST = {"patch": "patch_embed.proj.weight"} | dict.fromkeys(("conv", "conv_pool"), "patch_embed.backbone.0.0.weight")
"""stem -> the weight that reads pixels: (outputs, channels, rows, columns)"""

Changes = tuple[dict[str, Tensor], dict[str, str]]
"""weights by name, and what was done to each that is changed or left out"""


def adapt(
    config: ViTConfig,
    weights: Mapping[str, Tensor],
    wanted: ViTConfig,
    channels: tuple[str, ...] | None = None,
    *,
    new_head: bool = False,
) -> Changes:
    """Return the `weights` of a model of `config` as weights for `wanted`, and how each changed one was changed.

    - Another grid: learned positions are resampled by the rule `wanted.position_resize` (2010.11929, sec. 3.2),
      prefix tokens keep theirs; relative tables are resampled as the model does; sincos_2d and rope compute theirs.
    - Another patch: `resized_patches`. Other channels: `mixed_channels`.
    - Another number of classes: the head starts from zeros (sec. 3.2). 0 classes: none.

    Args:
        weights: every parameter of the model of `config`, by name. Those that do not change are returned as they are.
        channels: names of the wanted channels; None: as they are when their number stays, else grey for 1, red, green,
            blue for 3, and no names for another number.
        new_head: a head of zeros for as many classes too: they are others.

    Returns:
        weights for `wanted`; {name: how} of those that changed, are new or are left out.

    Raises:
        ConfigError: the two differ in what no change of weights can bridge; names the setting.
    """
    new_head = new_head or wanted.num_classes != config.num_classes
    _check(config, wanted, new_head)
    made, hows = dict(weights), {}
    for part in (functools.partial(_adapted_channels, channels=channels), _adapted_patches, _adapted_positions):
        changed, about = part(config, made, wanted)
        made.update(changed)
        hows = _joined(hows, about)
    if new_head:
        made, about = _with_new_head(made, wanted)
        hows = _joined(hows, about)
    return made, hows


def _joined(first: dict[str, str], then: dict[str, str]) -> dict[str, str]:
    """Return {name: how} of both, one after the other where a tensor was changed twice."""
    return first | {name: f"{first[name]}; {how}" if name in first else how for name, how in then.items()}


def _check(config: ViTConfig, wanted: ViTConfig, new_head: bool) -> None:
    """Raise ConfigError for the first setting in which the two differ and may not."""
    changes = _CHANGES if config.kind == "vit" else _CHANGES_OF_OTHERS[config.any_size]
    allowed = (*changes, *_OF_TRAINING, *_OF_MERGING, *(_OF_HEAD if new_head else ()))
    for name in (field.name for field in dataclasses.fields(config)):
        own, other = getattr(config, name), getattr(wanted, name)
        if own == other or name in allowed or (name == "layer_scale" and own and other):
            continue
        settings = ", ".join(changes)
        fix = f"Leave it at {own}; weights can be adapted to another {settings}"
        raise ConfigError(f"the weights are of {own}, not {other}", where=f"model.{name}", fix=fix)
    if config.kind != "vit":
        return
    if new_head and wanted.pre_logits and wanted.pre_logits != config.pre_logits:
        fix = "Set it to 0: a new head has no hidden layer"
        raise ConfigError(f"a new hidden layer of {wanted.pre_logits}", where="model.pre_logits", fix=fix)
    if wanted.patch_size != config.patch_size and config.stem != "patch":
        what = f"the {config.stem} stem has no matrix of patches of {_sides(config.patch_size)} pixels to resize"
        raise ConfigError(what, where="model.patch_size", fix=f"Leave it at {_sides(config.patch_size)}")


def _sides(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


# Positions -------------------------------------------------------------------------------------------


def _adapted_positions(config: ViTConfig, weights: Mapping[str, Tensor], wanted: ViTConfig) -> Changes:
    """Return the tables of positions for the wanted grid."""
    if wanted.grid == config.grid or config.kind != "vit":
        return {}, {}
    (rows, columns), rule, made = wanted.grid, wanted.position_resize, {}
    how = f"positions resampled from {_sides(config.grid)} to {_sides(wanted.grid)} patches"
    if config.position == "learned":
        table, placed = weights["pos_embed"][0], config.num_placed_prefix_tokens
        patches = resample(table[placed:].unflatten(0, config.grid), wanted.grid, rule)
        made["pos_embed"] = torch.cat([table[:placed], patches.flatten(0, 1)])[None]
    elif config.position == "learned_2d":
        made["pos_embed.rows"] = resample(weights["pos_embed.rows"][:, None], (rows, 1), rule)[:, 0]
        made["pos_embed.columns"] = resample(weights["pos_embed.columns"][None], (1, columns), rule)[0]
    elif config.position == "relative":
        rule = "bicubic"
        for name in (name for name in weights if name.endswith("relative_position_bias_table")):
            made[name] = relative_resampled(weights[name], config.grid, wanted.grid)
    return made, {name: f"{how}, {rule} rule" for name in made}


# Patches ---------------------------------------------------------------------------------------------


def _adapted_patches(config: ViTConfig, weights: Mapping[str, Tensor], wanted: ViTConfig) -> Changes:
    if config.kind != "vit" or wanted.patch_size == config.patch_size:
        return {}, {}
    name = _FIRST["patch"]
    how = f"patches resized from {_sides(config.patch_size)} to {_sides(wanted.patch_size)} pixels by pseudo-inverse"
    return {name: resized_patches(weights[name], wanted.patch_size)}, {name: how}


def resized_patches(weight: Tensor, patch_size: Size) -> Tensor:
    """Return the patch matrix (D, C, P, P) for patches of another size, P' (FlexiViT, 2212.08013, sec. 3.4).

    Resizing a picture is linear: a patch x becomes B x, here by bilinear interpolation, antialiased as pictures are
    when they are read. The new filters are w' = argmin E_x (<x, w> - <B x, w'>)^2 over x ~ N(0, I) = (B^T)^+ w.
    For larger patches <B x, w'> = <x, w> for every x; for smaller ones it is the nearest there is.
    B is a product of one matrix for rows and one for columns, and so is its pseudo-inverse.
    """
    down, across = (
        torch.linalg.pinv(resize_matrix(own, new).T) for own, new in zip(weight.shape[2:], patch_size, strict=True)
    )
    resized = torch.einsum("ip,jq,dcpq->dcij", down.to(weight.device), across.to(weight.device), weight.double())
    return resized.to(weight.dtype).contiguous()


@functools.cache
def resize_matrix(own: int, new: int) -> Tensor:
    """Return the matrix (new, own), float64, that resizes one side of a picture from `own` pixels to `new`."""
    unit = torch.eye(own, dtype=torch.float64)[:, None, None]  # one picture of 1 x own for each column
    if own == new:
        return unit[:, 0, 0]
    return F.interpolate(unit, (1, new), mode="bilinear", antialias=True, align_corners=False)[:, 0, 0].T.contiguous()


# Channels --------------------------------------------------------------------------------------------


def _adapted_channels(
    config: ViTConfig, weights: Mapping[str, Tensor], wanted: ViTConfig, channels: tuple[str, ...] | None
) -> Changes:
    if channels is None and wanted.in_channels == config.in_channels:
        return {}, {}
    own, named = channel_names(config.in_channels), _spelled(channels or channel_names(wanted.in_channels))
    if len(named) != wanted.in_channels or len(set(named)) != len(named):
        fix = "Give each channel a name of its own"
        raise ConfigError(f"{', '.join(named)} for {wanted.in_channels} channels", where="channels", fix=fix)
    if named == own:
        return {}, {}
    if config.kind != "vit":
        fix = f"Give pictures of {config.in_channels} channels in their order"
        raise ConfigError(f"channels of a model of kind {config.kind} stay", where="model.in_channels", fix=fix)
    if config.stem not in _FIRST:
        what = f"the {config.stem} stem scales each filter by all its channels together: they cannot be parted"
        raise ConfigError(what, where="model.in_channels", fix=f"Give pictures of {config.in_channels} channels")
    name = _FIRST[config.stem]
    made, how = mixed_channels(weights[name], own, named)
    return {name: made}, {name: how}


def channel_names(count: int) -> tuple[str, ...]:
    """Return the names of `count` channels: grey; red, green, blue; otherwise numbers, from 1."""
    return _KNOWN.get(count) or tuple(f"channel {number}" for number in range(1, count + 1))


def _spelled(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("grey" if name.strip().lower() == "gray" else name.strip().lower() for name in names)


def mixed_channels(weight: Tensor, own: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[Tensor, str]:
    """Return filters (outputs, channels, rows, columns) for the `wanted` channels, and how they were made.

    - A channel that the model knows by name keeps its filter.
    - The others share the sum of the filters that nobody keeps, in equal parts. So grey of RGB is the sum of the
      three, and RGB of grey are thirds: a grey picture gives the same tokens either way.
    - When all are kept and channels are left, these take the mean of all, and every filter is multiplied by
      (own channels) / (wanted channels).

    Both ways the filters keep their sum: a picture with equal channels, and so the scale of the tokens, stays what the
    later layers have learned. Only where channels are dropped and none is new does the sum change.
    """
    exact = weight.double()
    kept = {name: exact[:, own.index(name)] for name in wanted if name in own}
    left = [name for name in own if name not in kept]
    others = [name for name in wanted if name not in kept]
    total, scale = exact.sum(dim=1), 1.0
    if left:
        shared = exact[:, [own.index(name) for name in left]].sum(dim=1) / max(len(others), 1)
    else:
        shared, scale = total / len(own), len(own) / len(wanted)
    made = torch.stack([kept.get(name, shared) for name in wanted], dim=1) * scale
    return made.to(weight.dtype).contiguous(), _mixture(list(kept), left, others, len(own), len(wanted))


def _mixture(kept: list[str], left: list[str], others: list[str], own: int, wanted: int) -> str:
    """Return in words what `mixed_channels` did."""
    parts = [f"filters of {', '.join(kept)} kept"] if kept else []
    if others and left:
        source = f"sum of the filters of {', '.join(left)}" if len(left) > 1 else f"filter of {left[0]}"
        share = f"1/{len(others)} of the {source} each" if len(others) > 1 else f"the {source}"
        parts.append(f"{', '.join(others)}: {share}")
    elif others:
        parts.append(f"{', '.join(others)}: mean filter; all times {own}/{wanted}")
    elif left:
        parts.append(f"{', '.join(left)} dropped")
    return "; ".join(parts)


# Head ------------------------------------------------------------------------------------------------


def _with_new_head(weights: dict[str, Tensor], wanted: ViTConfig) -> Changes:
    """Return `weights` with heads of zeros for the wanted classes, or without heads."""
    heads = [name for name in weights if name.split(".")[0] in ("head", "head_dist")]
    pre_logits = getattr(wanted, "pre_logits", 0)
    hidden = [name for name in weights if name.startswith("pre_logits.") and not pre_logits]
    made = {name: tensor for name, tensor in weights.items() if name not in (*heads, *hidden)}
    hows = {name: "left out" for name in (*heads, *hidden)}
    if not wanted.num_classes:
        return made, hows
    like = next(iter(weights.values()))
    if wanted.kind != "vit":
        shapes = {f"head.{name}": value.shape for name, value in build_empty(wanted).head.named_parameters()}
        return made | {name: like.new_zeros(s) for name, s in shapes.items()}, hows | dict.fromkeys(shapes, NEW_HEAD)
    width = wanted.pre_logits or wanted.dim * (2 if wanted.pool == "cls+mean" else 1)
    for head in ("head", "head_dist") if wanted.distillation_token else ("head",):
        shapes = {"weight": (wanted.num_classes, width), "bias": (wanted.num_classes,)}
        for kind in ("weight", "bias") if wanted.head_bias else ("weight",):
            made[f"{head}.{kind}"] = like.new_zeros(shapes[kind])
            hows[f"{head}.{kind}"] = NEW_HEAD
    return made, hows


# A loaded model --------------------------------------------------------------------------------------


def adapt_model(
    loaded: LoadedModel,
    *,
    image_size: int | Size | None = None,
    patch_size: int | Size | None = None,
    channels: int | None = None,
    classes: tuple[str, ...] | None = None,
    position_resize: str = "",
) -> tuple[LoadedModel, dict[str, str]]:
    """Return `loaded` for other pictures or classes, with a model of its own, and how each changed tensor was changed.

    Its preprocessing follows: the size of pictures, and for other channels mean and standard deviation. Where these
    differed between the channels, the patch matrix and its bias take the difference up, so that a grey picture gives
    the tokens that it gave.

    Args:
        loaded: a model of `patchwords.load`; left as it is.
        image_size, patch_size: pixels, one number for a square or (rows, columns).
        channels: 1 (grey) or 3 (RGB).
        classes: names of the new classes; a head of zeros when they are not the old ones; (): no head.
        position_resize: the rule; "": the model's own.

    Raises:
        ConfigError: sizes that do not fit, or what `adapt` refuses.
    """
    config = loaded.model.config
    classes = loaded.classes if classes is None else tuple(classes)
    if channels not in (None, *_KNOWN):
        raise ConfigError(f"{channels} is not a choice", where="channels", fix="Allowed: 1 (grey), 3 (RGB)")
    new_head = classes != loaded.classes
    changes = {
        "image_size": _size(image_size),
        "patch_size": _size(patch_size),
        "in_channels": channels,
        "num_classes": len(classes) if new_head else None,
        "pre_logits": 0 if new_head else None,
        "position_resize": position_resize or None,
    }
    changes = {name: value for name, value in changes.items() if value is not None and hasattr(config, name)}
    wanted = dataclasses.replace(config, **changes)
    weights, preprocess, hows = _with_one_scale(loaded, wanted)
    made, about = adapt(config, weights, wanted, new_head=new_head)
    hows = _joined(hows, about)
    preprocess = dataclasses.replace(preprocess, image_size=wanted.image_size)
    provenance = loaded.provenance | ({"adapted": sorted(set(hows.values()))} if hows else {})
    return LoadedModel(_built(wanted, made), classes, preprocess, provenance), hows


def merging(loaded: LoadedModel, count: int | None, schedule: str = "") -> LoadedModel:
    """Return `loaded` with a model of the same weights that merges `count` patches in each block (models/merge.py).

    Args:
        count: `ViTConfig.merge`; None: as it is.
        schedule: `ViTConfig.merge_schedule`; "": as it is.

    Raises:
        ConfigError: the model is no ViT, or cannot merge so.
    """
    if count is None and not schedule:
        return loaded
    config = loaded.model.config
    if config.kind != "vit":
        what = f"a {TITLES[config.kind]} has no tokens to merge"
        raise ConfigError(what, where="model.merge", fix="Leave it out: only Vision Transformers merge")
    changes = {} if count is None else {"merge": count}
    wanted = dataclasses.replace(config, **changes, **({"merge_schedule": schedule} if schedule else {}))
    return dataclasses.replace(loaded, model=_built(wanted, loaded.model.state_dict()))


def _size(value: int | Size | None) -> Size | None:
    return (value, value) if isinstance(value, int) else value


def _built(config: ViTConfig, weights: Mapping[str, Tensor]) -> torch.nn.Module:
    """Return a model in evaluation mode with copies of `weights`."""
    model = build_empty(config)
    try:
        model.load_state_dict({name: tensor.detach().clone() for name, tensor in weights.items()}, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"the weights do not belong to their config ({error})") from error
    return model.eval()


def _with_one_scale(loaded: LoadedModel, wanted: ViTConfig) -> tuple[dict[str, Tensor], Preprocess, dict[str, str]]:
    """Return weights, preprocessing and hows of the same function of pixels, all channels with one mean and one scale.

    sum_c <w_c, (x_c - m_c) / s_c> + b = sum_c <w_c s / s_c, (x_c - m) / s> + b + sum_c <w_c, 1> (m - m_c) / s_c.
    """
    weights, preprocess, count = dict(loaded.model.state_dict()), loaded.preprocess, wanted.in_channels
    if count == loaded.model.config.in_channels:
        return weights, preprocess, {}
    mean, std = (math.fsum(values) / len(values) for values in (preprocess.mean, preprocess.std))
    one = dataclasses.replace(preprocess, channels=count, mean=(mean,) * count, std=(std,) * count)
    name = _FIRST.get(getattr(wanted, "stem", ""), "")
    if (len(set(preprocess.mean)) == len(set(preprocess.std)) == 1) or name not in weights:
        return weights, one, {}
    filters = weights[name].double()
    means, stds = (filters.new_tensor(values) for values in (preprocess.mean, preprocess.std))
    weights[name] = (filters * (std / stds)[:, None, None]).to(weights[name].dtype)
    hows = {name: f"filters times {std:.4g} / std of their channel"}
    bias = "patch_embed.proj.bias"
    if wanted.stem == "patch" and bias in weights:
        shift = filters.sum(dim=(2, 3)) @ ((mean - means) / stds)
        weights[bias] = (weights[bias].double() + shift).to(weights[bias].dtype)
        hows[bias] = f"shifted for one mean of {mean:.4g} in all channels"
    return weights, one, hows
