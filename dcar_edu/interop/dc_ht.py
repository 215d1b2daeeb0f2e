"""The official DC-HT tokenizer: its config, its key names, its weights."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from dcar_edu.interop.files import expect, fill, look_up, read_json, read_weights
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig

_F32: dict[str, list] = {
    "width_list": [128, 256, 512, 512, 1024, 1024],
    "block_type": ["ResBlock"] * 3 + ["EViT_GLU"] * 3,
    "norm": ["bn2d"] * 3 + ["ln2d"] * 3,
    "act": ["relu"] * 3 + ["silu"] * 3,
}
_F16 = {name: values[:5] for name, values in _F32.items()}
ARCHITECTURES: dict[str, dict[str, dict[str, Any]]] = {
    "dc-ae-f32-in-1.0": {
        "encoder": {**_F32, "norm": "ln2d", "act": "silu", "depth_list": [0, 4, 8, 2, 2, 2]},
        "decoder": {**_F32, "depth_list": [0, 5, 10, 2, 2, 2]},
    },
    "dc-ae-f16-in-1.0": {
        "encoder": {**_F16, "norm": "ln2d", "act": "silu", "depth_list": [0, 4, 8, 2, 2]},
        "decoder": {**_F16, "depth_list": [0, 5, 10, 2, 2]},
    },
}
ARCHITECTURES["dc-ae-f32-mix-1.0"] = ARCHITECTURES["dc-ae-f32-in-1.0"]
"""The sizes behind each ``model_name``: the official config does not spell them out."""

_BLOCKS = {"ResBlock": "res", "EViT_GLU": "evit"}
_NORMS = {"ln2d": "layer", "bn2d": "batch"}

_CONV = {"conv": "main.conv"}
_RESAMPLE = {"conv": "main.conv.conv"}
_RES = {"conv1": "main.conv1.conv", "conv2": "main.conv2.conv", "norm": "main.conv2.norm"}
_EVIT = {
    "0.qkv": "context_module.main.qkv.conv",
    "0.proj": "context_module.main.proj.conv",
    "0.norm": "context_module.main.proj.norm",
    "1.expand": "local_module.main.inverted_conv.conv",
    "1.depthwise": "local_module.main.depth_conv.conv",
    "1.reduce": "local_module.main.point_conv.conv",
    "1.norm": "local_module.main.point_conv.norm",
}
"""Our name of each part of a layer, and the official one."""


def load_dc_ht(folder: str | os.PathLike) -> HybridTokenizer:
    """Read an official-format DC-HT folder: ``config.json`` and weights.

    Args:
        folder: with ``model.safetensors`` (or shards of it) or ``pytorch_model.bin``.

    Returns:
        The tokenizer, float32, on the CPU, in eval mode.

    Raises:
        ValueError: an unknown variant, or keys that are missing, unknown or mis-shaped; all listed.

    Source:
        Key names and config fields of DC-AR's released code.
    """
    config = tokenizer_config(read_json(folder))
    with torch.device("meta"):
        tokenizer = HybridTokenizer(config)
    return fill(tokenizer, tokenizer_names(tokenizer), read_weights(folder))


def tokenizer_config(official: Mapping[str, Any]) -> TokenizerConfig:
    """Translate the official ``config.json``.

    A block ``fixture_arch``, which no released file has, overrides the sizes of ``model_name``.

    Raises:
        ValueError: an unknown ``model_name``, or a network unlike the released ones.
    """
    expect(official, "model_type", ("dc_ht",), "dc_ht")
    expect(official, "quantizer_type", ("vq", "hybrid_vq"), "vq")
    name = official.get("model_name")
    sizes = official.get("fixture_arch") or ARCHITECTURES.get(str(name))
    if sizes is None:
        raise ValueError(
            f"config.json: 'model_name' must be one of {sorted(ARCHITECTURES)}, got {name!r}. "
            "The widths and depths of other networks are not known."
        )
    encoder, decoder = look_up(sizes, "encoder"), look_up(sizes, "decoder")
    _check_layout(encoder, decoder)
    return TokenizerConfig(
        widths=tuple(encoder["width_list"]),
        encoder_depths=tuple(encoder["depth_list"]),
        decoder_depths=tuple(decoder["depth_list"]),
        blocks=tuple(_BLOCKS[block] for block in encoder["block_type"]),  # type: ignore[misc]
        decoder_norms=tuple(_NORMS[norm] for norm in decoder["norm"]),  # type: ignore[misc]
        decoder_activations=tuple(decoder["act"]),
        num_codes=official.get("codebook_size", 16384),
        latent_channels=official.get("codebook_embed_dim", 32),
        normalize_codes=official.get("codebook_l2_norm", True),
        commitment=official.get("commit_loss_beta", 0.25),
    )


def _check_layout(encoder: Mapping[str, Any], decoder: Mapping[str, Any]) -> None:
    """Refuse sizes that our network, which has the released layout, cannot take."""
    for key in ("width_list", "block_type"):
        if look_up(encoder, key) != look_up(decoder, key):
            raise ValueError(
                f"encoder and decoder must have the same '{key}', got {encoder[key]} and "
                f"{decoder[key]}. This variant of the network is not supported."
            )
    for depths in (look_up(encoder, "depth_list"), look_up(decoder, "depth_list")):
        if depths[0] or not all(depths[1:]):
            raise ValueError(
                f"exactly the first stage may be empty, got 'depth_list' {depths}. "
                "Other layouts have other key names."
            )
    expect(encoder, "norm", ("ln2d",))
    expect(encoder, "act", ("silu",))
    expect(decoder, "out_norm", ("ln2d",), "ln2d")
    expect(decoder, "out_act", ("relu",), "relu")
    for key, known in (("block_type", _BLOCKS), ("norm", _NORMS)):
        if unknown := set(decoder[key]) - set(known):
            raise ValueError(
                f"'{key}' must be out of {sorted(known)}, got {sorted(unknown)} too. "
                "This variant of the network is not supported."
            )


def tokenizer_names(tokenizer: HybridTokenizer) -> dict[str, str]:
    """The official key of each key of our state dict."""
    config = tokenizer.config
    prefixes = {"quantizer": "quantize.embedding"}
    for half, layers in (("encoder", encoder_layers(config)), ("decoder", decoder_layers(config))):
        for place, (official, parts) in enumerate(layers):
            for ours, theirs in parts.items():
                place_in_ours = f"{half}.{place}.{ours}".rstrip(".")
                prefixes[place_in_ours] = f"{half}.{official}.{theirs}".rstrip(".")
    names = {}
    for key in tokenizer.state_dict():
        part, _, leaf = key.rpartition(".")
        names[key] = f"{prefixes[part]}.{'weight' if leaf == 'codes' else leaf}"
    return names


Layers = Iterator[tuple[str, dict[str, str]]]
"""The official prefix of each layer, in our order, and the names of its parts."""


def encoder_layers(config: TokenizerConfig) -> Layers:
    """Official layers of the encoder; a stage ends with its down-sampling."""
    last = len(config.widths) - 1
    yield "project_in", {"conv": "conv.conv"}
    for stage in range(1, last + 1):
        block = _RES if config.blocks[stage] == "res" else _EVIT
        for i in range(config.encoder_depths[stage]):
            yield f"stages.{stage}.op_list.{i}", block
        if stage < last:
            yield f"stages.{stage}.op_list.{config.encoder_depths[stage]}", _RESAMPLE
    yield "project_out", {"conv": "main.op_list.0.conv"}


def decoder_layers(config: TokenizerConfig) -> Layers:
    """Official layers of the decoder; a stage begins with its up-sampling."""
    last = len(config.widths) - 1
    yield "project_in", _CONV
    for stage in range(last, 0, -1):
        first = int(stage < last)
        if first:
            yield f"stages.{stage}.op_list.0", _RESAMPLE
        block = _RES if config.blocks[stage] == "res" else _EVIT
        for i in range(config.decoder_depths[stage]):
            yield f"stages.{stage}.op_list.{first + i}", block
    yield "project_out.op_list.0", {"": ""}
    yield "project_out.op_list.1", {}
    yield "project_out.op_list.2", {"conv": "conv.conv"}
