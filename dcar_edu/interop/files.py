"""Folders in the official format: what both loaders share."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dcar_edu.checkpoint import load_tensors

Module = TypeVar("Module", bound=nn.Module)


def read_json(folder: str | os.PathLike) -> dict[str, Any]:
    """Read ``config.json`` of an official-format folder.

    Raises:
        ValueError: no such file, or not a JSON object.
    """
    path = Path(folder) / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no readable config at '{path}': {error}. Give the folder that holds the official "
            "config.json; a YAML config must be written as JSON first."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"'{path}' must hold a JSON object, got {type(content).__name__}.")
    return content


def look_up(config: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """The value at a dotted path such as ``"model.generator.hidden_size"``.

    Raises:
        ValueError: nothing there, and no default.
    """
    value: Any = config
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            if default is None:
                raise ValueError(
                    f"config.json lacks '{path}', which this model's sizes depend on. "
                    "Use the config that was released with the weights."
                )
            return default
        value = value[name]
    return value


def expect(config: Mapping[str, Any], path: str, allowed: tuple, default: Any = None) -> None:
    """Refuse a config whose value at ``path`` asks for a network that we do not have.

    Raises:
        ValueError: the value is none of ``allowed``.
    """
    value = look_up(config, path, default)
    if value not in allowed:
        raise ValueError(
            f"config.json: '{path}' must be one of {allowed}, got {value!r}. "
            "This variant of the network is not supported."
        )


def read_weights(folder: str | os.PathLike) -> dict[str, Tensor]:
    """Read ``model.safetensors`` (or its shards), else ``pytorch_model.bin``; all on the CPU.

    A ``.bin`` is a pickle. It is read by torch's weights-only loader, which builds tensors and
    refuses everything else.

    Raises:
        ValueError: neither is there, or the file holds more than named tensors.
    """
    pickled = Path(folder) / "pytorch_model.bin"
    if any(Path(folder).glob("model*.safetensors*")) or not pickled.is_file():
        return load_tensors(folder)
    try:
        tensors = torch.load(pickled, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"cannot read weights from '{pickled}': {error}. Only plain tensors are read from a "
            ".bin file; convert it to safetensors where you trust it."
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise ValueError(
            f"'{pickled}' must hold a plain dictionary of tensors. Save the model's state_dict "
            "alone, without optimizer or step."
        )
    return tensors


def fill(module: Module, names: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Module:
    """Give a module (built on the meta device) official weights; float32, in eval mode.

    Args:
        module: filled in place.
        names: the official key of each of the module's keys.
        tensors: weights by official key: all of them, and no other.

    Raises:
        ValueError: lists missing, unknown and mis-shaped keys.
    """
    wanted = module.state_dict()
    shapes = {official: tuple(wanted[ours].shape) for ours, official in names.items()}
    missing = sorted(set(shapes) - set(tensors))
    unknown = sorted(set(tensors) - set(shapes))
    wrong = [
        f"{key} {tuple(tensors[key].shape)} instead of {shape}"
        for key, shape in shapes.items()
        if key in tensors and tuple(tensors[key].shape) != shape
    ]
    if missing or unknown or wrong:
        raise ValueError(
            f"the weights do not fit the {type(module).__name__} that config.json describes: "
            f"missing {missing}, unknown {unknown}, wrong shape {wrong}. "
            "Use config and weights of one release."
        )
    state = {ours: tensors[key].to(wanted[ours].dtype) for ours, key in names.items()}
    module.load_state_dict(state, assign=True)
    return module.eval()
