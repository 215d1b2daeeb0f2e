"""The sampler with made-up logits: what it reveals, in which order, and what it leaves alone."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcar_edu.generator import sample_tokens
from dcar_edu.generator.masking import picture_orders, reveal_counts
from dcar_edu.generator.sampling import annealing, gumbel

B, H, W, K = 2, 3, 4, 7


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def noisy(seed=0):
    """Logits that depend on what is seen and on the step."""
    table = torch.randn(K + 1, K, generator=seeded(seed))

    def predict(indices, step):
        return table[indices].flatten(1, 2).cumsum(1) * 0.5 + 0.1 * step

    return predict


def with_known(*hidden_counts, seed=0):
    """A grid of random tokens with so many hidden ones in each picture."""
    grid = torch.randint(K, (len(hidden_counts), H * W), generator=seeded(seed))
    for row, count in zip(grid, hidden_counts, strict=True):
        row[torch.randperm(H * W, generator=seeded(seed + 1))[:count]] = K
    return grid.reshape(-1, H, W)


def run(predict, b=B, **options):
    options.setdefault("generator", seeded(0))
    return list(sample_tokens(predict, (b, H, W), K, **options))


@given(
    counts=st.lists(st.integers(0, H * W), min_size=1, max_size=3),
    num_steps=st.integers(1, H * W),
    temperature=st.sampled_from([0.0, 1.5]),
    order=st.sampled_from(["confidence", "halton", "raster"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_each_token_is_revealed_once_and_never_changes(counts, num_steps, temperature, order, seed):
    before = with_known(*counts, seed=seed)
    steps = run(noisy(seed), len(counts), num_steps=num_steps, temperature=temperature,
                order=order, initial=before, generator=seeded(seed))  # fmt: skip
    plans = [reveal_counts(n, min(num_steps, n)) if n else [] for n in counts]
    assert len(steps) == max(map(len, plans))
    hidden = before == K
    for place, step in enumerate(steps):
        assert step.step == place + 1
        assert torch.equal(step.indices == K, step.mask)
        assert torch.equal(step.indices[~hidden], before[~hidden])
        assert not (step.mask & ~hidden).any()
        expected = [plan[place] if place < len(plan) else 0 for plan in plans]
        assert (hidden.sum((1, 2)) - step.mask.sum((1, 2))).tolist() == expected
        assert step.active.tolist() == [place < len(plan) for plan in plans]
        assert torch.equal(step.confidence == math.inf, ~hidden)
        hidden, before = step.mask, step.indices
    assert not steps or not hidden.any()


def test_unequal_masks_keep_known_tokens():
    """Counts of 12, 3 and 0: each picture has its own schedule."""
    start = with_known(12, 3, 0)
    steps = run(noisy(), 3, num_steps=6, initial=start)
    left = [step.mask.sum((1, 2)).tolist() for step in steps]
    assert left == [[10, 2, 0], [9, 1, 0], [8, 0, 0], [6, 0, 0], [4, 0, 0], [0, 0, 0]]
    assert torch.equal(steps[-1].indices[2], start[2])


def test_a_plan_for_all_tokens_keeps_known_ones_too():
    """As released, but each picture by its own count: one token a step until the plan is met."""
    start = with_known(10, 3, 1, 0)
    steps = run(noisy(), 4, num_steps=4, initial=start, schedule_on="all")
    # Of 12 tokens the plan leaves 10, 8, 5 and 0 hidden.
    left = [step.mask.sum((1, 2)).tolist() for step in steps]
    assert left == [[9, 2, 1, 0], [8, 1, 1, 0], [5, 1, 1, 0], [0, 0, 0, 0]]
    assert torch.equal(steps[-1].indices[start < K], start[start < K])
    assert [step.active.tolist() for step in steps] == [[True, True, True, False]] * 4
    fresh = {how: run(noisy(), num_steps=5, schedule_on=how)[-1] for how in ("all", "hidden")}
    assert torch.equal(fresh["all"].indices, fresh["hidden"].indices)


def test_nothing_hidden_asks_nothing():
    def never(indices, step):
        raise AssertionError("the model was called")

    assert run(never, initial=with_known(0, 0)) == []


@given(
    num_steps=st.integers(1, H * W),
    temperature=st.sampled_from([0.0, 1.5]),
    order=st.sampled_from(["confidence", "halton", "raster"]),
    schedule_on=st.sampled_from(["hidden", "all"]),
    hidden=st.lists(st.integers(1, H * W), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_an_oracle_rebuilds_the_picture(num_steps, temperature, order, schedule_on, hidden, seed):
    initial = with_known(*hidden, seed=seed)
    filled = torch.randint(K, initial.shape, generator=seeded(seed + 2))
    truth = torch.where(initial == K, filled, initial)
    logits = 1e4 * torch.nn.functional.one_hot(truth.flatten(1), K)
    steps = run(lambda *_: logits, len(hidden), num_steps=num_steps, temperature=temperature,
                order=order, schedule_on=schedule_on, initial=initial)  # fmt: skip
    assert torch.equal(steps[-1].indices, truth)


def graded(order):
    """The guess at ``order[i]`` is the i-th surest."""
    logits = torch.zeros(1, H * W, K)
    logits[0, order, 2] = torch.arange(H * W, 0, -1).float()
    return logits


def test_the_surest_guesses_are_kept_first():
    order = torch.randperm(H * W, generator=seeded(4))
    steps = run(lambda *_: graded(order), 1, num_steps=12, temperature=0)
    revealed, hidden = [], torch.ones(H * W, dtype=torch.bool)
    for step in steps:
        revealed += (hidden & ~step.mask.flatten()).nonzero().flatten().tolist()
        hidden = step.mask.flatten()
    assert revealed == order.tolist()


def test_confidence_is_the_annealed_logit_of_the_guess():
    order = torch.arange(H * W)
    steps = run(lambda *_: graded(order), 1, num_steps=4, temperature=0)
    expected = torch.arange(H * W, 0, -1).float() / (0.5 + 0.8 * 3 / 4)
    torch.testing.assert_close(steps[0].confidence.flatten(), expected)
    again = steps[1].confidence.flatten()
    known = ~steps[0].mask.flatten()
    assert (again[known] == math.inf).all()
    torch.testing.assert_close(again[~known], expected[~known] * 1.1 / 0.9)


def test_ties_reveal_exactly_as_many_as_planned():
    steps = run(lambda *_: torch.zeros(B, H * W, K), num_steps=5, temperature=0)
    left = [step.mask.sum((1, 2)).tolist() for step in steps]
    plan = reveal_counts(H * W, 5)
    assert left == [[12 - sum(plan[: i + 1])] * B for i in range(5)]


@pytest.mark.parametrize("order", ["halton", "raster"])
def test_fixed_orders_are_kept(order):
    ranks = picture_orders(order, H, W)
    for step in run(noisy(), order=order, num_steps=5):
        revealed = ~step.mask.flatten(1)
        for row in revealed:
            assert ranks[row].max() < row.sum()


def test_temperature_0_needs_no_luck():
    first, second = (run(noisy(), temperature=0, generator=seeded(s))[-1] for s in (1, 2))
    assert torch.equal(first.indices, second.indices)
    first, second = (run(noisy(), temperature=1.5, generator=seeded(s))[-1] for s in (1, 2))
    assert not torch.equal(first.indices, second.indices)


def test_the_last_step_is_greedy_whatever_the_temperature():
    """One step is the last step: the noise has cooled to 0."""
    predict = noisy()
    guess = predict(torch.full((B, H, W), K), 1).argmax(-1)
    (step,) = run(predict, num_steps=1, temperature=100.0)
    assert torch.equal(step.indices.flatten(1), guess)


@pytest.mark.parametrize("counts", [(12, 12, 12), (12, 3, 7), (0, 12, 1)])
def test_a_batch_is_as_good_as_single_pictures(counts):
    start, predict = with_known(*counts), noisy()
    sources = [seeded(10 + i) for i in range(3)]
    steps = run(predict, 3, initial=start, generator=sources, num_steps=6)
    for i in range(3):
        alone = seeded(10 + i)
        single = run(predict, 1, initial=start[i : i + 1], generator=alone, num_steps=6)
        drawn = single[-1].indices[0] if single else start[i]
        assert torch.equal(steps[-1].indices[i], drawn)
        assert torch.equal(sources[i].get_state(), alone.get_state()), "what is drawn next differs"


def test_a_seed_decides_and_the_global_source_is_left_alone():
    state = torch.get_rng_state()
    first, second = (run(noisy(), generator=seeded(3))[-1].indices for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    unseeded = [run(noisy(), generator=None)[-1].indices for _ in range(2)]
    assert not torch.equal(*unseeded)


def test_stored_noise_replaces_the_generator():
    source = seeded(0)
    noise = [(torch.rand(B, H * W, K, generator=source), torch.rand(B, H * W, generator=source))
             for _ in range(5)]  # fmt: skip
    first, second = (run(noisy(), noise=noise, num_steps=5, generator=seeded(s)) for s in (1, 2))
    assert torch.equal(first[-1].indices, second[-1].indices)
    # By hand: the first step's guesses, share 1/5.
    logits = noisy()(torch.full((B, H, W), K), 1) / (0.5 + 0.8 * 0.8)
    guess = (logits - 1.2 * (-noise[0][0].log()).log()).argmax(-1)
    shown = ~first[0].mask.flatten(1)
    assert torch.equal(first[0].indices.flatten(1)[shown], guess[shown])


def test_gumbel_makes_a_softmax_draw():
    """4000 draws, a standard deviation of at most .008: .03 is a bound of four."""
    logits = torch.tensor([0.0, 1.0, 2.0])
    drawn = (logits + gumbel(torch.rand(4000, 3, generator=seeded(0)))).argmax(1)
    shares = torch.bincount(drawn, minlength=3) / 4000
    torch.testing.assert_close(shares, logits.softmax(0), atol=0.03, rtol=0)
    assert gumbel(torch.tensor([0.0, 1.0])).isfinite().all()


def test_annealing_golden():
    shares = torch.arange(1, 13) / 12
    found = [round(t, 4) for t in annealing(shares).tolist()]
    assert found == [1.2333, 1.1667, 1.1, 1.0333, 0.9667, 0.9, 0.8333, 0.7667, 0.7, 0.6333, 0.5667,
                     0.5]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "between 1 and the 12 tokens of a 3x4 grid, got 0"),
        ({"num_steps": 13}, "between 1 and the 12 tokens of a 3x4 grid, got 13"),
        ({"schedule_on": "none"}, "schedule_on must be 'hidden' or 'all', got 'none'"),
        ({"order": "spiral"}, "order must be 'confidence', 'halton' or 'raster', got 'spiral'"),
        ({"initial": torch.zeros(2, 4, 3, dtype=torch.int64)}, r"initial must have shape \(2, 3, "),
        ({"initial": torch.full((2, 3, 4), 8)}, r"values 0\.\.7 .* with 8\.\.8"),
        ({"initial": torch.full((2, 3, 4), -1)}, r"values 0\.\.7 .* with -1\.\.-1"),
        ({"generator": [seeded(0)]}, "one for each of the 2 pictures; got 1"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        run(noisy(), **options)
