"""Which pictures a split is judged on."""

import pytest
import torch

from dcar_edu.data import CaptionedEmoji, CaptionedScenes
from dcar_edu.metrics.splits import check_splits, choose_pictures


@pytest.mark.parametrize("split", ["train", "held_out_concepts", "held_out_colours"])
def test_pictures_are_of_their_split_and_none_comes_twice(split):
    pictures = choose_pictures(split, 32, 11, seed=3)
    assert len(set(pictures.examples)) == 11
    assert set(pictures.examples) <= set(CaptionedEmoji(split, 32).examples())
    whole = CaptionedEmoji(split, 32, concepts=[e.label for e in pictures.examples])
    assert torch.equal(torch.cat([*pictures.batches()]), whole.render(pictures.examples))
    assert pictures.examples == choose_pictures(split, 32, 11, seed=3).examples
    assert pictures.examples != choose_pictures(split, 32, 11, seed=4).examples


def test_scenes_are_held_out_ones():
    pictures = choose_pictures("held_out_scenes", 32, 5, seed=3)
    scenes = CaptionedScenes("held_out", 32)
    wanted = scenes.batch(5, generator=torch.Generator().manual_seed(3))
    assert pictures.examples == wanted.records
    assert torch.equal(torch.cat([*pictures.batches()]), wanted.images)


def test_what_was_learnt_is_taken_whole_where_it_is_few(learnt):
    pictures = choose_pictures("learnt", 32, 40, seed=3, learnt=learnt)
    assert list(pictures.examples) == learnt.data().examples()
    assert {e.label for e in pictures.examples} == set(learnt.concepts)
    assert torch.equal(pictures.some([5, 2]), torch.cat([*pictures.batches()])[[5, 2]])


def test_batches_hold_32_at_most():
    pictures = choose_pictures("held_out_concepts", 16, 37, seed=0)
    assert [len(batch) for batch in pictures.batches()] == [32, 5]


def test_unknown_splits(learnt):
    check_splits(("learnt", "train"), learnt)
    with pytest.raises(ValueError, match="got trian, held_out"):
        check_splits(("trian", "held_out"), learnt)
    with pytest.raises(ValueError, match="needs a learnt.json .* Leave the split out"):
        check_splits(("learnt",), None)
