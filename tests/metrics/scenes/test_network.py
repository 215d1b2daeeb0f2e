"""The detector: targets by hand, a loss that the truth makes small, boxes there and back."""

from dataclasses import replace

import pytest
import torch

from dcar_edu.metrics.scenes.judge import SceneJudge, overlap, place_boxes
from dcar_edu.metrics.scenes.network import (
    STRIDE,
    CellOutput,
    SceneNetwork,
    SceneNetworkConfig,
    cell_loss,
    cell_targets,
)

NAMES = SceneNetworkConfig(
    labels=("cat", "tree", "circle"), colours=("red", "blue"), side=48, widths=(2, 3, 4, 5, 6)
)  # 6 x 6 cells
SMALL = replace(NAMES, side=64)  # what a network can look at: a multiple of 32
CAT = ("cat", (0.05, 0.10, 0.45, 0.40))  # its centre (1.5, 1.5) in cells: that of cell (1, 1)
BALL = ("blue circle", (0.60, 0.50, 0.90, 1.00))  # centre (4.5, 4.5)


def test_cells_around_a_centre_name_the_thing():
    targets = cell_targets([[CAT, BALL], []], NAMES)
    assert targets.names.shape == (2, 6, 6)
    assert targets.names[0].tolist() == [
        [-1, -1, -1, 0, 0, 0],
        [-1, 1, -1, 0, 0, 0],
        [-1, -1, -1, 0, 0, 0],
        [0, 0, 0, -1, -1, -1],
        [0, 0, 0, -1, 3, -1],
        [0, 0, 0, -1, -1, -1],
    ]
    assert not targets.names[1].any()


def test_a_centre_between_cells_belongs_to_both():
    box = (0.0, 0.15, 2 / 3, 0.35)  # centre (2, 1.5): the border of columns 1 and 2
    names = cell_targets([[("tree", box)]], NAMES).names[0]
    assert (names > 0).nonzero().tolist() == [[1, 1], [1, 2]]


def test_colours_stand_where_shapes_are():
    targets = cell_targets([[CAT, BALL], []], NAMES)
    assert (targets.colours >= 0).nonzero().tolist() == [[0, 4, 4]]
    assert targets.colours[0, 4, 4] == 1


def test_boxes_come_back():
    targets = cell_targets([[CAT, BALL, ("tree", (0.5, 0.0, 0.98, 0.31))]], NAMES)
    back = place_boxes(targets.boxes[0])
    for name, box in ((1, CAT[1]), (3, BALL[1]), (2, (0.5, 0.0, 0.98, 0.31))):
        for y, x in (targets.names[0] == name).nonzero().tolist():
            assert back[:, y, x].tolist() == pytest.approx(box, abs=1e-5)


def perfect(things):
    """What a network would say that knows the truth."""
    targets = cell_targets(things, NAMES)
    names = 20.0 * torch.nn.functional.one_hot(targets.names.clamp(min=0), 4).permute(0, 3, 1, 2)
    colours = torch.nn.functional.one_hot(targets.colours.clamp(min=0), 2).permute(0, 3, 1, 2)
    return CellOutput(names, 20.0 * colours, targets.boxes), targets


def test_the_truth_costs_nothing():
    output, targets = perfect([[CAT, BALL], [("tree", CAT[1])]])
    assert cell_loss(output, targets) < 1e-5


@pytest.mark.parametrize("part", ["names", "colours", "boxes"])
def test_each_part_of_the_loss_counts(part):
    output, targets = perfect([[CAT, BALL], []])
    wrong = vars(output) | {part: getattr(output, part).roll(1, dims=1)}
    assert cell_loss(CellOutput(**wrong), targets) > 0.05


def test_cells_near_a_centre_may_say_anything():
    output, targets = perfect([[CAT], []])
    names = output.names.clone()
    names[0, 2, 1, 2] += 100
    assert cell_loss(CellOutput(names, output.colours, output.boxes), targets) < 1e-5
    names[1, 2, 1, 2] += 100  # in the empty picture it may not
    assert cell_loss(CellOutput(names, output.colours, output.boxes), targets) > 10


def test_no_thing_at_all_is_no_division_by_zero():
    output, targets = perfect([[], []])
    assert cell_loss(output, targets).item() == pytest.approx(0, abs=1e-4)


def test_shapes_and_a_start_at_nothing():
    network = SceneNetwork(SMALL).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    output = network(images)
    assert output.names.shape == (2, 4, 8, 8)
    assert output.colours.shape == (2, 2, 8, 8)
    assert output.boxes.shape == (2, 4, 8, 8)
    assert (output.names.argmax(1) == 0).all()
    assert SMALL.side // STRIDE == 8


def test_saved_and_read_again(tmp_path):
    network = SceneNetwork(SMALL)
    network.save_pretrained(tmp_path)
    back = SceneNetwork.from_pretrained(tmp_path)
    assert back.config == SMALL
    assert not back.training
    for one, two in zip(network.state_dict().values(), back.state_dict().values(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("wrong", [{"side": 48}, {"widths": (2, 3, 4, 5)}])
def test_sizes_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match="side must be a multiple of 32 and widths five"):
        SceneNetwork(replace(SMALL, **wrong))


# From cells to things


class Says(torch.nn.Module):
    """Stands in for the network: says the same of every picture."""

    def __init__(self, output):
        super().__init__()
        self.output, self.config = output, NAMES
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        assert images.shape[2:] == (48, 48)
        return self.output


def test_the_judge_reads_the_truth_once():
    things = [[CAT, BALL], [("tree", (0.0, 0.15, 2 / 3, 0.35))]]
    output, _ = perfect(things)
    found = SceneJudge(Says(output))(torch.zeros(2, 3, 31, 57))
    first = {thing.label: thing for thing in found[0]}
    assert sorted(first) == ["cat", "circle"]
    assert (first["cat"].colour, first["circle"].colour) == (None, "blue")
    assert first["cat"].box == pytest.approx(CAT[1], abs=1e-4)
    assert all(thing.score > 0.99 for seen in found for thing in seen)
    assert [thing.label for thing in found[1]] == ["tree"]  # two cells speak of it, one is kept


def test_two_names_for_one_box_leave_the_surer():
    output, _ = perfect([[CAT], []])
    names = output.names.clone()
    names[0, :, 1, 1] = torch.tensor([0.0, 2.0, 3.0, 0.0])
    names[0, :, 1, 2] = torch.tensor([0.0, 4.0, 0.0, 0.0])
    boxes = output.boxes.clone()
    boxes[0, :, 1, 2] = boxes[0, :, 1, 1] - torch.tensor([1.0, 0.0, 0.0, 0.0])
    found = SceneJudge(Says(CellOutput(names, output.colours, boxes)))(torch.zeros(2, 3, 48, 48))
    assert [thing.label for thing in found[0]] == ["cat"]
    assert found[0][0].score == pytest.approx(torch.tensor([0.0, 4.0, 0, 0]).softmax(0)[1].item())


def test_what_is_hardly_seen_is_not_reported():
    output, _ = perfect([[], []])
    names = output.names.clone()
    names[0, :, 3, 2] = torch.tensor([3.0, 0.0, 0.7, 0.0])  # a tree: 0.085
    names[1, :, 3, 2] = torch.tensor([3.0, 0.0, 1.0, 0.0])  # a tree: 0.11
    found = SceneJudge(Says(CellOutput(names, output.colours, output.boxes)))(
        torch.zeros(2, 3, 48, 48)
    )
    assert [len(seen) for seen in found] == [0, 1]


@pytest.mark.parametrize("shape", [(3, 48, 48), (2, 1, 48, 48)])
def test_other_pictures_are_refused(shape):
    with pytest.raises(ValueError, match=r"the judge needs pictures \(b, 3, H, W\)"):
        SceneJudge(SceneNetwork(SMALL).eval())(torch.zeros(shape))


def test_overlap_by_hand():
    assert overlap((0, 0, 1, 1), (0, 0, 1, 1)) == 1
    assert overlap((0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1)) == 0
    assert overlap((0, 0, 0.4, 0.4), (0.6, 0.6, 1, 1)) == 0  # apart along both axes
    assert overlap((0, 0, 0.4, 0.5), (0.2, 0, 0.6, 0.5)) == pytest.approx(1 / 3)
    assert overlap((0.5, 0.5, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5)) == 0
