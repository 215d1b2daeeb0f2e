"""Whose features distances between sets look at: EfficientNet-Lite0, or Inception where it is.

FID and KID in papers are taken on Inception-v3's last features. Its weights (91 MB) come in no
package: they are used when their file lies on this machine, and never downloaded from here.
"""

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dcar_edu import images
from dcar_edu.checkpoint import home
from dcar_edu.features import EfficientNetFeatures
from dcar_edu.metrics.alignment import picture_features

TITLES = {"efficientnet": "EfficientNet-Lite0", "inception": "Inception-v3"}
"""By the name that stands in every number: the network as it is printed."""
CHECKSUM = "6726825d"
"""How the SHA-256 of Inception's weights begins."""
WEIGHTS = f"weights-inception-2015-12-05-{CHECKSUM}.pth"
"""The file of weights that torch-fidelity and torchmetrics use."""


@dataclass(frozen=True)
class Network:
    """Pictures ``(b, 3, H, W)`` in [-1, 1] in, one vector each ``(b, d)`` out."""

    name: str
    """As in ``fid_NAME``."""
    see: Callable[[Tensor], Tensor]


def load_network(name: str, eyes: EfficientNetFeatures) -> Network:
    """The network of this name, on the device of ``eyes``; EfficientNet is ``eyes`` itself.

    EfficientNet sees pictures resized to 128 pixels, so that models of any size are judged alike.

    Raises:
        ValueError: no such network, or Inception's weights are not here.
    """
    if name not in TITLES:
        raise ValueError(f"features come from one of {', '.join(TITLES)}; got '{name}'.")
    if name == "efficientnet":
        return Network(name, lambda pictures: picture_features(eyes, pictures))
    return load_inception(next(eyes.parameters()).device)


def load_inception(device: torch.device | str = "cpu") -> Network:
    """Inception-v3 as the field's FID uses it (2048 features), from a file on this machine.

    Raises:
        ValueError: torch-fidelity, which holds the network, or the file of weights is not there,
            or it is another file; says what to do.

    Source:
        torch-fidelity's port of the TensorFlow network, which torchmetrics uses too; pictures go
        to it with 8 bits and are resized to 299 inside.
    """
    path = home() / WEIGHTS
    if importlib.util.find_spec("torch_fidelity") is None or not path.is_file():
        raise ValueError(
            "Inception features need the torch-fidelity library and a file of weights. Run: pip "
            f"install torch-fidelity. Download {WEIGHTS} from the releases of "
            f"github.com/toshas/torch-fidelity, and put it at '{path}'. Or take the features that "
            "are here: efficientnet."
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(CHECKSUM):  # the library unpickles it, so it must be this very file
        raise ValueError(
            f"'{path}' is not the file that its name says: its SHA-256 begins with {digest[:8]}, "
            f"not {CHECKSUM}. Download {WEIGHTS} again."
        )
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
    ).to(device)

    @torch.no_grad()
    def see(pictures: Tensor) -> Tensor:
        pixels = images.to_pixels(pictures).permute(0, 3, 1, 2)
        return network(pixels.contiguous().to(device))[0]

    return Network("inception", see)
