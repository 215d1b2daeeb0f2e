"""PSNR and token match, by hand and against an independent library."""

import math

import pytest
import torch

from dcar_edu.metrics import psnr, token_match


def test_psnr_golden():
    zeros = torch.zeros(2, 3, 4, 5)
    shifted = zeros + torch.tensor([0.1, 0.2])[:, None, None, None]
    assert [round(v, 2) for v in psnr(shifted, zeros).tolist()] == [26.02, 20.0]
    assert psnr(zeros, zeros).tolist() == [math.inf, math.inf]


def test_psnr_agrees_with_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.image")
    images, originals = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)), None
    originals = images.flip(0)
    theirs = functional.peak_signal_noise_ratio(
        2 * images - 1, 2 * originals - 1, data_range=2.0, reduction="none", dim=(1, 2, 3)
    )
    torch.testing.assert_close(psnr(2 * images - 1, 2 * originals - 1), theirs)


def test_token_match_golden():
    drawn = torch.tensor([[[1, 2], [3, 4]], [[1, 1], [1, 1]]])
    originals = torch.tensor([[[1, 2], [3, 0]], [[1, 1], [1, 1]]])
    assert token_match(drawn, originals).tolist() == [0.75, 1.0]


@pytest.mark.parametrize(
    ("metric", "shapes", "message"),
    [
        (psnr, ((2, 3, 4, 5), (2, 3, 5, 4)), r"of one shape, got \(2, 3, 4, 5\) and \(2, 3, 5, 4"),
        (psnr, ((3, 4, 5), (3, 4, 5)), "or add the batch axis"),
        (token_match, ((2, 3, 4), (2, 4, 3)), r"of one shape, got \(2, 3, 4\) and \(2, 4, 3\)"),
        (token_match, ((2, 12), (2, 12)), r"two grids \(b, h, w\)"),
    ],
)
def test_refuses(metric, shapes, message):
    with pytest.raises(ValueError, match=message):
        metric(*map(torch.zeros, shapes))
