"""Networks by name, and Inception from a file on this machine, with a stand-in for its library."""

import hashlib
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
import torch

from dcar_edu.metrics import networks
from dcar_edu.metrics.alignment import picture_features
from dcar_edu.metrics.networks import WEIGHTS, load_inception, load_network

from .conftest import Features


class Extractor(torch.nn.Module):
    """Called as torch-fidelity's is: eight bits in, a tuple of features out."""

    def __init__(self, name, features_list, feature_extractor_weights_path):
        super().__init__()
        assert (name, features_list) == ("inception-v3-compat", ["2048"])
        self.scale = float(Path(feature_extractor_weights_path).read_text())

    def forward(self, pixels):
        assert pixels.dtype == torch.uint8
        assert pixels.shape[1] == 3
        return (pixels.float().mean((2, 3)) * self.scale,)


@pytest.fixture
def library(monkeypatch, tmp_path):
    monkeypatch.setenv("DCAR_HOME", str(tmp_path))
    monkeypatch.setattr(networks, "CHECKSUM", hashlib.sha256(b"2.0").hexdigest()[:8])
    for name in ("torch_fidelity", "torch_fidelity.feature_extractor_inceptionv3"):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.FeatureExtractorInceptionV3 = Extractor
        monkeypatch.setitem(sys.modules, name, module)
    return tmp_path / WEIGHTS


def test_efficientnet_sees_pictures_of_one_size():
    eyes, pictures = (
        Features(),
        torch.rand(3, 3, 48, 40, generator=torch.Generator().manual_seed(1)),
    )
    network = load_network("efficientnet", eyes)
    assert network.name == "efficientnet"
    torch.testing.assert_close(network.see(pictures), picture_features(eyes, pictures))


def test_inception_is_read_from_its_file(library):
    library.write_text("2.0")
    network = load_network("inception", Features())
    assert network.name == "inception"
    pictures = torch.tensor([-1.0, 0.0, 1.0]).expand(2, 4, 5, 3).permute(0, 3, 1, 2)
    torch.testing.assert_close(
        network.see(pictures), torch.tensor([0.0, 256.0, 510.0]).expand(2, 3)
    )


def test_what_lacks_is_said(library, monkeypatch):
    with pytest.raises(ValueError, match=f"Download {WEIGHTS} from .* put it at '{library}'"):
        load_inception()
    library.write_text("a page that says not found")
    with pytest.raises(ValueError, match=r"not the file that its name says: its SHA-256 begins"):
        load_inception()
    library.write_text("2.0")
    monkeypatch.setattr(networks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="Run: pip install torch-fidelity"):
        load_inception()
    with pytest.raises(ValueError, match="one of efficientnet, inception; got 'vgg'"):
        load_network("vgg", Features())
