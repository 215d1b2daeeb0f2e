"""Caption alignment: ranking by hand, the shipped head on real tiles, and what it refuses."""

import pytest
import torch

from dcar_edu import checkpoint
from dcar_edu.course.aligning import card, fit
from dcar_edu.data import CaptionedEmoji
from dcar_edu.metrics.alignment import (
    AlignmentConfig,
    AlignmentHead,
    load_alignment,
    rank,
    retrieval,
)
from dcar_edu.metrics.splits import Learnt

SMALL = AlignmentConfig(picture_width=6, text_width=5, hidden=32, width=7)


@pytest.fixture(scope="module")
def alignment():
    return load_alignment()


@pytest.fixture(scope="module")
def tiles():
    """Nine concepts on a background, and all labels that compete."""
    labels = Learnt.read(checkpoint.find_model("emoji-128")).concepts
    wanted = labels[3:12]
    data = CaptionedEmoji("train", 128, styles=["3d"], concepts=wanted, sizes=["normal"])
    return data.render([data.example(label, "3d", "white") for label in wanted]), wanted, labels


def test_rank_counts_who_is_ahead():
    similarity = torch.tensor(
        [
            [0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6],  # first
            [0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6],  # last
            [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3],  # fifth
        ]
    )
    found = rank(similarity, torch.tensor([0, 1, 4]))
    assert (found.r1, found.r5) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (found.candidates, found.pictures) == (7, 3)
    assert found.chance == 1 / 7


def test_a_tie_has_not_won():
    found = rank(torch.zeros(4, 6), torch.tensor([0, 1, 2, 3]))
    assert (found.r1, found.r5) == (0, 0)
    assert rank(torch.tensor([[0.5, 0.5, 0.1]]), torch.tensor([0])).r1 == 0


def test_pictures_and_words_lie_on_the_sphere(alignment, tiles):
    pictures, wanted, _ = tiles
    seen, read = alignment.see(pictures[:2]), alignment.read(wanted[:3])
    assert (seen.shape, read.shape) == ((2, 256), (3, 256))
    for vectors in (seen, read):
        assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-5)


def test_real_tiles_are_found_and_shuffled_ones_are_not(alignment, tiles):
    pictures, wanted, labels = tiles
    found = retrieval(alignment, pictures, wanted, labels)
    assert found.candidates == len(labels) == 560
    assert found.r1 >= 7 / 9
    assert retrieval(alignment, pictures, wanted[1:] + wanted[:1], labels).r1 == 0
    assert retrieval(alignment, torch.zeros_like(pictures), wanted, labels).r1 <= 1 / 9


def test_training_puts_pictures_beside_their_words():
    generator = torch.Generator().manual_seed(0)
    pictures, words = (torch.randn(8, n, generator=generator) for n in (6, 5))
    wanted = torch.arange(8).flip(0)
    torch.manual_seed(0)
    head = AlignmentHead(SMALL)
    with torch.no_grad():
        before = head.loss(pictures, words, wanted).item()
    assert fit(head, pictures, words, wanted, steps=300) < before / 3
    with torch.no_grad():
        similarity = head.pictures(pictures) @ torch.nn.functional.normalize(head.words(words)).T
    assert rank(similarity, wanted).r1 == 1


def test_the_loss_is_log_n_when_nothing_is_known():
    head = AlignmentHead(SMALL)
    torch.nn.init.zeros_(head.words.weight)
    torch.nn.init.zeros_(head.words.bias)
    loss = head.loss(torch.randn(2, 6), torch.randn(9, 5), torch.tensor([3, 8]))
    assert loss.item() == pytest.approx(torch.tensor(9.0).log().item(), abs=1e-5)


def test_the_card_shows_what_was_measured():
    found = {"real tiles": rank(torch.eye(7), torch.arange(7))}
    made = {"pictures": 12, "labels": 7, "loss": 0.5, "minutes": 2.5, "threads": 3}
    text = card(found, made)
    assert "| real tiles | 1.000 | 1.000 |" in text
    assert "7 candidates" in text
    assert "Chance is 14.29%" in text


def test_saved_and_read_back(tmp_path):
    head = AlignmentHead(SMALL).eval()
    again = AlignmentHead.from_pretrained(head.save_pretrained(tmp_path))
    pictures = torch.randn(2, 6)
    assert again.config == SMALL
    assert torch.equal(again.pictures(pictures), head.pictures(pictures))
    checkpoint.save_tensors(tmp_path, {"words.bias": torch.zeros(7)})
    with pytest.raises(ValueError, match=r"do not fit AlignmentHead: missing \['pictures"):
        AlignmentHead.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("wanted", "candidates"),
    [
        (["wolf"], ["wolf", "frog"]),
        (["wolf", "bee"], ["wolf", "frog"]),
        (["a", "b"], ["a", "b", "a"]),
    ],
)
def test_labels_that_do_not_fit_are_refused(alignment, wanted, candidates):
    with pytest.raises(ValueError, match="one wanted label a picture out of different candidates"):
        retrieval(alignment, torch.zeros(2, 3, 32, 32), wanted, candidates)
