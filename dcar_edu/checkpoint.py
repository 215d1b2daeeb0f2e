"""A model on disk: ``config.json`` and ``model.safetensors``, strict both ways.

Weights above 15 MB are split into shards with the index file that the Hugging Face Hub uses.
Every file is written beside its place and moved there, so it is whole or absent.
"""

import dataclasses
import hashlib
import json
import os
import tempfile
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

SHARD_BYTES = 14 * 2**20
Config = TypeVar("Config")


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old file or the new, never half."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def home() -> Path:
    """Where a student's checkpoints and progress live: ``$DCAR_HOME`` or ``~/.dcar_edu``."""
    return Path(os.environ.get("DCAR_HOME") or Path.home() / ".dcar_edu")


def cache_folder() -> Path:
    """What can be made again lives here: ``$DCAR_HOME/cache``, or the user's cache folder."""
    if home := os.environ.get("DCAR_HOME"):
        return Path(home) / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcar_edu"


def data_folder() -> Path:
    """The folder with emoji and shipped checkpoints.

    Looked up in ``$DCAR_DATA``, then beside a checkout, then inside the installed package.

    Raises:
        ValueError: none of the three exists.
    """
    package = Path(__file__).resolve().parent
    named = os.environ.get("DCAR_DATA")
    places = [Path(named)] if named else [package.parent / "data", package / "_data"]
    for place in places:
        if (place / "emoji").is_dir() or (place / "checkpoints").is_dir():
            return place
    raise ValueError(
        f"no data folder found in {', '.join(str(p) for p in places)}. "
        "Set DCAR_DATA to the repository's data/ folder, or install the wheel again."
    )


def find_model(name: str | os.PathLike) -> Path:
    """The folder of a model: a path, a shipped name, or a Hub id (downloaded once).

    The folder of a finished run (`dcar train`) stands for the model in it.

    Raises:
        ValueError: none of the three; says what is there.
    """
    if Path(name).is_dir():
        run = (Path(name) / "run.json").is_file() and (Path(name) / "model").is_dir()
        return Path(name) / "model" if run else Path(name)
    shipped = data_folder() / "checkpoints"
    if (shipped / name).is_dir():
        return shipped / name
    if str(name).count("/") == 1 and not str(name).startswith("."):
        try:
            from huggingface_hub import snapshot_download

            return Path(snapshot_download(str(name)))
        except Exception as error:
            raise ValueError(
                f"cannot fetch '{name}' from the Hub: {error}. Check the name and the connection."
            ) from error
    there = sorted(p.name for p in shipped.glob("*")) if shipped.is_dir() else []
    raise ValueError(
        f"no model called '{name}': not a folder, and the shipped ones are {there}. "
        "Give a folder, one of these names, or a Hub id like 'somebody/some-model'."
    )


def find_tokenizer(name: str | os.PathLike) -> Path:
    """The folder of a tokenizer: its own, or that of a model that names it.

    Raises:
        ValueError: see :func:`find_model`, or the folder has no readable ``config.json``.
    """
    folder = find_model(name)
    try:
        named = json.loads((folder / "config.json").read_text()).get("tokenizer")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(
            f"'{folder}' holds no tokenizer: {error}. Give a folder that save_pretrained wrote."
        ) from error
    return folder if named is None else partner(folder, named)


def partner(folder: Path, named: str) -> Path:
    """What a model's config names: a folder inside it, or one of another model."""
    return folder / named if (folder / named).is_dir() else find_model(named)


def to_dict(config: Any) -> dict:
    """Turn a config dataclass (nested ones too) into plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(kind: type[Config], values: Mapping, where: str = "config") -> Config:
    """Build a config dataclass from JSON values; nothing unknown, missing or mistyped passes.

    Raises:
        ValueError: unknown key, missing key or wrong type, each by name.
    """
    if not isinstance(values, Mapping):
        raise ValueError(
            f"{where}: expected the keys of {kind.__name__}, got {values!r:.80}. "
            "The file was written by another version, or edited."
        )
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    missing = sorted(set(fields) - set(values))
    if unknown or missing:
        raise ValueError(
            f"{where}: keys must be exactly those of {kind.__name__}; unknown {unknown}, "
            f"missing {missing}. The file was written by another version, or edited."
        )
    hints = typing.get_type_hints(kind)
    read = {name: _read(values[name], hints[name], f"{where}.{name}") for name in fields}
    return kind(**read)


def _read(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _read(value, next(a for a in arguments if a is not type(None)), where)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_dict(typing.cast(type, hint), value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_read(item, arguments[0], where) for item in value)
    if origin is typing.Literal and value in arguments:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = hint in (int, float, str) and isinstance(value, hint) and not isinstance(value, bool)
    if plain or (hint is bool and isinstance(value, bool)):
        return value
    raise ValueError(f"{where}: expected {hint}, got {value!r}. Correct the value in the file.")


def save_tensors(folder: str | os.PathLike, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as ``model.safetensors``, in shards with an index when they are large."""
    folder = Path(folder)
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if filled and filled + size > SHARD_BYTES:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor.detach().cpu().contiguous()
        filled += size
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [
            f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)
        ]
    for name, shard in zip(names, shards, strict=True):
        write_atomically(folder / name, to_bytes(shard, metadata={"format": "pt"}))
    index = folder / "model.safetensors.index.json"
    if len(shards) > 1:
        total = sum(t.numel() * t.element_size() for shard in shards for t in shard.values())
        where = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        content = {"metadata": {"total_size": total}, "weight_map": where}
        write_atomically(index, json.dumps(content, indent=1).encode())
    else:
        index.unlink(missing_ok=True)
    for old in folder.glob("model*.safetensors"):
        if old.name not in names:
            old.unlink()


def load_tensors(folder: str | os.PathLike) -> dict[str, Tensor]:
    """Read what :func:`save_tensors` wrote, from one file or from shards.

    Raises:
        ValueError: a file is missing or cannot be read as safetensors.
    """
    folder = Path(folder)
    path = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    tensors: dict[str, Tensor] = {}
    try:
        if path.is_file():
            names = sorted(set(json.loads(path.read_text())["weight_map"].values()))
        for name in names:
            path = folder / name
            with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
                tensors.update({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    except Exception as error:
        raise ValueError(
            f"cannot read weights from '{path}': {error}. "
            "The file is missing or damaged; copy or train the checkpoint again."
        ) from error
    return tensors


def save_module(
    folder: str | os.PathLike, module: nn.Module, config: Any, *, dtype: torch.dtype | None = None
) -> Path:
    """Save a module's weights and its config dataclass to ``folder``.

    Args:
        folder: created when missing.
        module: its ``state_dict`` is stored.
        config: a dataclass, stored as ``config.json``.
        dtype: floating weights are stored in this type; ``None`` keeps theirs.
    """
    folder = Path(folder)
    state = {
        name: tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor
        for name, tensor in module.state_dict().items()
    }
    save_tensors(folder, state)
    write_atomically(folder / "config.json", json.dumps(to_dict(config), indent=1).encode())
    return folder


def read_config(folder: str | os.PathLike, kind: type[Config]) -> Config:
    """Read ``config.json`` of a checkpoint folder as the dataclass ``kind``.

    Raises:
        ValueError: no such file, not JSON, or keys that do not fit.
    """
    path = Path(folder) / "config.json"
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no readable config at '{path}': {error}. Give the folder that save_pretrained wrote."
        ) from error
    return from_dict(kind, values, where=path.name)


def load_weights(folder: str | os.PathLike, module: nn.Module) -> None:
    """Fill a module with a folder's weights: every key present, none extra, shapes equal.

    Raises:
        ValueError: lists missing, unknown and mis-shaped keys.
    """
    tensors, wanted = load_tensors(folder), module.state_dict()
    missing = sorted(set(wanted) - set(tensors))
    unknown = sorted(set(tensors) - set(wanted))
    shapes = [
        f"{k} {tuple(tensors[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in wanted
        if k in tensors and tensors[k].shape != wanted[k].shape
    ]
    if missing or unknown or shapes:
        raise ValueError(
            f"the weights in '{folder}' do not fit {type(module).__name__}: missing {missing}, "
            f"unknown {unknown}, wrong shape {shapes}. Use the config that was saved with them."
        )
    module.load_state_dict(tensors)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Name a set of weights by 16 hex digits; unchanged by storing them in bfloat16."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().to(torch.bfloat16)
        digest.update(name.encode() + str(tuple(values.shape)).encode())
        digest.update(values.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
