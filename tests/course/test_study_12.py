"""The study of lesson 12: parts of time, the pretend device, drawings with words and without."""

import pytest
import torch

from dcar_edu import images
from dcar_edu.bench.ours import ours
from dcar_edu.bench.pictures import Painter, Weights
from dcar_edu.bench.timing import Stopwatch
from dcar_edu.course.studies import study_12 as study
from dcar_edu.pipeline import DCAR


def test_a_queue_takes_orders_at_once_and_works_one_after_the_other():
    device = study.PretendDevice(cost=2.0, queue=0.5, slow=(2,))
    for _ in range(3):
        device.run()
    assert (device.now, device.calls) == (1.5, 3)
    assert device.done == [(0.5, 2.5), (2.5, 22.5), (22.5, 24.5)]
    device.sync()
    assert device.clock() == 24.5
    device.run()
    assert device.done[-1] == (25.0, 27.0), "an idle device begins when the order comes"


def test_parts_are_medians_a_picture_and_steps_left_out_are_counted(monkeypatch):
    now, rounds = [0.0], iter([9.0, 1.0, 5.0, 2.0])
    monkeypatch.setattr(study.time, "process_time", lambda: now[0])

    def paint(watch: Stopwatch, steps: int):
        slow = next(rounds)
        for _ in range(steps):
            now[0] += slow
            watch.lap("passes")
        now[0] += 10 * slow
        watch.lap("decoder")
        return torch.zeros(4, 3, 8, 8)

    painter = Painter("ours", 8, 4, 6, Weights(1, 1, 1), paint)
    found = study.take_apart([painter], "cpu", repeats=3, steps=2)
    assert found == {"ours": {"passes": 2 * 6 / 4, "decoder": 20 / 4}}


def test_a_plan_shorter_than_the_steps_asked_for_is_run_whole():
    painter = ours("nano", size=64, num_steps=2, residual_steps=0, name="short")
    found = study.take_apart([painter], "cpu", repeats=1, steps=5)
    assert list(found["short"]) == ["words", "passes", "choice", "decoder"]


def test_a_gpu_has_the_wall_clock(monkeypatch):
    assert study.clock("cpu") is study.time.process_time
    assert study.clock("cuda") is study.time.perf_counter


@pytest.fixture(scope="module")
def model() -> DCAR:
    return DCAR.from_pretrained("emoji-128")


def test_drawings_under_the_stopwatch_are_those_of_generate(model):
    prompts = ["a 3D emoji of a wolf on a white background", "a frog", "a rocket"]
    options = {"num_steps": 3, "residual_steps": 2, "seed": 5}
    drawn, seconds = study.draw_timed(model, prompts, **options)
    theirs = model.generate(prompts, guidance=1.0, **options)
    assert [images.to_pil(one).tobytes() for one in drawn] == [one.tobytes() for one in theirs]
    assert list(seconds) == ["text", "words", "passes", "choice", "head", "decoder"]


def test_an_empty_prompt_is_no_text(model):
    """Pushed or not, both passes then read the null text; a neighbour with words is left alone."""
    options = {"num_steps": 3, "residual_steps": 0, "seed": 5}
    pair, _ = study.draw_timed(model, ["", "a wolf"], **options)
    alone, _ = study.draw_timed(model, ["a wolf"], **(options | {"seed": 6}))
    assert torch.allclose(pair[1:], alone, atol=1e-4)
    other, _ = study.draw_timed(model, ["", "a 3D emoji of a frog on a white ground"], **options)
    assert torch.allclose(pair[0], other[0], atol=1e-4), "whatever the neighbour, however long"


RUN = {
    **{"accuracy_00": 0.0, "accuracy_01": 0.5, "accuracy_02": 0.7},
    **{"tflop_00": 0.0, "tflop_01": 10.0, "tflop_02": 30.0},
}


@pytest.mark.parametrize(("accuracy", "tflop"), [(0.25, 5.0), (0.5, 10.0), (0.6, 20.0)])
def test_compute_is_read_between_two_measurements(accuracy, tflop):
    assert study.reached(RUN, accuracy) == pytest.approx(tflop)


def test_a_quality_never_reached_has_no_cost():
    assert study.reached(RUN, 0.71) is None


def test_an_arm_of_the_experiment_gives_plain_numbers(monkeypatch):
    """With two painters of our own; the peers themselves are tested in tests/bench."""
    asked = []

    def contestants(size, batch):
        asked.append((size, batch))
        how = {"size": 64, "batch": batch, "num_steps": 2, "residual_steps": 1}
        return [ours("nano", **how), ours("nano", downsample=16, name="ours at f16", **how)]

    monkeypatch.setattr(study.peers, "contestants", contestants)
    found = study.EXPERIMENTS["12_peers"].run("512px_throughput", 0, "smoke")
    assert asked == [(128, 8)]
    assert found["pictures"] == 8
    assert found["ours_ratio"] == 1.0
    assert found["ours_at_f16_tokens"] == 16
    assert found["ours_at_f16_ratio"] > 0
    study.EXPERIMENTS["12_peers"].run("256px_latency", 0, "smoke")
    assert asked[-1] == (128, 1)


def test_published_decoders_are_timed_apart(monkeypatch):
    """Their true widths take a minute here, so narrow ones are timed and the true ones counted."""
    pytest.importorskip(
        "diffusers", reason="peers come from diffusers: pip install dcar_edu[peers]"
    )
    with torch.device("meta"):
        true = study.peers.kl_decoder(study.peers.PUBLISHED["PixArt"])
    assert sum(p.numel() for p in true.decoder.parameters()) == 49_490_179
    narrow = {"aMUSEd": {"block_out_channels": (4, 4, 6, 6, 8), "norm_num_groups": 2}}
    narrow["PixArt"] = {"block_out_channels": (4, 6, 6, 8), "norm_num_groups": 2}
    monkeypatch.setattr(study.peers, "PUBLISHED", narrow)
    found = study._published(1, (64,))
    assert 0 < found["PixArt_weights"] < found["aMUSEd_weights"]
    assert found["aMUSEd_64px_seconds"] >= 0
