"""The rules of the generator's sizes, and the presets' stated sizes."""

from dataclasses import replace

import pytest
import torch

from dcar_edu.generator import GeneratorConfig, MaskedGenerator


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def on_meta(name: str) -> MaskedGenerator:
    with torch.device("meta"):
        return MaskedGenerator(GeneratorConfig.preset(name))


def test_paper_has_exactly_the_published_size():
    model = on_meta("paper")
    assert size(model.residual_head) == 36_192_320
    assert size(model) == 671_263_680
    assert size(model) - size(model.residual_head) == 635_071_360
    assert size(model.tokens) == 18_875_520
    assert size(model.text) == 2_214_144
    assert size(model.blocks[0]) == 21_253_248
    assert size(model.head) == 18_890_752


@pytest.mark.parametrize(("name", "most"), [("nano", 6_500_000), ("small", 12_000_000)])
def test_small_presets_keep_to_their_budget(name, most):
    assert most / 2 < size(on_meta(name)) <= most


def test_changes_replace_fields():
    config = GeneratorConfig.preset("nano", grid=(2, 3), num_codes=5)
    assert config == replace(GeneratorConfig.preset("nano"), grid=(2, 3), num_codes=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "width=16 must be a multiple of heads=3 and of 4"),
        ({"width": 18}, "width=18 must be a multiple of heads=2 and of 4"),
        ({"grid": (4,)}, r"grid must be \(rows, columns\), each at least 1, got \(4,\)"),
        ({"grid": (4, 0)}, r"grid must be \(rows, columns\), each at least 1, got \(4, 0\)"),
        ({"residual_scale": 0.0}, "residual_scale must be above 0, got 0.0"),
    ],
)
def test_config_refuses(tiny, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(tiny, **changes)


def test_unknown_preset_names_the_known():
    with pytest.raises(ValueError, match="presets are nano, small, paper; got 'huge'"):
        GeneratorConfig.preset("huge")
