"""A picture taken apart: every part counted once, operations by part, and what is printed."""

import pytest
import torch

from dcar_edu.bench import components, pictures
from dcar_edu.bench.components import Breakdown, Component, break_down
from dcar_edu.bench.flops import Roof, count_flops
from dcar_edu.bench.ours import Place, ours, text_reader
from dcar_edu.bench.pictures import Drawn, Painter, Weights
from dcar_edu.bench.timing import Spread, Stopwatch
from dcar_edu.generator import GeneratorConfig, MaskedGenerator
from dcar_edu.generator.residual_head import ResidualHead
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig

GUIDED, STEPS, HEAD_STEPS, BATCH = 2, 3, 5, 2


@pytest.fixture(scope="module")
def painter():
    return ours("nano", size=64, batch=BATCH, num_steps=STEPS, residual_steps=HEAD_STEPS)


def steady(costs):
    """A new stopwatch a drawing, whose laps last what ``costs`` says, in order."""

    def new():
        watch = Stopwatch(clock=lambda: 0.0)
        given = iter(costs)
        watch.lap = lambda part: watch.seconds.setdefault(part, []).append(next(given))
        return watch

    return new


def test_every_part_is_lapped_in_order_and_steps_one_by_one(painter):
    drawn = painter.draw(None, steady(range(1, 100)))
    assert drawn.seconds == {
        "words": [1],
        "passes": [2, 4, 6],
        "choice": [3, 5, 7],
        "head": [8],
        "decoder": [9],
    }
    assert drawn.parts == {"words": 1, "passes": 12, "choice": 15, "head": 8, "decoder": 9}
    assert drawn.total == sum(range(1, 10))


def test_steps_that_were_not_run_are_counted_by_those_that_were(painter):
    drawn = painter.draw(2, steady(range(1, 100)))
    assert drawn.seconds["passes"] == [2, 4]
    assert drawn.parts == {"words": 1, "passes": 9, "choice": 12, "head": 6, "decoder": 7}


def test_a_wrong_size_of_picture_is_refused(painter):
    wrong = Painter("wrong", 64, 3, STEPS, painter.weights, painter.paint)
    with pytest.raises(ValueError, match=r"wrong should draw 3 pictures of 64 pixels, it gave \(2"):
        wrong.draw(1)


def test_sizes_tokens_and_weights():
    painter = ours("nano", size=96, downsample=16, num_steps=None, order="raster", name="twin")
    assert (painter.tokens, painter.num_steps, painter.size) == (36, 36, 96)
    model = MaskedGenerator(GeneratorConfig.preset("nano"))
    left_out = [model.tokens, model.head, model.residual_head]
    assert painter.weights.generator == pictures.count([model])
    assert painter.weights.body == pictures.count([model]) - pictures.count(left_out)
    decoder = HybridTokenizer(TokenizerConfig.preset("nano", downsample=16)).decoder
    assert painter.weights.decoder == pictures.count([decoder])
    with pytest.raises(ValueError, match="size must be a multiple of 16, got 88"):
        ours("nano", size=88, downsample=16)


def test_token_by_token_reveals_one_a_step_row_by_row(monkeypatch):
    seen = []
    run = MaskedGenerator.predict
    monkeypatch.setattr(
        MaskedGenerator,
        "predict",
        lambda self, indices, memory: seen.append(indices.clone()) or run(self, indices, memory),
    )
    ours("nano", size=64, num_steps=None, order="raster", residual_steps=1).draw()
    known = [(grid != 1024).flatten().tolist() for grid in seen[::GUIDED]]
    assert known == [[True] * n + [False] * (4 - n) for n in range(4)]


def test_operations_are_counted_where_they_happen(painter):
    flops, moved = components.work(painter)
    config = GeneratorConfig.preset("nano", grid=(2, 2))
    model, tokenizer = MaskedGenerator(config), HybridTokenizer(TokenizerConfig.preset("nano"))
    text, mask = pictures.random_words(model, config.text_length, BATCH)
    with torch.inference_mode():
        memory = model.read_text(text, mask)
        grid = torch.zeros(BATCH, 2, 2, dtype=torch.int64)
        once = count_flops(lambda: model.predict(grid, memory))
        head = ResidualHead(config)
        guess = count_flops(lambda: head(torch.ones(8, 32), torch.ones(8), torch.ones(8, 256)))
        decoded = count_flops(lambda: tokenizer.decode(grid))
        assert flops["words"] == GUIDED * count_flops(lambda: model.read_text(text, mask))
    assert flops["passes"] == GUIDED * STEPS * once
    assert flops["head"] == GUIDED * HEAD_STEPS * guess
    assert flops["decoder"] == decoded
    assert flops["choice"] == 0
    weights = 4 * pictures.count([model.blocks, model.head])
    assert moved["passes"] > GUIDED * STEPS * weights, "every pass reads all weights at least"


def test_bytes_are_those_of_inputs_and_outputs_and_views_are_free():
    x, y = torch.ones(3, 5), torch.ones(5)
    with components._Traffic() as traffic:
        (x.T.contiguous() + x.view(5, 3)).view(15)
    assert traffic.bytes == 4 * (2 * 15 + 3 * 15), "a copy of x.T, then two in and one out"
    with components._Traffic() as traffic:
        x.add_(y)
    assert traffic.bytes == 4 * (15 + 5 + 15)


def test_shares_spreads_and_steps(painter):
    """Rounds differ: the first drawing warms up, the second of four is disturbed."""
    costs = iter([1000, 1, 50, 3, 5])
    laps = lambda: steady([next(costs)] * 100)()  # noqa: E731
    (found,) = break_down([painter], repeats=4, new_watch=laps)
    assert found.total == Spread(4 * 9, 9, 450, 4)
    assert found.images_per_second == BATCH / 36
    assert found.shares == pytest.approx(
        {"words": 1 / 9, "passes": 3 / 9, "choice": 3 / 9, "head": 1 / 9, "decoder": 1 / 9}
    )
    assert sum(found.shares.values()) == pytest.approx(1)
    assert len(found.steps) == STEPS
    assert set(found.steps) == {10}, "pass and choice of the upper middle run"


def test_painters_take_turns_and_need_names(painter):
    order = []
    watch = steady([1] * 100)

    def named(name):
        def paint(stopwatch, steps):
            order.append((name, steps))
            return painter.paint(stopwatch, steps)

        return Painter(name, 64, BATCH, STEPS, painter.weights, paint)

    break_down([named("a"), named("b")], repeats=2, new_watch=watch, like=painter)
    warm, full = [("a", 1), ("b", 1)], [("a", STEPS), ("b", STEPS)]
    assert order == warm + full + full[::-1]
    with pytest.raises(ValueError, match="painters need different names, got ours, ours"):
        break_down([painter, painter])


def test_utilisation_against_the_roof():
    part = Component("decoder", Spread(4.0, 3.0, 5.0, 3), 0.5, flops=200.0, bytes=30.0)
    roof = Roof(flops=100.0, bytes=10.0, measured=False)
    assert part.of_peak(roof) == 0.5
    assert part.of_roof(roof) == (0.75, "memory")


def test_the_table():
    painter = Painter("ours", 512, 8, 2, Weights(1, 2, 3), lambda *_: torch.ones(1))
    spread = Spread(4.0, 3.0, 5.0, 3)
    parts = (
        Component("passes", spread, 0.8, 200e9, 30e6),
        Component("choice", Spread(1.0, 1.0, 1.0, 3), 0.2, 0.0, 5e6),
    )
    found = Breakdown(painter, Spread(5.0, 4.0, 6.0, 3), parts, (3.0, 2.0))
    lines = list(components.table(found, Roof(100e9, 10e6, measured=True)))
    assert lines[0] == "ours: 512 px, batch 8, 2 steps"
    row = (
        "passes      4.00 s    3.00 s    5.00 s  80.0%    200.00       30    50.0%    75.0%  memory"
    )
    assert lines[2] == row
    assert lines[3].split() == ["choice", *["1.00", "s"] * 3, "20.0%", "0.00", "5"]
    assert lines[-2:] == ["steps from 2.00 s to 3.00 s, the first 3.00 s", "1.60 images a second"]


def test_the_text_encoder_is_a_part_where_it_is_asked_for():
    pytest.importorskip("transformers", reason="the text encoder's network comes from there")
    painter = ours("nano", size=64, num_steps=1, residual_steps=0, with_text=True)
    drawn = painter.draw(None, steady(range(1, 9)))
    assert list(drawn.seconds) == ["text", "words", "passes", "choice", "decoder"]
    config = GeneratorConfig.preset("paper", text_length=5, text_width=24)
    states, mask = text_reader(config, 3, Place())()
    assert (tuple(states.shape), tuple(mask.shape)) == ((3, 5, 24), (3, 5))


def test_ways_that_cannot_be():
    with pytest.raises(ValueError, match="ways are eager, compile, graphs; got 'fast'"):
        Place(way="fast")
    with pytest.raises(ValueError, match="CUDA graphs need a CUDA device, got 'cpu'"):
        Place(way="graphs")


def test_a_compiled_model_runs_what_is_compiled_and_nothing_else(monkeypatch):
    """The compiler itself takes minutes on two cores: here it only notes what it was given."""
    compiled, ran = [], []

    def compile_it(function, **options):
        compiled.append((function.__qualname__, options))
        return lambda *inputs: ran.append(function.__qualname__) or function(*inputs)

    monkeypatch.setattr(torch, "compile", compile_it)
    plain = ours("nano", size=64, num_steps=2, residual_steps=3)
    fast = ours("nano", size=64, num_steps=2, residual_steps=3, place=Place(way="compile"))
    names = ["TokenTransformer.run", "ResidualHead.forward", "Sequential.forward"]
    assert compiled == [(name, {}) for name in names]
    with torch.inference_mode():
        pair = [one.paint(Stopwatch(), 2) for one in (plain, fast)]
    assert torch.equal(*pair)
    assert [ran.count(name) for name in names] == [2 * GUIDED, 3 * GUIDED, 1]


def test_what_a_recorded_graph_gives_is_copied_out_before_the_next_replay(monkeypatch):
    """A pretend recording, which answers in the same memory every time, as real ones do."""
    memory, asked = torch.zeros(3), []

    def compile_it(function, mode):
        asked.append(mode)
        return lambda x: (memory.copy_(function(x)), memory)

    monkeypatch.setattr(torch, "compile", compile_it)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: asked.append("step"))
    place = Place()
    object.__setattr__(place, "way", "graphs")
    replay = place.fast(lambda x: x + 1)
    first, _ = replay(torch.tensor([1.0, 2.0, 3.0]))
    replay(torch.tensor([7.0, 8.0, 9.0]))
    assert first.tolist() == [2.0, 3.0, 4.0]
    assert asked == ["reduce-overhead", "step", "step"]


def test_half_as_many_bits():
    drawn = ours("nano", size=64, num_steps=1, place=Place(dtype=torch.bfloat16)).draw()
    assert isinstance(drawn, Drawn)
