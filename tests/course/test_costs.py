"""Operations counted against sums by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dcar_edu.course.costs import count_flops, generator_flops, head_flops, tokenizer_flops
from dcar_edu.generator import GeneratorConfig
from dcar_edu.generator.training import GeneratorTraining, TokenBatch
from dcar_edu.tokenizer import TokenizerConfig
from dcar_edu.tokenizer.training import TokenizerTraining, three_stages

SIZES = TokenizerConfig(
    widths=(4, 8, 8), encoder_depths=(0, 1, 1), decoder_depths=(0, 1, 1),
    blocks=("res", "res", "evit"), decoder_norms=("layer",) * 3, decoder_activations=("silu",) * 3,
    num_codes=7, latent_channels=4, head_width=4,
)  # fmt: skip
MASKED = GeneratorConfig(
    width=16, depth=1, heads=2, mlp_width=24, num_codes=7, text_width=12, text_length=6,
    head_width=8, head_depth=1, grid=(2, 3), latent_channels=4,
)  # fmt: skip


def test_a_linear_layer_and_its_gradients():
    layer, x = nn.Linear(5, 7, bias=False), torch.ones(3, 5, requires_grad=True)
    assert count_flops(lambda: layer(x)) == 2 * 3 * 5 * 7
    assert count_flops(lambda: layer(x).sum().backward()) == 3 * 2 * 3 * 5 * 7


def test_attention_is_counted():
    q, k, v = (torch.ones(1, 2, n, 4) for n in (3, 5, 5))
    attend = nn.functional.scaled_dot_product_attention
    assert count_flops(lambda: attend(q, k, v)) == 2 * 2 * (2 * 3 * 5 * 4)


def test_every_stage_costs_its_steps_and_what_is_frozen_costs_less():
    training = TokenizerTraining(three_stages(12, (3, 6, 3)))
    found = tokenizer_flops(SIZES, training, (2, 3, 8, 12))
    each = {name: found[name] / steps for name, steps in zip(found, (3, 6, 3), strict=True)}
    assert list(found) == ["warm-up", "discrete", "alternate"]
    assert each["discrete"] == pytest.approx(each["warm-up"], rel=0.1)
    assert each["alternate"] < 0.8 * each["warm-up"]
    longer = replace(training, stages=three_stages(24, (3, 6, 3)))
    assert tokenizer_flops(SIZES, longer, (2, 3, 8, 12)) == {k: 2 * v for k, v in found.items()}
    assert tokenizer_flops(SIZES, training, (4, 3, 8, 12)) == {k: 2 * v for k, v in found.items()}
    judged = replace(training, gan_weight=0.1, gan_width=8, gan_layers=1)
    more = tokenizer_flops(SIZES, judged, (2, 3, 8, 12))
    assert more["warm-up"] == found["warm-up"]
    assert more["alternate"] > found["alternate"]


def test_generator_and_head_cost_their_steps():
    tokens = TokenBatch(
        torch.zeros(2, 2, 3, dtype=torch.int64), torch.ones(2, 4, 2, 3), torch.ones(2, 5, 12),
        torch.ones(2, 5, dtype=torch.bool),
    )  # fmt: skip
    one, three = (generator_flops(MASKED, GeneratorTraining(steps), tokens) for steps in (1, 3))
    assert three == 3 * one
    # Two thirds of a step are gradients; the linear layers of one block alone cost so much:
    block = 3 * 2 * (2 * 6) * (4 * 16 * 16)
    assert one > block
    head = [head_flops(MASKED, GeneratorTraining(4), tokens=n) for n in (11, 22)]
    assert head[1] == pytest.approx(2 * head[0])
    assert 0 < head_flops(MASKED, GeneratorTraining(1), tokens=12) < one
