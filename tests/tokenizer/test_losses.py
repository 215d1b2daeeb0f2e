"""Reconstruction losses: which perceptual module counts, and that one is there."""

import pytest
import torch
from torch import nn

from dcar_edu.tokenizer.losses import reconstruction_loss


class LPIPS(nn.Module):
    """Called as torchmetrics' LPIPS with ``reduction="none"``: one number a picture."""

    def forward(self, drawn, images):
        return 10 * (drawn - images).square().flatten(1).mean(1)


def test_any_module_can_measure_the_distance(images):
    drawn = (images + 0.5).requires_grad_()
    total, pixels = reconstruction_loss(drawn, images, l1=2.0, perceptual=LPIPS(),
                                        perceptual_weight=0.1)  # fmt: skip
    assert pixels.item() == pytest.approx(2 * 0.5)
    assert total.item() == pytest.approx(1.0 + 0.1 * 10 * 0.25)
    (slope,) = torch.autograd.grad(total, drawn)
    torch.testing.assert_close(slope, (2 + 0.1 * 10 * 2 * 0.5) / drawn.numel() * torch.ones(()) +
                               torch.zeros_like(slope))  # fmt: skip


def test_a_weight_without_a_module_is_refused(images):
    with pytest.raises(ValueError, match=r"perceptual_weight=0.25 needs a module .* or set"):
        reconstruction_loss(images, images, perceptual_weight=0.25)
