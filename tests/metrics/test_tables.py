"""Tables with known numbers, and sheets of pictures."""

import pytest
import torch

from dcar_edu import images
from dcar_edu.metrics.sheets import extremes, sheet
from dcar_edu.metrics.tables import prompts, redrawn, table

SPLIT = {
    "psnr_hybrid": 21.126, "ssim_hybrid": 0.8004, "perceptual_hybrid": 0.5015,
    "rkid_efficientnet_hybrid": 12.34, "rkid_efficientnet_hybrid_interval": [11.02, 13.97],
    "psnr_discrete": 19.5, "ssim_discrete": 0.7, "perceptual_discrete": 0.6,
    "rkid_efficientnet_discrete": -0.5, "rkid_efficientnet_discrete_interval": [-1.0, 0.25],
    "usage": 0.974, "perplexity": 775.3, "cosine": 0.9, "images": 37,
}  # fmt: skip
PROMPTS = {
    "split": "learnt", "prompts": 41, "candidates": 560, "chance": 1 / 560, "token_match": 0.9149,
    "hybrid": {"r1": 0.31, "r1_interval": [0.275, 0.3512], "r5": 0.53,
               "kid_efficientnet": 100.0, "kid_efficientnet_interval": [90.0, 110.06]},
    "discrete": {"r1": 0.25, "r1_interval": [0.2, 0.3], "r5": 0.5,
                 "kid_efficientnet": 120.0, "kid_efficientnet_interval": [95.0, 130.0]},
    "real": {"r1": 0.97, "r1_interval": [0.95, 1.0], "r5": 0.99},
}  # fmt: skip
SAMPLING = {"num_steps": 12, "guidance": 4.5, "temperature": 1.5}


def test_two_rows_a_split():
    assert redrawn({"train": SPLIT}).splitlines() == [
        "| split | path | PSNR, dB | SSIM | perceptual | rKID, EfficientNet | "
        "codes used, perplexity |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| train, 37 pictures | hybrid | 21.13 | 0.800 | 0.501 | 12.3 [11.0, 14.0] | 97 %, 775 |",
        "|  | discrete | 19.50 | 0.700 | 0.600 | -0.5 [-1.0, 0.2] |  |",
    ]


def test_a_row_a_path_and_the_ceiling_and_chance():
    assert prompts(PROMPTS).splitlines() == [
        "| drawn by | R@1, % | R@5, % | gKID, EfficientNet | tokens redrawn, % |",
        "| --- | --- | --- | --- | --- |",
        "| hybrid | 31.0 [27.5, 35.1] | 53.0 | 100.0 [90.0, 110.1] | 91.5 |",
        "| discrete | 25.0 [20.0, 30.0] | 50.0 | 120.0 [95.0, 130.0] | the same |",
        "| real pictures | 97.0 [95.0, 100.0] | 99.0 |  |  |",
        "| by chance | 0.18 | 0.89 |  |  |",
    ]


def test_where_the_learnt_pictures_are_unknown_the_last_column_is_missing():
    unknown = {name: value for name, value in PROMPTS.items() if name != "token_match"}
    lines = prompts(unknown).splitlines()
    assert lines[0].endswith("| gKID, EfficientNet |")
    assert {line.count("|") for line in lines} == {5}
    few = prompts({**PROMPTS, "chance": 1 / 3}).splitlines()[-1]
    assert few.startswith("| by chance | 33.33 | 100.00 |")


def test_the_page_says_what_it_measured_and_never_fid_alone():
    numbers = {
        "model": "emoji-9", "resolution": 96, "splits": {"train": SPLIT}, "prompts": PROMPTS,
        "sampling": SAMPLING, "seed": 8, "device": "cpu", "torch": "2.13.0",
    }  # fmt: skip
    text = table(numbers)
    assert text.startswith("# emoji-9 at 96 px\n")
    for words in ("41 prompts that it learnt", "560 candidates", "12 steps with guidance 4.5",
                  "EfficientNet-Lite0, and not comparable with published LPIPS, KID or FID",
                  "Seed 8, cpu, torch 2.13.0."):  # fmt: skip
        assert words in text
    numbers["prompts"] = PROMPTS | {"split": "train"}
    assert "41 prompts of the data's split `train`" in table(numbers)


@pytest.mark.parametrize(
    ("total", "count", "wanted"),
    [
        (1, 4, ([0], [0], [0])),
        (2, 4, ([0], [1], [1])),
        (3, 4, ([0], [1], [2])),
        (10, 2, ([0, 1], [4, 5], [8, 9])),
        (11, 9, ([0, 1, 2], [4, 5, 6], [8, 9, 10])),
    ],
)
def test_extremes(total, count, wanted):
    found = extremes([10 * place for place in range(total)], count)
    assert [[p // 10 for p in places] for places in found.values()] == list(wanted)


def test_a_sheet_shows_pictures_side_by_side_with_words_beneath():
    red, blue = (torch.full((3, 20, 20), -1.0) for _ in "ab")
    red[0], blue[2] = 1, 1
    paper = sheet([((red, blue), "one"), ((blue, red), "two " * 30)], 2, side=40, gap=6)
    assert [paper.getpixel((x, 20)) for x in (20, 62, 110, 152)] == [
        (255, 0, 0), (0, 0, 255), (0, 0, 255), (255, 0, 0),
    ]  # fmt: skip
    assert paper.width == 2 * (2 * 42 + 6) + 6
    beneath = images.from_pil(paper)[:, 50:]
    assert (beneath[:, :15, :90] < 0).any()  # words
    assert (beneath[:, -20:, :90] == 1).all()  # one line on the left
    assert (beneath[:, -20:, 96:] < 0).any()  # more on the right
    with pytest.raises(ValueError, match="at least one cell"):
        sheet([], 2)
