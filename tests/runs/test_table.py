"""Curves of the losses that runs wrote down."""

import pytest

from dcar_edu.runs.table import draw_curves, losses

pytest.importorskip("matplotlib")


def test_curves_draw_every_loss_that_is_not_0(tmp_path):
    log = tmp_path / "metrics.csv"
    rows = [f"{step},{5 / step},0.0,{1 / step},{step}" for step in range(1, 203)]
    log.write_text("\n".join(["step,loss,gan_loss,pixel_loss,accuracy", *rows]) + "\n")
    assert list(losses(log)) == ["loss", "pixel_loss"]
    one, two = draw_curves({"a": log}), draw_curves({"a": log, "b": log})
    assert (one.width, one.height) == (680, 230)
    assert (two.width, two.height) == (1020, 460)
    colours = one.get_flattened_data()
    assert (31, 119, 180) in set(colours)  # the mean's line


@pytest.mark.parametrize(
    "text", ["", "step,accuracy\n1,2\n", "loss\n3\n", "step,loss\n", "step,loss\n1,0.0\n"]
)
def test_curves_of_something_else(tmp_path, text):
    log = tmp_path / "metrics.csv"
    log.write_text(text)
    with pytest.raises(ValueError, match="'metrics.csv' needs a column 'step'"):
        draw_curves({"a": log})
