"""The Fréchet distance between two sets of pictures: FID, on the features of any network.

Both sets are taken as clouds with a mean and a covariance. Only on Inception features is the value
called FID; on others it carries their name, as ``fid_efficientnet`` does, and compares only with
values on the same features, the same picture size and as many pictures: few make it too large.
"""

import os
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dcar_edu.checkpoint import write_atomically
from dcar_edu.metrics.distribution import check_paired, draws, interval_of


class FeatureStatistics:
    """Count, mean and covariance of feature vectors, which come a batch at a time and are dropped.

    Args:
        network: whose features they are; statistics of two networks are never compared.

    Attributes:
        count: vectors so far.
        mean: float64 ``(d,)``.
        scatter: float64 ``(d, d)``, the sum of squared distances to the mean; over ``count - 1`` it
            is the covariance.
    """

    def __init__(self, network: str = "efficientnet"):
        self.network, self.count = network, 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.scatter = torch.zeros(0, 0, dtype=torch.float64)

    @classmethod
    def of(cls, features: Tensor, network: str = "efficientnet") -> Self:
        """Statistics of features ``(n, d)`` that are all there."""
        return cls(network).add(features)

    def add(self, features: Tensor) -> Self:
        """Count in another batch ``(n, d)`` of any device and number format.

        Raises:
            ValueError: no such batch, another width, or a value that is no number.
        """
        _check_features(features, len(self.mean) if self.count else None)
        x = features.detach().double().cpu()
        if len(x):
            mean = x.mean(0)
            self._join(len(x), mean, (x - mean).T @ (x - mean))
        return self

    def merge(self, other: "FeatureStatistics") -> Self:
        """Count in all that ``other`` counted, such as another process's share.

        Raises:
            ValueError: features of another network or width.
        """
        _check(self, other)
        if other.count:
            self._join(other.count, other.mean, other.scatter)
        return self

    def _join(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        if not self.count:
            self.count, self.mean, self.scatter = count, mean.clone(), scatter.clone()
            return
        whole, step = self.count + count, mean - self.mean
        self.scatter += scatter + torch.outer(step, step) * (self.count * count / whole)
        self.mean += step * (count / whole)
        self.count = whole

    @property
    def covariance(self) -> Tensor:
        """Float64 ``(d, d)``.

        Raises:
            ValueError: fewer than two vectors.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs two or more vectors, got {self.count}. Add more.")
        return self.scatter / (self.count - 1)

    def save(self, path: str | os.PathLike) -> Path:
        """Write one safetensors file, so that a reference set is looked at only once."""
        tensors = {"mean": self.mean, "scatter": self.scatter}
        about = {"network": self.network, "count": str(self.count)}
        write_atomically(path, save(tensors, metadata=about))
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: no such file, or not one of these.
        """
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                found = cls(about["network"])
                found.count = int(about["count"])
                found.mean, found.scatter = file.get_tensor("mean"), file.get_tensor("scatter")
        except (OSError, SafetensorError, KeyError) as error:
            raise ValueError(
                f"no statistics of features in '{path}': {error}. Give a file that "
                "FeatureStatistics.save wrote."
            ) from error
        return found


def _check_features(features: Tensor, width: int | None) -> None:
    if features.ndim != 2 or width not in (None, features.shape[1]):
        raise ValueError(
            f"features must be (n, d){f' with d = {width}' if width else ''}, got "
            f"{tuple(features.shape)}. Pool each picture to one vector of one network."
        )
    if not features.isfinite().all():
        raise ValueError(
            "features hold NaN or infinity, from which no mean can be taken. Check the pictures."
        )


def _check(a: FeatureStatistics, b: FeatureStatistics) -> None:
    if a.network != b.network or (a.count and b.count and len(a.mean) != len(b.mean)):
        raise ValueError(
            f"statistics of '{a.network}' ({len(a.mean)} features) and of '{b.network}' "
            f"({len(b.mean)}) do not compare. Take both from one network."
        )


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Distance of two clouds, squared: 0 where mean and covariance are the same.

    ``|mean_a - mean_b|^2 + trace(A) + trace(B) - 2 trace((A B)^(1/2))`` for covariances A and B.
    With ``A = F F'`` and ``B = G G'`` the last trace is the sum of the singular values of ``F' G``;
    directions in which a set does not spread are left out of F and G, so that fewer pictures than
    features need no special care.

    Args:
        a: of two or more vectors.
        b: of two or more; as many as in ``a`` for a fair comparison.

    Raises:
        ValueError: features of two networks, or fewer than two vectors.

    Source:
        Dowson and Landau 1982; FID (arXiv:1706.08500), Eq. 6, there on Inception features.

    Example:
        >>> a, b = (FeatureStatistics.of(torch.tensor([[0.0], [x]])) for x in (2.0, 6.0))
        >>> round(frechet_distance(a, b), 4)  # (1 - 3)^2 + 2 + 18 - 2 * (36)^(1/2)
        12.0
    """
    _check(a, b)
    spread = a.covariance.trace() + b.covariance.trace()
    shared = torch.linalg.svdvals(_root(a.covariance).T @ _root(b.covariance)).sum()
    return ((a.mean - b.mean).square().sum() + spread - 2 * shared).item()


def _root(covariance: Tensor) -> Tensor:
    """F with ``F F' = covariance``, a column for each direction that has any spread."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    return vectors[:, kept] * values[kept].sqrt()


def frechet_of_features(x: Tensor, y: Tensor) -> float:
    """:func:`frechet_distance` of features ``(n, d)`` and ``(m, d)`` that are all there.

    The same number, and quicker where there are fewer pictures than features.

    Raises:
        ValueError: as :class:`FeatureStatistics`.
    """
    x, y = _features(x, y)
    ones = (torch.ones(len(z), dtype=z.dtype) for z in (x, y))
    return _weighted(x, y, _products(x, y), *ones).item()


def frechet_interval(
    x: Tensor,
    y: Tensor,
    *,
    paired: bool = False,
    generator: torch.Generator,
    resamples: int = 100,
    level: float = 0.95,
) -> tuple[float, float]:
    """How far chance in the choice of pictures may have moved the distance of ``x`` and ``y``.

    A bootstrap over features: each resample draws as many pictures as there are, with repetition.
    It holds fewer different pictures than the sets, and fewer pictures make a Fréchet distance too
    large; so the resamples are moved by one number, until their mean is the measured value. The
    interval speaks of chance alone, not of how much too large the value is, and with fewer pictures
    than features it is rather too wide than too narrow.

    Args:
        x: features ``(n, d)``.
        y: features ``(m, d)``.
        paired: ``y[i]`` belongs to ``x[i]``; both are drawn together.
        generator: the source of the draws, on the CPU.
        resamples: how many.
        level: share of the resamples inside.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: as :class:`FeatureStatistics`, or paired sets of unequal length.

    Source:
        Percentile bootstrap (Efron 1979), centred.
    """
    x, y = _features(x, y)
    check_paired(x, y, paired)
    a = draws(len(x), resamples, generator)
    b = a if paired else draws(len(y), resamples, generator)
    products = _products(x, y)
    counts = zip(a, b, strict=True)
    values = torch.stack([_weighted(x, y, products, *times) for times in counts])
    low, high = interval_of(values - values.mean(), level)
    value = frechet_of_features(x, y)
    return value + low, value + high


def _features(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float64 on the CPU, moved to where x has its middle, so that no digits are lost."""
    _check_features(x, None)
    _check_features(y, x.shape[1])
    if min(len(x), len(y)) < 2:
        raise ValueError(
            f"a covariance needs two or more vectors, got {len(x)} and {len(y)}. Add more."
        )
    x, y = x.detach().double().cpu(), y.detach().double().cpu()
    return x - x.mean(0), y - x.mean(0)


def _products(x: Tensor, y: Tensor) -> Tensor | None:
    """``x @ y.T``, all that small sets need; None where the covariances are smaller."""
    return x @ y.T if max(len(x), len(y)) <= 2 * x.shape[1] else None


def _weighted(x: Tensor, y: Tensor, products: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """The distance when row i of ``x`` is there ``a[i]`` times, and so for ``y`` and ``b``."""
    n, m = a.sum(), b.sum()
    mean_x, mean_y = a @ x / n, b @ y / m
    spread_x = (a @ x.square().sum(1) - n * mean_x.square().sum()) / (n - 1)
    spread_y = (b @ y.square().sum(1) - m * mean_y.square().sum()) / (m - 1)
    if products is not None:
        i, j = a > 0, b > 0
        centred = products[i][:, j] - (x[i] @ mean_y)[:, None] - y[j] @ mean_x + mean_x @ mean_y
        shared = centred * ((a[i] / (n - 1))[:, None] * b[j] / (m - 1)).sqrt()
    else:
        roots = []
        for rows, times, mean in ((x, a, mean_x), (y, b, mean_y)):
            scatter = (rows * times[:, None]).T @ rows - times.sum() * torch.outer(mean, mean)
            roots.append(_root(scatter / (times.sum() - 1)))
        shared = roots[0].T @ roots[1]
    distance = (mean_x - mean_y).square().sum() + spread_x + spread_y
    return distance - 2 * torch.linalg.svdvals(shared).sum()
