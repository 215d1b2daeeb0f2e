"""Did it draw the right thing? A small contrastive head scores pictures against words.

Pictures are seen by a frozen EfficientNet-Lite0 and words read by a frozen MiniLM; two small
networks put both on one unit sphere, where a picture should lie next to its own label. It plays
the part of CLIP (arXiv:2103.00020), but knows only the concepts of ``data/emoji``: use it to rank
those, not as an absolute score.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcar_edu import checkpoint, images
from dcar_edu.features import EfficientNetFeatures, load_features
from dcar_edu.text import TextEncoder, load_text_encoder

SIDE = 128
"""Pictures of any size are resized to this many pixels, so that all are judged alike."""
CHUNK = 32
"""Pictures seen at once."""


@dataclass(frozen=True)
class AlignmentConfig:
    """Sizes of an :class:`AlignmentHead`."""

    picture_width: int = 1280
    """Features of a picture (EfficientNet-Lite0)."""
    text_width: int = 384
    """Features of a text (MiniLM)."""
    hidden: int = 512
    width: int = 256
    """Dimensions of the sphere that both are put on."""
    temperature: float = 0.05
    """Cosines are divided by this before the softmax in training."""


class AlignmentHead(nn.Module):
    """The trained part: features of pictures and of texts to points on one sphere."""

    def __init__(self, config: AlignmentConfig | None = None):
        super().__init__()
        self.config = config = config or AlignmentConfig()
        self.pictures = nn.Sequential(
            nn.LayerNorm(config.picture_width),
            nn.Linear(config.picture_width, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, config.width),
        )
        self.words = nn.Linear(config.text_width, config.width)

    def loss(self, pictures: Tensor, words: Tensor, wanted: Tensor) -> Tensor:
        """Contrastive loss with every label as a candidate.

        Args:
            pictures: features ``(b, picture_width)``.
            words: features of all labels ``(n, text_width)``.
            wanted: int64 ``(b,)``, which label each picture has.

        Source:
            InfoNCE (arXiv:1807.03748); CLIP for pictures against words.
        """
        seen = F.normalize(self.pictures(pictures), dim=-1)
        read = F.normalize(self.words(words), dim=-1)
        return F.cross_entropy(seen @ read.T / self.config.temperature, wanted)

    def save_pretrained(
        self, folder: str | os.PathLike, *, dtype: torch.dtype | None = None
    ) -> Path:
        """Write ``config.json`` and the weights to ``folder``."""
        return checkpoint.save_module(folder, self, self.config, dtype=dtype)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike) -> Self:
        """Read what :meth:`save_pretrained` wrote.

        Raises:
            ValueError: config or weights do not fit.
        """
        head = cls(checkpoint.read_config(folder, AlignmentConfig))
        checkpoint.load_weights(folder, head)
        return head.eval()


@dataclass(frozen=True)
class Alignment:
    """Eyes, a reader, and the head that brings them together; from :func:`load_alignment`."""

    head: AlignmentHead
    eyes: EfficientNetFeatures
    reader: TextEncoder

    @torch.no_grad()
    def see(self, pictures: Tensor) -> Tensor:
        """Where pictures ``(b, 3, H, W)`` in [-1, 1] lie: unit vectors ``(b, width)``."""
        return self.place(picture_features(self.eyes, pictures))

    @torch.no_grad()
    def place(self, features: Tensor) -> Tensor:
        """Where pictures lie of which :func:`picture_features` are known ``(b, picture_width)``."""
        weights = next(self.head.parameters())
        return F.normalize(self.head.pictures(features.to(weights)), dim=-1)

    @torch.no_grad()
    def read(self, texts: Sequence[str]) -> Tensor:
        """Where labels such as "wolf" lie: unit vectors ``(n, width)``."""
        return F.normalize(self.head.words(text_features(self.reader, texts)), dim=-1)


def load_alignment(device: torch.device | str = "cpu") -> Alignment:
    """Load the shipped head with its frozen encoders.

    Raises:
        ValueError: EfficientNet-Lite0 or MiniLM is not installed; says what to install.
    """
    head = AlignmentHead.from_pretrained(checkpoint.data_folder() / "judges" / "alignment")
    reader = load_text_encoder("minilm").to(device)
    return Alignment(head.to(device), load_features(device), reader)


@torch.no_grad()
def picture_features(eyes: EfficientNetFeatures, pictures: Tensor) -> Tensor:
    """Pooled features ``(b, 1280)`` of pictures ``(b, 3, H, W)`` of any size."""
    parts = [eyes(images.resize(part, (SIDE, SIDE))).pooled for part in pictures.split(CHUNK)]
    return torch.cat(parts).float()


@torch.no_grad()
def text_features(reader: TextEncoder, texts: Sequence[str]) -> Tensor:
    """Mean state of each text's word pieces, length 1: ``(n, width)``, as MiniLM was trained."""
    parts = []
    for start in range(0, len(texts), 256):
        words = reader(list(texts[start : start + 256]))
        mask = words.mask[..., None].to(words.states)
        parts.append((words.states * mask).sum(1) / mask.sum(1))
    return F.normalize(torch.cat(parts), dim=-1)


@dataclass(frozen=True)
class Retrieval:
    """How often the wanted label ranks first, or among the first five, of all candidates."""

    r1: float
    r5: float
    candidates: int
    pictures: int

    @property
    def chance(self) -> float:
        """What ``r1`` would be by guessing."""
        return 1 / self.candidates


def retrieval(
    alignment: Alignment, pictures: Tensor, wanted: Sequence[str], candidates: Sequence[str]
) -> Retrieval:
    """Which of all candidates does each picture show?

    Args:
        alignment: from :func:`load_alignment`.
        pictures: ``(b, 3, H, W)`` in [-1, 1].
        wanted: the label that each picture should show.
        candidates: all labels that compete, each once: best all that the model was trained on.

    Returns:
        Recall at 1 and at 5. A wanted label that ties with another has not won.

    Raises:
        ValueError: not one wanted label a picture, or a wanted label that is no candidate.
    """
    place = {label: number for number, label in enumerate(candidates)}
    strangers = [label for label in wanted if label not in place]
    if len(wanted) != len(pictures) or strangers or len(place) != len(candidates):
        raise ValueError(
            f"retrieval needs one wanted label a picture out of different candidates, got "
            f"{len(pictures)} pictures, {len(wanted)} labels, {strangers[:3]} not among the "
            f"{len(place)} different candidates. Add them, or drop what is there twice."
        )
    similarity = alignment.see(pictures) @ alignment.read(candidates).T
    return rank(similarity, torch.tensor([place[label] for label in wanted]))


def rank(similarity: Tensor, wanted: Tensor) -> Retrieval:
    """Recall at 1 and at 5 of ``similarity (b, n)``, where row i should be largest at wanted[i].

    Example:
        >>> rank(torch.tensor([[0.9, 0.1, 0.5], [0.4, 0.4, 0.1]]), torch.tensor([0, 0])).r1
        0.5
    """
    places = ahead(similarity, wanted)
    r1, r5 = ((places < k).float().mean().item() for k in (1, 5))
    return Retrieval(r1, r5, similarity.shape[1], len(similarity))


def ahead(similarity: Tensor, wanted: Tensor) -> Tensor:
    """How many candidates stand before the wanted one, ``(b,)``; one that ties does.

    Example:
        >>> ahead(torch.tensor([[0.9, 0.1, 0.5], [0.4, 0.4, 0.1]]), torch.tensor([2, 0])).tolist()
        [1, 1]
    """
    own = similarity.gather(1, wanted.to(similarity.device)[:, None])
    return (similarity >= own).sum(1) - 1  # itself is not ahead
