"""The discriminator and its losses, by hand and against autograd."""

import pytest
import torch
from torch import nn

from dcar_edu.state import Learner
from dcar_edu.tokenizer.adversary import (
    PatchDiscriminator,
    adaptive_weight,
    begin_discriminator,
    fool,
    hinge_losses,
    learn_difference,
    lecam_penalty,
)
from dcar_edu.tokenizer.stages import TokenizerTraining, three_stages


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def small(layers=1, seed=0):
    return PatchDiscriminator(8, layers, source(seed))


def test_hinge_golden():
    real, fake = torch.tensor([1.0, -1.0, 3.0]), torch.tensor([1.0, -1.0, -3.0])
    discriminator, generator = hinge_losses(real, fake)
    assert discriminator.item() == pytest.approx(2 / 3)
    assert generator.item() == pytest.approx(1.0)


def test_hinge_lets_go_of_clear_cases_and_pushes_the_others_apart():
    real = torch.tensor([2.0, 0.5, -3.0, 1.5], requires_grad=True)
    fake = torch.tensor([-2.0, 0.5], requires_grad=True)
    slopes = torch.autograd.grad(hinge_losses(real, fake)[0], (real, fake))
    assert [s.tolist() for s in slopes] == [[0, -0.125, -0.125, 0], [0, 0.25]]
    (slope,) = torch.autograd.grad(hinge_losses(real, fake)[1], fake)
    assert slope.tolist() == [-0.5, -0.5]


def test_adaptive_weight_is_the_ratio_of_gradients_by_hand():
    weight = torch.tensor([[3.0], [4.0]], requires_grad=True)
    loss = (weight.square()).sum() / 2  # gradient (3, 4): norm 5
    gan_loss = 0.6 * weight[0, 0] + 0.8 * weight[1, 0]  # norm 1
    found = adaptive_weight(loss, gan_loss, weight)
    assert found.item() == pytest.approx(5 / (1 + 1e-4))
    assert not found.requires_grad
    assert adaptive_weight(1e7 * loss, gan_loss, weight).item() == 1e4
    assert adaptive_weight(loss, 0 * gan_loss, weight).item() == 1e4


def test_after_weighing_both_losses_pull_alike(tokenizer, images):
    last = tokenizer.decoder[-1].conv.weight
    drawn = tokenizer(images, "discrete")
    loss = (drawn.images - images).abs().mean()
    judge = small()
    pull, contest = fool(judge, drawn.images, loss, last)
    (wanted,) = torch.autograd.grad(loss, last, retain_graph=True)
    (found,) = torch.autograd.grad(pull, last, retain_graph=True)
    assert found.norm().item() == pytest.approx(wanted.norm().item(), rel=0.05)
    assert contest.gan_loss == pytest.approx(-judge(drawn.images).mean().item())
    assert contest.gan_weight * contest.gan_loss == pytest.approx(pull.item())
    # What does not depend on the last layer, such as the code loss, changes nothing.
    _, other = fool(judge, drawn.images, loss + drawn.middle.loss, last)
    assert other.gan_weight == pytest.approx(contest.gan_weight)


def test_fooling_teaches_the_drawing_only(images):
    judge, drawn = small(), (0.5 * images).requires_grad_()
    last = torch.ones(3, 1, 1, requires_grad=True)
    pull, _ = fool(judge, drawn * last, (drawn * last).abs().mean(), last)
    pull.backward()
    assert drawn.grad.abs().sum() > 0
    assert all(p.grad is None for p in judge.parameters())


def test_learning_the_difference_teaches_the_discriminator_only(images):
    rival = Learner(small(), None)
    rival.optimizer = torch.optim.SGD(rival.model.parameters(), lr=1.0)
    drawn = (images * 0.1).requires_grad_()
    hinge, _ = hinge_losses(rival.model(images), rival.model(drawn))
    slopes = torch.autograd.grad(hinge, list(rival.model.parameters()))
    before = [p.detach().clone() for p in rival.model.parameters()]
    assert learn_difference(rival, images, drawn, 0.01, lecam=0.0) == pytest.approx(hinge.item())
    for old, slope, new in zip(before, slopes, rival.model.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old - 0.01 * slope)
        assert new.grad is None
    assert drawn.grad is None
    assert rival.model.anchors.tolist() == [0, 0]


def test_it_learns_to_tell_a_blur_from_its_original():
    rival = Learner(small(), None)
    rival.optimizer = torch.optim.AdamW(rival.model.parameters(), lr=0.01)
    sharp = torch.rand(8, 3, 16, 24, generator=source()) * 2 - 1
    blurred = nn.functional.avg_pool2d(sharp, 3, 1, 1)
    losses = [learn_difference(rival, sharp, blurred, 0.01, 0.0) for _ in range(30)]
    assert losses[0] == pytest.approx(1, abs=0.1)
    assert losses[-1] < 0.2
    assert rival.model(sharp).mean() > 0.5 > -0.5 > rival.model(blurred).mean()


def test_lecam_by_hand():
    """Real scores above the fakes' mean and fakes below the reals' mean are held back."""
    anchors = torch.tensor([1.0, -2.0])
    real, fake = torch.tensor([3.0, -5.0]), torch.tensor([0.0, 4.0])
    found = lecam_penalty(real, fake, anchors, decay=0.5)
    assert anchors.tolist() == [0.5 * 1 + 0.5 * -1, 0.5 * -2 + 0.5 * 2]  # now 0 and 0
    assert found.item() == pytest.approx((3**2 + 0) / 2 + (0 + 0) / 2)
    again = lecam_penalty(real, fake - 8, torch.tensor([1.0, -2.0]), decay=1.0)
    assert again.item() == pytest.approx((5**2 + 0) / 2 + (9**2 + 5**2) / 2)


def test_lecam_holds_the_scores_down(images):
    plain, held = (Learner(small(), None) for _ in range(2))
    for rival, lecam in ((plain, 0.0), (held, 1.0)):
        rival.optimizer = torch.optim.AdamW(rival.model.parameters(), lr=0.01)
        for _ in range(30):
            learn_difference(rival, images, images * 0.1, 0.01, lecam)
    assert held.model(images).abs().mean() < 0.5 * plain.model(images).abs().mean()
    assert held.model.anchors[0] > held.model.anchors[1]


@pytest.mark.parametrize(("layers", "patch", "shape"), [(1, 16, (7, 8)), (3, 70, (6, 7))])
def test_a_score_sees_one_patch(layers, patch, shape):
    """Receptive field of the middle score, counted by its gradient; no norm, which sees all."""
    judge = small(layers)
    for n, module in enumerate(judge):
        if isinstance(module, nn.GroupNorm):
            judge[n] = nn.Identity()
    side = 8 * shape[0] + 16 if layers == 3 else 2 * shape[0] + 4
    images = torch.randn(1, 3, side, side + (8 if layers == 3 else 2), generator=source())
    images.requires_grad_()
    scores = judge.double()(images.double())
    assert scores.shape == (1, 1, *shape)
    big = torch.randn(1, 3, 160, 160, generator=source()).double().requires_grad_()
    middle = judge(big)
    middle[0, 0, middle.shape[2] // 2, middle.shape[3] // 2].backward()
    rows = big.grad[0].abs().sum((0, 2)).nonzero()
    assert rows.max() - rows.min() + 1 == patch


def test_too_small_pictures_are_refused():
    assert small(1)(torch.zeros(1, 3, 6, 6)).shape == (1, 1, 1, 1)
    assert small(3)(torch.zeros(1, 3, 24, 24)).shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"at least 24, got \(1, 3, 23, 40\). Lower gan_layers"):
        small(3)(torch.zeros(1, 3, 23, 40))


def test_it_begins_alike_from_one_seed_and_draws_from_no_other_source():
    config = TokenizerTraining(three_stages(6), gan_weight=0.1, gan_width=8, seed=3)
    torch.manual_seed(0)
    one = begin_discriminator(config, torch.device("cpu"))
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1))
    torch.manual_seed(9)
    two = begin_discriminator(config, torch.device("cpu"))
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert one.model[0].weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert one.model[0].weight.device.type == "cpu"
