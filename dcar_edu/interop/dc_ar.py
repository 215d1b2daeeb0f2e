"""The official DC-AR generator: its config, its key names, its weights."""

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dcar_edu.generator import GeneratorConfig, MaskedGenerator
from dcar_edu.generator.guidance import Guidance
from dcar_edu.generator.transformer import positions
from dcar_edu.interop.files import expect, fill, look_up, read_json, read_weights

POSITIONS = "pos_embed"
"""Stored in the official file, computed in ours; checked, then left out."""

_OUTER = {
    "null_text": "y_embedder.y_embedding",
    "tokens": "x_embedder",
    "text.0": "y_embedder.y_proj.fc1",
    "text.2": "y_embedder.y_proj.fc2",
    "head": "final_layer.linear",
    "residual_head.time.0": "diffloss.net.time_embed.mlp.0",
    "residual_head.time.2": "diffloss.net.time_embed.mlp.2",
    "residual_head.condition": "diffloss.net.cond_embed",
    "residual_head.input": "diffloss.net.input_proj",
    "residual_head.output.linear": "diffloss.net.final_layer.linear",
    "residual_head.output.modulation": "diffloss.net.final_layer.adaLN_modulation.1",
}
_BLOCK = {
    "attention.qkv": "attn.qkv",
    "attention.q_norm": "attn.q_norm",
    "attention.k_norm": "attn.k_norm",
    "attention.proj": "attn.proj",
    "cross.q": "cross_attn.q_linear",
    "cross.kv": "cross_attn.kv_linear",
    "cross.proj": "cross_attn.proj",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}
_HEAD_BLOCK = {
    "norm": "in_ln",
    "mlp.0": "mlp.0",
    "mlp.2": "mlp.2",
    "modulation": "adaLN_modulation.1",
}
"""Our name of each part, and the official one; rows and columns need no reordering."""


def load_dc_ar(folder: str | os.PathLike) -> MaskedGenerator:
    """Read an official-format DC-AR folder: ``config.json`` and weights.

    The released sampler differs from ours in some defaults that the weights depend on: T5 reads
    padding too (:func:`dcar_edu.interop.as_released`), and the residual is bounded by 1 scale.

    Args:
        folder: with ``model.safetensors`` (or shards of it) or ``pytorch_model.bin``.

    Returns:
        The generator, float32, on the CPU, in eval mode.

    Raises:
        ValueError: an unknown variant, or keys that are missing, unknown or mis-shaped; all listed.

    Source:
        Key names and config fields of DC-AR's released code.
    """
    config = generator_config(read_json(folder))
    tensors = dict(read_weights(folder))
    with torch.device("meta"):
        model = MaskedGenerator(config)
    _check_positions(tensors.pop(POSITIONS, None), config)
    return fill(model, generator_names(model), tensors)


def released_guidance(
    scale: float = 4.5, decay: str = "constant", num_steps: int = 12, power: float = 2.5
) -> Guidance:
    """Guidance of tokens and residuals exactly as the released sampler applies it.

    Its tokens agree with ours. Its residuals do not in two cases: under power-cosine the last
    weight ``w`` of ``u + w (c - u)`` is used as ``s`` in ``c + s (c - u)``, one unit stronger; and
    a constant scale of exactly 1 draws them unguided. Give ``.residual`` to ``generate`` as
    ``residual_guidance``.

    Args:
        scale: the official ``guidance_scale``.
        decay: the official ``guidance_decay``: constant, linear or power-cosine.
        num_steps: steps of the tokens.
        power: the official ``guidance_scale_pow``.

    Raises:
        ValueError: unknown decay.

    Source:
        DC-AR's released code, observed.

    Example:
        >>> round(released_guidance(4.5, "power-cosine").residual, 2)
        4.18
    """
    plain = Guidance(scale, decay, power)
    residual = plain.for_residuals(num_steps)
    if decay == "power-cosine":
        # One step starts and ends at w = 1, which the residual sampler takes for "unguided".
        residual = residual + 1 if num_steps > 1 else 0.0
    elif decay == "constant" and scale == 1:
        residual = 0.0
    return replace(plain, residual=residual)


def generator_config(official: Mapping[str, Any]) -> GeneratorConfig:
    """Translate the official config; fields that the released model never reads are ignored.

    Raises:
        ValueError: a field is missing, or asks for a network unlike the released one.
    """
    expect(official, "model.type", ("vq_dc_ae",))
    expect(official, "model.generator.qk_norm", (True,), False)
    expect(official, "model.generator.attn_type", ("flash",), "flash")
    expect(official, "model.generator.ffn_type", ("mlp",), "mlp")
    expect(official, "model.generator.diffusion.sampler", ("iddpm",), "iddpm")
    model = look_up(official, "model")
    sizes, codes = look_up(model, "generator"), look_up(model, "vq_model")
    width = look_up(sizes, "hidden_size")
    side = math.isqrt(look_up(sizes, "image_seq_len"))
    return GeneratorConfig(
        width=width,
        depth=look_up(sizes, "num_hidden_layers"),
        heads=look_up(sizes, "num_attention_heads"),
        # The released code goes through a float ratio, which loses a unit for some pairs.
        mlp_width=int(width * (look_up(sizes, "intermediate_size") / width)),
        num_codes=look_up(codes, "codebook_size"),
        text_width=look_up(model, "context_dim"),
        text_length=look_up(model, "text_token_length"),
        head_width=look_up(sizes, "diffusion.width"),
        head_depth=look_up(sizes, "diffusion.depth"),
        grid=(side, side),
        latent_channels=look_up(codes, "token_size"),
        position_base=_position_base(sizes),
        learned_variance=True,
        diffusion_repeats=look_up(sizes, "diffusion.batch_mul"),
        residual_scale=look_up(sizes, "diffusion.vae_scale"),
        residual_clip=1.0,
        text_encoder=look_up(model, "text_model"),
    )


def _position_base(sizes: Mapping[str, Any]) -> int:
    """The extent of the coordinates: ``base_size / pe_interpolation``."""
    base = look_up(sizes, "base_size", 16) / look_up(sizes, "pe_interpolation", 1.0)
    if base != int(base):
        raise ValueError(
            f"base_size / pe_interpolation must be a whole number, got {base}. "
            "This variant of the network is not supported."
        )
    return int(base)


def _check_positions(stored: Tensor | None, config: GeneratorConfig) -> None:
    """Raise unless the stored position vectors are those that our generator computes."""
    rows, columns = config.grid
    ours = positions(rows, columns, config.width, config.position_base)[None]
    if stored is None or stored.shape != ours.shape:
        given = "no such key" if stored is None else tuple(stored.shape)
        raise ValueError(
            f"the weights do not fit: '{POSITIONS}' must have shape {tuple(ours.shape)}, got "
            f"{given}. Set image_seq_len to the number of tokens it was made for."
        )
    allowed = max(1e-4, torch.finfo(stored.dtype).eps)
    if (stored.double() - ours.double()).abs().max() > allowed:
        raise ValueError(
            f"'{POSITIONS}' holds other position vectors than this config gives "
            f"(base_size {config.position_base}). Use config and weights of one release."
        )


def generator_names(model: MaskedGenerator) -> dict[str, str]:
    """The official key of each key of our state dict."""
    parts = dict(_OUTER)
    for i in range(model.config.depth):
        parts.update({f"blocks.{i}.{o}": f"blocks.{i}.{t}" for o, t in _BLOCK.items()})
    for i in range(model.config.head_depth):
        official = f"diffloss.net.res_blocks.{i}"
        names = {f"residual_head.blocks.{i}.{o}": f"{official}.{t}" for o, t in _HEAD_BLOCK.items()}
        parts.update(names)
    names = {}
    for key in model.state_dict():
        part, _, leaf = key.rpartition(".")
        names[key] = parts[key] if key in parts else f"{parts[part]}.{leaf}"
    return names
