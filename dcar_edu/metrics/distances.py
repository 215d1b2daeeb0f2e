"""Every distance between two sets of features, with intervals, under names that say the network."""

from typing import Any

import torch
from torch import Tensor

from dcar_edu.metrics.distribution import kid, kid_interval
from dcar_edu.metrics.frechet import frechet_interval, frechet_of_features


def paired_distances(
    real: Tensor, drawn: Tensor, network: str, seed: int, *, before: str = "", after: str = ""
) -> dict[str, Any]:
    """Kernel and Fréchet distance of pictures that belong together, two by two.

    Args:
        real: features ``(n, d)``.
        drawn: features of the same pictures, redrawn or drawn from their captions, in that order.
        network: named in every key.
        seed: of the bootstrap.
        before: put before the names, as the r of ``rkid``.
        after: put after the network, as ``_hybrid``.

    Returns:
        ``kid_NETWORK`` (x1000; no picture against its own partner, see ``paired`` in
        :func:`~dcar_edu.metrics.kid`), ``fid_NETWORK``, and of each its 95 % interval as
        ``NAME_interval``.
    """
    kid_name, fid_name = (f"{before}{kind}_{network}{after}" for kind in ("kid", "fid"))

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    low, high = kid_interval(real, drawn, paired=True, generator=seeded())
    return {
        kid_name: 1000 * kid(real, drawn, paired=True),
        f"{kid_name}_interval": [1000 * low, 1000 * high],
        fid_name: frechet_of_features(real, drawn),
        f"{fid_name}_interval": frechet_interval(real, drawn, paired=True, generator=seeded()),
    }
