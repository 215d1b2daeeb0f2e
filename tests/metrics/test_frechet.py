"""The Fréchet distance against two independent implementations; statistics streamed and merged."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dcar_edu.metrics.frechet import (
    FeatureStatistics,
    frechet_distance,
    frechet_interval,
    frechet_of_features,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def cloud(n, d=5, seed=0):
    """Vectors around a mean of their own, longer in some directions than in others."""
    generator = seeded(seed)
    turn = torch.randn(d, d, generator=generator, dtype=torch.float64)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ turn + 3 * turn[0]


def both(x, y):
    """The value from statistics, which that from features must equal."""
    value = frechet_distance(FeatureStatistics.of(x), FeatureStatistics.of(y))
    assert frechet_of_features(x, y) == pytest.approx(value, rel=1e-9, abs=1e-9)
    return value


@pytest.mark.parametrize(("n", "m", "d"), [(40, 30, 5), (9, 7, 11), (6, 30, 11), (300, 41, 11)])
def test_agrees_with_scipys_matrix_root(n, m, d):
    linalg = pytest.importorskip("scipy.linalg")
    x, y = cloud(n, d), cloud(m, d, seed=1)
    a, b = x.T.cov(), y.T.cov()
    assert (a @ b - b @ a).abs().max() > 1  # else a product of roots would do
    root = linalg.sqrtm((a @ b).numpy()).real.trace()
    wanted = (x.mean(0) - y.mean(0)).square().sum() + a.trace() + b.trace() - 2 * root
    assert both(x, y) == pytest.approx(wanted.item(), rel=1e-5)


def test_agrees_with_torchmetrics():
    image = pytest.importorskip("torchmetrics.image.fid")

    class Look(nn.Module):
        """Each picture holds its features already."""

        num_features = 7

        def forward(self, images):
            return images.flatten(1)[:, :7].float()

    theirs = image.FrechetInceptionDistance(feature=Look(), input_img_size=(3, 1, 5))
    pictures = [torch.randint(256, (n, 3, 1, 5), generator=seeded(n), dtype=torch.uint8)
                for n in (40, 31)]  # fmt: skip
    pictures[1] //= 2
    theirs.update(pictures[0], real=True)
    theirs.update(pictures[1], real=False)
    x, y = (p.flatten(1)[:, :7] for p in pictures)
    assert both(x, y) == pytest.approx(theirs.compute().item(), rel=1e-6)


def test_by_hand():
    """In one dimension (mean - mean)^2 + (spread - spread)^2: 3^2 + 1^2."""
    unit = torch.tensor([-1.0, 0.0, 1.0])[:, None]
    assert both(unit, 2 * unit + 3) == pytest.approx(10)
    assert both(unit, unit) == pytest.approx(0, abs=1e-12)


def test_statistics_that_come_in_parts_are_those_of_the_whole():
    """Float32 batches of any length, far from zero, where a sum of squares would lose digits."""
    x = cloud(37, 6).float() + 1000
    whole, parts = FeatureStatistics.of(x), FeatureStatistics()
    for part in x.split([1, 5, 0, 20, 11]):
        parts.add(part)
    halves = FeatureStatistics.of(x[:8]).merge(FeatureStatistics()).merge(
        FeatureStatistics.of(x[8:])
    )  # fmt: skip
    fresh = FeatureStatistics().merge(whole)
    for found in (parts, halves, fresh, whole):
        assert found.count == 37
        torch.testing.assert_close(found.mean, x.double().mean(0), rtol=1e-12, atol=0)
        torch.testing.assert_close(found.covariance, x.double().T.cov(), rtol=1e-9, atol=1e-9)
    fresh.add(x[:3])  # what is merged is copied
    assert whole.count == 37
    torch.testing.assert_close(whole.mean, x.double().mean(0))


def test_statistics_are_kept_in_a_file(tmp_path):
    kept = FeatureStatistics.of(cloud(9), "inception")
    path = kept.save(tmp_path / "some" / "reference.safetensors")
    found = FeatureStatistics.load(path)
    assert (found.network, found.count) == ("inception", 9)
    other = FeatureStatistics.of(cloud(8, seed=1), "inception")
    assert frechet_distance(found, other) == frechet_distance(kept, other)
    found.add(cloud(4, seed=2))  # and goes on
    assert found.count == 13
    with pytest.raises(ValueError, match="no statistics of features in .*missing"):
        FeatureStatistics.load(tmp_path / "missing.safetensors")
    save_file({"mean": torch.zeros(3)}, tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match="a file that FeatureStatistics.save wrote"):
        FeatureStatistics.load(tmp_path / "odd.safetensors")


def test_few_vectors_make_the_distance_too_large():
    """Two halves of one cloud: 0 in truth."""
    x = torch.randn(4000, 12, generator=seeded())
    values = [frechet_of_features(x[:n], x[2000 : 2000 + n]) for n in (20, 200, 2000)]
    assert values[0] > 5 * values[1] > 0
    assert values[1] > 5 * values[2] > 0


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(("n", "d"), [(30, 4), (12, 40)])
def test_an_interval_is_the_spread_of_resamples_about_the_value(n, d, paired):
    """The definition once more, on the resampled rows themselves."""
    x, y = cloud(n, d), cloud(n if paired else n + 3, d, seed=1)
    rows = torch.randint(n, (40, n), generator=(generator := seeded(2)))
    other = rows if paired else torch.randint(n + 3, (40, n + 3), generator=generator)
    values = torch.tensor(
        [frechet_of_features(x[i], y[j]) for i, j in zip(rows, other, strict=True)],
        dtype=torch.float64,
    )
    value = frechet_of_features(x, y)
    ends = (values - values.mean()).quantile(torch.tensor([0.1, 0.9]).double()) + value
    found = frechet_interval(x, y, paired=paired, generator=seeded(2), resamples=40, level=0.8)
    assert found == pytest.approx(ends.tolist(), rel=1e-5)
    assert found[0] < value < found[1]


def test_an_interval_covers_the_mean_of_many_draws():
    """Of 25 pairs of sets, at most three miss it at 95 %; and it is no wider than it must be."""
    pairs = []
    for seed in range(25):
        x, y = (torch.randn(150, 3, generator=seeded(2 * seed + side)) for side in (0, 1))
        pairs.append((x, 1.5 * y + 0.3))
    values = torch.tensor([frechet_of_features(x, y) for x, y in pairs])
    ends = [frechet_interval(x, y, generator=seeded(7), resamples=50) for x, y in pairs]
    assert sum(low <= values.mean() <= high for low, high in ends) >= 22
    widths = torch.tensor([high - low for low, high in ends])
    assert 0.6 < widths.mean() / (4 * values.std()) < 1.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FeatureStatistics.of(torch.zeros(3)), r"must be \(n, d\), got \(3,\)"),
        (lambda: FeatureStatistics.of(cloud(3, 5)).add(cloud(3, 4)),
         r"\(n, d\) with d = 5, got \(3, 4\)"),
        (lambda: FeatureStatistics.of(torch.full((2, 3), float("nan"))), "hold NaN or infinity"),
        (lambda: FeatureStatistics.of(cloud(1)).covariance, "two or more vectors, got 1"),
        (lambda: frechet_distance(FeatureStatistics.of(cloud(4)),
                                  FeatureStatistics.of(cloud(4), "inception")),
         r"'efficientnet' \(5 features\) and of 'inception' \(5\) do not compare"),
        (lambda: FeatureStatistics.of(cloud(4)).merge(FeatureStatistics.of(cloud(4, 6))),
         r"\(5 features\) and of 'efficientnet' \(6\)"),
        (lambda: frechet_of_features(cloud(4), cloud(4, 6)), r"with d = 5, got \(4, 6\)"),
        (lambda: frechet_of_features(cloud(4), cloud(1)), "two or more vectors, got 4 and 1"),
        (lambda: frechet_interval(cloud(4), cloud(3), paired=True, generator=seeded()),
         "as many reconstructions as pictures, got 4 and 3"),
    ],
)  # fmt: skip
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
