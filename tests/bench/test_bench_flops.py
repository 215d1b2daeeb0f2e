"""Counted operations against the formula, the speed of a whole, and the roof of a device."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from dcar_edu.bench import flops
from dcar_edu.bench.flops import Roof, count_flops, generation_flops, total_speedup
from dcar_edu.bench.pictures import random_generator, random_words
from dcar_edu.bench.timing import Spread
from dcar_edu.generator import GeneratorConfig


@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (3, 5)])
def test_the_formula_is_what_the_blocks_of_the_generator_do(rows, columns):
    """Plus what it leaves out: attention to the words and the token head."""
    config = GeneratorConfig.preset("nano", grid=(rows, columns), text_length=7)
    model, n, words = random_generator(config), rows * columns, 7
    with torch.inference_mode():
        memory = model.read_text(*random_words(model, words))
        counted = count_flops(
            lambda: model.predict(torch.full((1, rows, columns), model.mask_id), memory)
        )
    left_out = config.depth * 4 * n * words * config.width + 2 * n * config.width * config.num_codes
    assert generation_flops(n, config.width, config.depth, 1, False) == counted - left_out


def test_steps_and_guidance_multiply():
    once = generation_flops(6, 20, 3, 1, False)
    assert generation_flops(6, 20, 3, 12, True) == 24 * once
    assert generation_flops(6, 20, 5, 1, False) * 3 == once * 5


def test_attention_grows_with_the_square_of_the_tokens():
    totals = [generation_flops(n, 20, 1, 1, False) for n in (10, 20, 30)]
    growth = [b - a for a, b in pairwise(totals)]
    assert growth[1] - growth[0] == 2 * 10**2 * 4 * 20


def test_a_part_that_does_not_get_faster_limits_the_whole():
    parts = {"text": 1.0, "steps": 6.0, "head": 1.0, "decoder": 2.0}
    assert total_speedup(parts, {"steps": 5}) == 10 / 5.2
    assert total_speedup(parts, {"steps": 5, "head": 0.5}) == 10 / 6.2
    assert total_speedup(parts, {}) == 1
    assert total_speedup(parts, {"steps": 1e12}) == pytest.approx(2.5)


def test_factors_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="parts are text, head; got a factor for steps"):
        total_speedup({"text": 1.0, "head": 1.0}, {"steps": 2})
    with pytest.raises(ValueError, match="a factor must be above 0: mend head"):
        total_speedup({"text": 1.0, "head": 1.0}, {"head": 0})


def test_the_lower_roof_counts():
    roof = Roof(flops=100.0, bytes=10.0, measured=False)
    assert roof.bound(300.0, 20.0) == (3.0, "compute")
    assert roof.bound(100.0, 20.0) == (2.0, "memory")


@pytest.mark.parametrize(("peak", "flops_a_second"), [(None, 2 * 27 / 4), (5e12, 5e12)])
def test_the_roof_is_the_product_and_the_copy(monkeypatch, peak, flops_a_second):
    """A copy takes 2 s, a product 4 s, whatever the machine; 3 x 3 matrices, 144 copied floats."""
    seconds = iter([2.0, 4.0])

    def timed(run, **options):
        run()
        return Spread(median=900.0, low=next(seconds), high=1000.0, count=3)

    monkeypatch.setattr(flops, "timed", timed)
    roof = flops.measure_roof(side=3, peak=peak)
    assert roof == Roof(flops_a_second, 2 * 144 * 4 / 2, measured=peak is None)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_a_grouped_convolution_costs_the_same_three_ways(kind, groups):
    layer, x = kind(6, 6, 3, padding=1, groups=groups), torch.ones(2, 6, 5, 4, requires_grad=True)
    forward = count_flops(lambda: layer(x))
    assert forward == 2 * 2 * 5 * 4 * 6 * 6 // groups * 3 * 3
    assert count_flops(lambda: layer(x).sum().backward()) == 3 * forward
    layer.weight.requires_grad_(False)
    assert count_flops(lambda: layer(x).sum().backward()) == 2 * forward
