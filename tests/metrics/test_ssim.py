"""SSIM: per picture, against its formula, and its errors."""

import pytest
import torch
import torch.nn.functional as F

from dcar_edu.metrics import reconstruction, ssim


@pytest.fixture(autouse=True)
def _library():
    pytest.importorskip("torchmetrics")


def test_flat_pictures_have_the_value_of_the_formula():
    """Flat: only brightness counts, (2 a b + c) / (a^2 + b^2 + c) on values in [0, 1]."""
    a = torch.full((2, 3, 16, 20), 2 * 0.5 - 1)
    b = torch.stack([torch.full((3, 16, 20), 2 * 0.2 - 1), torch.full((3, 16, 20), 2 * 0.5 - 1)])
    c = 0.01**2
    assert ssim(a, b).tolist() == pytest.approx([(0.2 + c) / (0.29 + c), 1.0], abs=1e-4)


def test_the_whole_formula():
    a = torch.rand(1, 3, 24, 28, generator=torch.Generator().manual_seed(0))
    b = 0.6 * a + 0.3 * a.flip(-1)
    steps = torch.arange(11.0) - 5
    window = torch.exp(-(steps**2) / (2 * 1.5**2))
    window = (window[:, None] * window / window.sum() ** 2).expand(3, 1, 11, 11)

    def mean(x):
        return F.conv2d(F.pad(x, (5,) * 4, mode="reflect"), window, groups=3)

    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    wanted = (2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    assert 0.3 < wanted.mean() < 0.9
    assert ssim(2 * a - 1, 2 * b - 1).item() == pytest.approx(wanted.mean().item(), abs=1e-4)


def test_one_picture_is_one_number():
    images = torch.rand(1, 3, 11, 12)
    assert ssim(images, images).shape == (1,)


def test_refuses(monkeypatch):
    with pytest.raises(ValueError, match=r"ssim compares two batches .* got \(2, 3, 16, 20\)"):
        ssim(torch.zeros(2, 3, 16, 20), torch.zeros(2, 3, 20, 16))
    with pytest.raises(ValueError, match=r"at least 11, its window, got \(2, 3, 10, 20\)"):
        ssim(torch.zeros(2, 3, 10, 20), torch.zeros(2, 3, 10, 20))
    monkeypatch.setattr(reconstruction.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"torchmetrics library.*install 'dcar_edu\[metrics\]'"):
        ssim(torch.zeros(2, 3, 16, 20), torch.zeros(2, 3, 16, 20))
