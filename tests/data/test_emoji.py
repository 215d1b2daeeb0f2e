"""Captioned emoji: splits, subsets, seeds, and composition by hand."""

import hashlib

import pytest
import torch

from dcar_edu.data import CaptionedEmoji, EmojiExample, emoji
from dcar_edu.data.art import Concept, read_concepts
from dcar_edu.data.captions import BACKGROUNDS
from dcar_edu.data.splits import SPLITS, concept_role, split_of


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def every():
    return {split: CaptionedEmoji(split, 16).examples() for split in SPLITS}


@pytest.fixture(scope="module")
def few():
    """Four concepts in two styles: two of them with awkward edges."""
    labels = ["wolf", "owl", "rocket", "pineapple"]
    return CaptionedEmoji("train", 16, styles=["3d", "flat"], concepts=labels)


# Splits


def test_splits_share_no_example_and_cover_everything(every):
    whole = [set(examples) for examples in every.values()]
    total = sum(len(c.styles) for c in read_concepts()) * 12 * 2
    assert len(set().union(*whole)) == sum(map(len, whole)) == total


def test_about_a_hundred_concepts_are_held_out_of_each_kind(every):
    for split in SPLITS[1:]:
        assert 90 <= len({e.label for e in every[split]}) <= 110


def test_held_out_concepts_are_in_no_other_split(every):
    held_out = {e.label for e in every["held_out_concepts"]}
    for split in ("train", "held_out_styles", "held_out_colours"):
        assert held_out.isdisjoint(e.label for e in every[split])


def test_held_out_styles_are_one_style_of_concepts_seen_in_others(every):
    seen = {}
    for e in every["train"]:
        seen.setdefault(e.label, set()).add(e.style)
    held_out = {(e.label, e.style) for e in every["held_out_styles"]}
    assert len(held_out) == len({label for label, _ in held_out})
    for label, style in held_out:
        assert seen[label]
        assert style not in seen[label]


def test_held_out_colours_are_one_background_of_concepts_seen_on_the_others(every):
    seen = {}
    for e in every["train"]:
        seen.setdefault(e.label, set()).add(e.background)
    for e in every["held_out_colours"]:
        assert seen[e.label] == set(BACKGROUNDS) - {e.background}


def test_splits_never_move():
    """A changed salt, order or hash would let a trained model see its own test."""
    text = "\n".join(f"{c.hexcode} {concept_role(c)}" for c in read_concepts())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "8f39fa557dc479c4"


def test_a_role_follows_from_the_code_points_alone():
    one = Concept("1f43a", "wolf", "animals-nature", (), ("3d", "flat"))
    assert concept_role(one) == concept_role(Concept("1f43a", "lobo", "x", ("y",), ("noto",)))
    assert split_of(("style", "flat"), "flat", "red") == "held_out_styles"
    assert split_of(("style", "flat"), "noto", "red") == "train"
    assert split_of(("colour", "red"), "flat", "red") == "held_out_colours"
    assert split_of(("concept", None), "flat", "red") == "held_out_concepts"


# Subsets


def test_smaller_sets_lie_inside_larger_ones():
    def labels(n):
        return [c.label for c in CaptionedEmoji("train", 16, concepts=n).concepts]

    assert labels(64) == labels(512)[:64]
    assert "wolf" in labels(16)


def test_held_out_styles_of_n_concepts_test_those_of_training():
    train = {e.label for e in CaptionedEmoji("train", 16, concepts=200).examples()}
    test = {e.label for e in CaptionedEmoji("held_out_styles", 16, concepts=200).examples()}
    assert test
    assert test <= train


def test_choices_are_kept():
    data = CaptionedEmoji(
        "train", 16, styles="flat", concepts=["owl"], backgrounds=["red", "white"], sizes="small"
    )
    assert [e.caption for e in data.examples()] == [
        "a small flat emoji of an owl on a red background",
        "a small flat emoji of an owl on a white background",
    ]


def test_above_256_pixels_only_svg_styles_are_drawn():
    assert CaptionedEmoji("train", 512, concepts=2).styles == ("flat", "noto", "blob")
    assert "3d" in CaptionedEmoji("train", 256, concepts=2).styles


@pytest.mark.parametrize(
    ("split", "resolution", "choice", "message"),
    [
        ("test", 16, {}, "split must be chosen from train, held_out_concepts, .*; got test"),
        ("train", 18, {}, "resolution must be a multiple of 4 and at least 16, got 18"),
        ("train", 8, {}, "at least 16, got 8"),
        ("train", 16, {"styles": ["3D"]}, "styles must be chosen from 3d, .*; got 3D"),
        ("train", 16, {"styles": []}, "styles must be chosen from .*; got nothing"),
        ("train", 512, {"styles": ["3d"]}, "'3d' comes as 256 px pictures, got resolution 512"),
        ("train", 16, {"backgrounds": ["mauve"]}, "backgrounds must be chosen from white, "),
        ("train", 16, {"sizes": ["big"]}, "sizes must be chosen from normal, small; got big"),
        ("train", 16, {"concepts": 0}, r"between 1 and \d+ for split 'train', got 0"),
        ("train", 16, {"concepts": 9999}, "got 9999"),
        ("train", 16, {"concepts": ["bread"]}, "no concept of split 'train' is called 'bread'"),
        ("train", 16, {"concepts": []}, "is called nothing"),
        ("held_out_styles", 16, {"concepts": ["wolf"]}, "'held_out_styles' holds nothing for"),
    ],
)
def test_a_wrong_choice_is_explained(split, resolution, choice, message):
    with pytest.raises(ValueError, match=message):
        CaptionedEmoji(split, resolution, **choice)


# Examples and batches


def test_example_finds_the_lessons_wolf(few):
    wolf = few.example("wolf", "3d", "pale blue")
    assert wolf == EmojiExample("3d", "wolf", "1f43a", "pale blue", "normal")
    assert wolf.caption == "a 3D emoji of a wolf on a pale blue background"
    assert wolf in few.examples()
    assert few.example("wolf", size="small").caption.startswith("a small 3D emoji")


def test_example_refuses_what_the_split_does_not_hold(few):
    with pytest.raises(ValueError, match="split 'train' holds no 'bread' in style '3d' on white"):
        few.example("bread")
    with pytest.raises(ValueError, match="background must be chosen from"):
        few.example("wolf", background="mauve")
    with pytest.raises(ValueError, match="style must be chosen from 3d, flat; got blob"):
        few.example("wolf", "blob")
    with pytest.raises(ValueError, match="this data set holds no tile"):
        few.render([EmojiExample("3d", "wolf", "ffff", "red")])


def test_examples_are_numbered(few):
    examples = few.examples()
    assert len(examples) == len(few) == 4 * 2 * 12 * 2
    assert len(set(examples)) == len(few)
    assert few[7] == examples[7]


def test_a_part_holds_its_examples_alone_and_draws_them_alike(few):
    places = [30, 7, 8]
    part = few.only(places)
    assert part.examples() == [few[place] for place in places]
    assert torch.equal(part.render(part.examples()), few.render(part.examples()))
    assert len(part.tiles()) == len({(e.style, e.hexcode) for e in part.examples()}) < 4
    assert len(few.tiles()) == 8
    with pytest.raises(ValueError, match="holds no tile"):
        part.render([few[60]])


def test_one_seed_gives_one_batch(few):
    one, same, other = (few.batch(5, generator=seeded(s)) for s in (3, 3, 4))
    assert one.records == same.records
    assert torch.equal(one.images, same.images)
    assert one.records != other.records
    assert one.captions == [record.caption for record in one.records]
    assert one.images.shape == (5, 3, 16, 16)
    assert one.images.dtype == torch.float32
    assert -1 <= one.images.min() < one.images.max() <= 1


def test_a_batch_leaves_the_global_random_state_alone(few):
    before = torch.get_rng_state()
    few.batch(3, generator=seeded())
    assert torch.equal(before, torch.get_rng_state())


def test_batches_draw_every_example_alike(few):
    records = few.batch(4 * len(few), generator=seeded()).records
    assert len(set(records)) > 0.9 * len(few)  # 1 - exp(-4) = 0.98 expected


def test_render_does_not_depend_on_the_company(few):
    examples = few.examples()[::5]  # 39 pictures: more than one part of 32
    together = few.render(examples)
    alone = torch.cat([few.render([example]) for example in examples])
    assert torch.equal(together, alone)
    assert few.render([]).shape == (0, 3, 16, 16)


def test_render_works_on_another_device(few):
    """The meta device computes shapes only, and refuses any tensor left behind on the CPU."""
    few_there = CaptionedEmoji("train", 16, styles=["3d"], concepts=["wolf"], sizes=["normal"])
    batch = few_there.batch(3, device="meta", generator=seeded())
    assert batch.images.device.type == "meta"
    assert batch.images.shape == (3, 3, 16, 16)


# Composition by hand


def by_hand(tile, colour, small):
    """Blend in 0..255, pixel by pixel."""
    size = tile.shape[-1]
    picture = torch.zeros(3, size, size, dtype=torch.float64)
    for y in range(size):
        for x in range(size):
            alpha = int(tile[3, y, x]) / 255
            for channel in range(3):
                over, under = int(tile[channel, y, x]), colour[channel]
                picture[channel, y, x] = alpha * over + (1 - alpha) * under
    if small:
        canvas = torch.tensor(colour, dtype=torch.float64)[:, None, None].repeat(1, size, size)
        for y in range(size // 2):
            for x in range(size // 2):
                four = picture[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
                canvas[:, size // 4 + y, size // 4 + x] = four.mean((1, 2))
        picture = canvas
    return (picture / 127.5 - 1).float()


@pytest.mark.parametrize("size", ["normal", "small"])
def test_composition_is_the_alpha_blend(size):
    g = seeded()
    tiles = torch.randint(0, 256, (3, 4, 8, 8), generator=g, dtype=torch.uint8)
    colours = [(255, 0, 10), (0, 200, 30), (7, 90, 255)]
    images = torch.empty(3, 3, 8, 8)
    small = torch.tensor([size == "small", False, size == "small"])
    emoji.compose(tiles, torch.tensor(colours).float(), small, images)
    for row in range(3):
        expected = by_hand(tiles[row], colours[row], bool(small[row]))
        torch.testing.assert_close(images[row], expected, atol=1e-6, rtol=0)


def test_a_picture_is_its_tile_on_its_background(few):
    example = few.example("wolf", "flat", "purple", "small")
    (image,) = few.render([example])
    place = few._keys.index(("flat", "1f43a"))
    expected = by_hand(few.tiles()[place], BACKGROUNDS["purple"], small=True)
    torch.testing.assert_close(image, expected, atol=1e-6, rtol=0)
