"""What must hold for every drawing, whatever its seeds, masks, steps and guidance."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcar_edu import drawing
from dcar_edu.drawing import Drawing, in_chunks, seed_numbers, seeds
from dcar_edu.generator import GeneratorConfig, MaskedGenerator
from dcar_edu.generator.guidance import SCHEDULES, Guidance

H, W, K = 2, 3, 7


@cache
def model():
    """In float64, no weight zero."""
    config = GeneratorConfig(
        width=16, depth=2, heads=2, mlp_width=24, num_codes=K, text_width=12, text_length=6,
        head_width=8, head_depth=1, grid=(H, W), latent_channels=4,
    )  # fmt: skip
    made = MaskedGenerator(config).double().eval()
    source = torch.Generator().manual_seed(1)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=source)
    return made


def words(rows):
    """Prompts of 1 to 6 words, told by a number."""
    tables = [torch.randn(6, 12, generator=torch.Generator().manual_seed(r)) for r in rows]
    lengths = torch.tensor([[1 + row % 6] for row in rows])
    return torch.stack(tables).double(), torch.arange(6)[None] < lengths


def start(hidden_counts):
    """Grids with so many hidden tokens; the others are known."""
    grids = torch.arange(H * W).remainder(K).repeat(len(hidden_counts), 1)
    hidden = torch.arange(H * W) < torch.tensor(hidden_counts)[:, None]
    return grids.masked_fill(hidden, K).reshape(-1, H, W)


def draw(rows, hidden_counts, guidance, *, null=True, steps=4, **options):
    text, mask = words(rows)
    with torch.no_grad():
        memories = [model().read_text(text, mask), model().read_text(None, mask) if null else None]
    drawing = Drawing(
        model(), *memories, (len(rows), H, W), steps, guidance, 1.5, seeds(rows, len(rows)),
        start(hidden_counts), **options,
    )  # fmt: skip
    for _ in drawing.steps():
        pass
    return drawing.indices, drawing.residuals(3, 2.0)


guidances = st.builds(
    Guidance,
    st.sampled_from([0.5, 1.0, 4.5]),
    st.sampled_from(SCHEDULES),
    residual=st.sampled_from([None, 0.0, 2.0]),
)
plans = st.sampled_from(["hidden", "all"])


@given(
    pictures=st.lists(st.tuples(st.integers(0, 99), st.integers(1, H * W)), min_size=1, max_size=4),
    guidance=guidances,
    steps=st.integers(1, H * W),
    schedule_on=plans,
)
@settings(max_examples=25, deadline=None)
def test_a_batch_is_as_good_as_single_pictures(pictures, guidance, steps, schedule_on):
    rows, counts = (list(column) for column in zip(*pictures, strict=True))
    options = {"steps": steps, "schedule_on": schedule_on}
    indices, residuals = draw(rows, counts, guidance, **options)
    for i, (row, count) in enumerate(pictures):
        single, alone = draw([row], [count], guidance, **options)
        assert torch.equal(indices[i], single[0])
        torch.testing.assert_close(residuals[i], alone[0], atol=1e-9, rtol=0)


@given(
    row=st.integers(0, 99),
    count=st.integers(1, H * W),
    schedule=st.sampled_from(SCHEDULES),
    steps=st.integers(1, H * W),
    schedule_on=plans,
)
@settings(max_examples=25, deadline=None)
def test_guidance_0_is_the_conditional_pass_alone(row, count, schedule, steps, schedule_on):
    off, options = Guidance(0.0, schedule), {"steps": steps, "schedule_on": schedule_on}
    both = draw([row], [count], off, **options)
    alone = draw([row], [count], off, null=False, **options)
    assert torch.equal(both[0], alone[0])
    assert torch.equal(both[1], alone[1])


@given(rows=st.lists(st.integers(0, 99), min_size=2, max_size=3), guidance=guidances)
@settings(max_examples=10, deadline=None)
def test_known_tokens_stay(rows, guidance):
    counts = [1 + row % (H * W) for row in rows]
    indices, _ = draw(rows, counts, guidance)
    before = start(counts)
    assert torch.equal(indices[before < K], before[before < K])
    assert indices.max() < K


def test_guidance_changes_a_drawing():
    """Else the tests above could not fail."""
    plain, pushed = (draw([3, 5], [6, 4], Guidance(s)) for s in (0.0, 4.5))
    assert not torch.equal(plain[0], pushed[0])
    assert (plain[1] - pushed[1]).abs().max() > 1e-3


def test_few_hidden_tokens_take_the_last_steps_of_the_guidance_schedule(monkeypatch):
    """Four steps, 6, 2 and 1 hidden tokens: their last steps are guided alike."""
    asked, guide = [], drawing.guide
    monkeypatch.setattr(
        drawing, "guide", lambda c, u, s: asked.append(s.flatten().tolist()) or guide(c, u, s)
    )
    draw([3, 5, 8], [6, 2, 1], Guidance(4.0, "linear"))
    assert asked == [[0, 2, 3], [1, 3, 3], [2, 3, 3], [3, 3, 3]]
    asked.clear()
    draw([3, 5, 8], [6, 2, 1], Guidance(4.0, "linear"), schedule_on="all")
    assert asked == [[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3]]


@pytest.mark.parametrize("schedule", ["linear", "power-cosine"])
def test_a_single_hidden_token_is_guided(schedule):
    """Though the schedule begins without guidance: by the scale of its last step."""
    rows, counts, own = list(range(12)), [1] * 12, {"residual": 1.0}
    found, residuals = draw(rows, counts, Guidance(4.5, schedule, **own))
    last, same = draw(rows, counts, Guidance(Guidance(4.5, schedule).at(4, 4), **own))
    assert torch.equal(found, last)
    torch.testing.assert_close(residuals, same, atol=1e-9, rtol=0)
    assert not torch.equal(found, draw(rows, counts, Guidance(0.0, **own))[0])


def test_chunks_keep_prompts_and_seeds_together():
    prompts = [f"fox {i}" for i in range(70)]
    chunks = list(in_chunks(prompts, 5))
    assert [len(some) for some, _ in chunks] == [32, 32, 6]
    assert [p for some, _ in chunks for p in some] == prompts
    assert [n for _, numbers in chunks for n in numbers] == list(range(5, 75))
    assert list(in_chunks("fox", [3])) == [(["fox"], [3])]
    assert list(in_chunks([], 3)) == [([], [])]


def test_seed_numbers():
    assert seed_numbers(4, 3) == [4, 5, 6]
    assert seed_numbers([9, 2], 2) == [9, 2]
    first, second = seed_numbers(None, 2)
    assert second == first + 1
    assert [g.initial_seed() for g in seeds(4, 3)] == [4, 5, 6]
    with pytest.raises(ValueError, match="one for each of the 3 prompts; got 2"):
        seed_numbers([1, 2], 3)
