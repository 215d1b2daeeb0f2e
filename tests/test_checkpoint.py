"""Models on disk: strict both ways, whole or absent."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from dcar_edu import checkpoint


@dataclass(frozen=True)
class Inner:
    rate: float


@dataclass(frozen=True)
class Outer:
    number: int
    share: float
    name: str
    flag: bool
    sizes: tuple[int, ...]
    kind: Literal["a", "b"]
    kinds: tuple[Literal["a", "b"], ...]
    maybe: float | None
    inner: Inner


GOOD = Outer(3, 0.5, "x", True, (1, 2), "a", ("b", "a"), None, Inner(0.25))


def written(**changes):
    return {**checkpoint.to_dict(GOOD), **changes}


@pytest.mark.parametrize("maybe", [None, 2.5])
def test_config_round_trip(maybe):
    values = json.loads(json.dumps(written(maybe=maybe)))
    read = checkpoint.from_dict(Outer, values)
    assert read == Outer(**{**vars(GOOD), "maybe": maybe})
    assert checkpoint.from_dict(Outer, written(share=1)).share == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": 1}, r"keys must be exactly those of Outer; unknown \['extra'\], missing \[\]"),
        ({"number": 3.5}, r"config.number: expected .*int.*, got 3.5"),
        ({"number": True}, r"config.number: expected .*int.*, got True"),
        ({"number": "3"}, r"config.number: expected .*int.*, got '3'"),
        ({"number": None}, r"config.number: expected .*int.*, got None"),
        ({"share": "0.5"}, r"config.share: expected .*float.*, got '0.5'"),
        ({"share": False}, r"config.share: expected .*float.*, got False"),
        ({"name": 3}, r"config.name: expected .*str.*, got 3"),
        ({"flag": 1}, r"config.flag: expected .*bool.*, got 1"),
        ({"sizes": 3}, r"config.sizes: expected tuple.*, got 3"),
        ({"sizes": "12"}, r"config.sizes: expected tuple.*, got '12'"),
        ({"sizes": [1, "2"]}, r"config.sizes: expected .*int.*, got '2'"),
        ({"kind": "c"}, r"config.kind: expected .*Literal.*, got 'c'"),
        ({"kinds": ["a", "c"]}, r"config.kinds: expected .*Literal.*, got 'c'"),
        ({"maybe": "2.5"}, r"config.maybe: expected .*float.*, got '2.5'"),
        ({"inner": {"rate": "x"}}, r"config.inner.rate: expected .*float.*, got 'x'"),
        (
            {"inner": {}},
            r"config.inner: keys must be .* of Inner; unknown \[\], missing \['rate'\]",
        ),
        ({"inner": [1]}, r"config.inner: expected .*Inner.*, got \[1\]"),
    ],
)
def test_config_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        checkpoint.from_dict(Outer, written(**changes))


def test_a_missing_key_is_named():
    values = written()
    del values["flag"]
    with pytest.raises(ValueError, match=r"unknown \[\], missing \['flag'\]"):
        checkpoint.from_dict(Outer, values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no readable config at .*Give the folder that save_pretrained wrote"),
        ("{", "no readable config at "),
        ("null", "config.json: expected the keys of Inner, got None"),
        ("[1, 2]", r"config.json: expected the keys of Inner, got \[1, 2\]"),
        ('{"rate": "fast"}', r"config.json.rate: expected .*float.*, got 'fast'"),
    ],
)
def test_read_config_refuses(tmp_path, text, message):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        checkpoint.read_config(tmp_path, Inner)


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.bin"
    checkpoint.write_atomically(path, b"old")

    def interrupted(*_):
        raise KeyboardInterrupt

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                checkpoint.write_atomically(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(path.parent.iterdir()) == [path]
    checkpoint.write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644


def made() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False))


def test_save_and_load(tmp_path):
    module = made()
    assert checkpoint.save_module(tmp_path / "m", module, Inner(0.5)) == tmp_path / "m"
    assert checkpoint.read_config(tmp_path / "m", Inner) == Inner(0.5)
    other = made()
    nn.init.zeros_(other[0].weight)
    checkpoint.load_weights(tmp_path / "m", other)
    for name, tensor in module.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)


def test_only_floats_are_stored_smaller(tmp_path):
    checkpoint.save_module(tmp_path, made(), Inner(0.5), dtype=torch.float16)
    kinds = {name: t.dtype for name, t in checkpoint.load_tensors(tmp_path).items()}
    assert kinds["0.weight"] == torch.float16
    assert kinds["1.num_batches_tracked"] == torch.int64


def test_large_weights_are_written_in_shards_with_the_hubs_index(tmp_path, monkeypatch):
    tensors = {name: torch.full((size,), float(i)) for i, (name, size) in
               enumerate({"a": 10, "b": 5, "c": 30, "d": 1}.items())}  # fmt: skip
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 64)
    checkpoint.save_tensors(tmp_path, tensors)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 46 * 4
    first, last = "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"
    middle = "model-00002-of-00003.safetensors"
    assert index["weight_map"] == {"a": first, "b": first, "c": middle, "d": last}
    assert sorted(p.name for p in tmp_path.glob("*.safetensors")) == [first, middle, last]
    read = checkpoint.load_tensors(tmp_path)
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    # Saved again in one piece: no shard and no index is left to be read by mistake.
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 2**20)
    checkpoint.save_tensors(tmp_path, {"a": torch.ones(2)})
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    assert list(checkpoint.load_tensors(tmp_path)) == ["a"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("0.bias"), r"do not fit Sequential: missing \['0.bias'\], unknown \[\]"),
        (lambda t: t.update(new=torch.ones(1)), r"missing \[\], unknown \['new'\]"),
        (
            lambda t: t.update({"2.weight": torch.ones(4, 2)}),
            r"wrong shape \['2.weight \(4, 2\) instead of \(2, 4\)'\]. Use the config",
        ),
    ],
)
def test_weights_must_fit_both_ways(tmp_path, change, message):
    tensors = dict(made().state_dict())
    change(tensors)
    checkpoint.save_tensors(tmp_path, tensors)
    module = made()
    before = {name: t.clone() for name, t in module.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        checkpoint.load_weights(tmp_path, module)
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())


def test_missing_or_damaged_files(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="cannot read weights from .*missing or damaged"):
        checkpoint.load_tensors(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match="cannot read weights from '.*model.safetensors'"):
        checkpoint.load_tensors(tmp_path)
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 4)
    checkpoint.save_tensors(tmp_path, {"a": torch.ones(2), "b": torch.ones(2)})
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match="cannot read weights from '.*00002-of-00002.safetensors'"):
        checkpoint.load_tensors(tmp_path)
    for text in ("{", "{}", "[]"):
        (tmp_path / "model.safetensors.index.json").write_text(text)
        with pytest.raises(ValueError, match="cannot read weights from '.*index.json'"):
            checkpoint.load_tensors(tmp_path)


def test_fingerprint():
    tensors = dict(made().state_dict())
    name = checkpoint.fingerprint(tensors)
    assert len(name) == 16
    assert int(name, 16)
    assert checkpoint.fingerprint(dict(reversed(tensors.items()))) == name
    assert checkpoint.fingerprint({k: t.bfloat16() for k, t in tensors.items()}) == name
    turned = {**tensors, "2.weight": tensors["2.weight"].reshape(4, 2)}
    renamed = {("x" if k == "2.weight" else k): t for k, t in tensors.items()}
    moved = {**tensors, "0.bias": tensors["0.bias"] + 0.1}
    assert len({checkpoint.fingerprint(t) for t in (tensors, turned, renamed, moved)}) == 4


def test_home(monkeypatch, tmp_path):
    monkeypatch.setenv("DCAR_HOME", str(tmp_path))
    assert checkpoint.home() == tmp_path
    monkeypatch.setenv("DCAR_HOME", "")
    assert checkpoint.home() == Path.home() / ".dcar_edu"


def test_data_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("DCAR_DATA", raising=False)
    assert (checkpoint.data_folder() / "emoji").is_dir()
    monkeypatch.setenv("DCAR_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="no data folder found in .*Set DCAR_DATA"):
        checkpoint.data_folder()
    (tmp_path / "checkpoints").mkdir()
    assert checkpoint.data_folder() == tmp_path
