"""Codes that begin at real latents, and unused ones that get another chance.

Deviates: the paper neither starts codes at data nor revives dead ones, see ``restart``.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from dcar_edu.state import TrainingState
from dcar_edu.tokenizer.hybrid import HybridTokenizer
from dcar_edu.tokenizer.latents import images_of


@torch.no_grad()
def start_codes(tokenizer: HybridTokenizer, supply: Iterator[Any], state: TrainingState) -> None:
    """Put every code at a latent of the next batches; four times as many are made as needed."""
    team, codes = state.team, tokenizer.quantizer.codes
    latents: list[Tensor] = []
    while sum(len(part) for part in latents) < 4 * len(codes):
        batches = [images_of(batch) for batch in islice(supply, 4)]
        images = torch.cat(batches).to(tokenizer.device)
        features = [tokenizer.encoder(images[rows]) for rows in team.parts(len(images))]
        flat = rearrange(torch.cat(features), "b c h w -> b (h w) c")
        for part in flat.split([len(batch) for batch in batches]):  # a whole batch after another
            latents.append(team.gather(part.contiguous()).flatten(0, 1))
    everyone = torch.arange(len(codes), device=codes.device)
    _restart(tokenizer, everyone, torch.cat(latents), state)


def revive(
    tokenizer: HybridTokenizer, counts: Tensor, latents: Tensor, state: TrainingState
) -> None:
    """Put codes that were never used at latents of this batch, at most at half of them.

    Args:
        tokenizer: its codes move, and with them their averages.
        counts: how often each code was used since the last time ``(num_codes,)``.
        latents: of this process's rows ``(b, c, h, w)``.
        state: the source of the draws.
    """
    dead = (counts == 0).nonzero().flatten()
    if not len(dead):
        return
    whole = rearrange(state.team.gather(latents), "b c h w -> (b h w) c")
    dead = dead[torch.randperm(len(dead), generator=state.generator)[: len(whole) // 2]]
    _restart(tokenizer, dead.to(whole.device), whole, state)


@torch.no_grad()
def _restart(
    tokenizer: HybridTokenizer, rows: Tensor, latents: Tensor, state: TrainingState
) -> None:
    tokenizer.quantizer.restart(rows, latents, state.generator)
    state.average.module.quantizer.codes[rows] = tokenizer.quantizer.codes[rows]  # type: ignore[union-attr, index, operator]
