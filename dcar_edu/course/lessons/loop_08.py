"""Lesson 08: which tokens stay hidden, and the whole loop: exercises 08.4 and 08.5.

The answer of 08.1 stands here too, for the loop follows its plan.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Spy, Wrong, describe, same

Predict = Callable[[Tensor, int], Tensor]


def masked_after(tokens: int, steps: int) -> list[int]:
    """How many tokens are hidden after each step: the reference answer of 08.1."""
    counts, hidden = [], tokens
    for step in range(1, steps + 1):
        planned = math.floor(tokens * (2 / math.pi) * math.acos(step / steps))
        hidden = min(hidden - 1, planned) if step < steps else 0
        counts.append(hidden)
    return counts


# 08.4 -----------------------------------------------------------------------------------------


def remask(
    ids: Tensor, proposal: Tensor, confidence: Tensor, mask_id: int, keep_masked: Tensor
) -> Tensor:
    """Reveal the surest guesses, keep the rest hidden: the reference answer of 08.4."""
    hidden = ids == mask_id
    order = confidence.masked_fill(~hidden, math.inf).argsort(dim=1, stable=True)
    stay = order.argsort(dim=1) < keep_masked[:, None]
    return torch.where(hidden & ~stay, proposal, ids)


HIDDEN = 99
"""The mask id of the checks."""


def _test_remask(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    ids = torch.randint(5, (4, 9), generator=generator)
    hidden = torch.rand(4, 9, generator=generator).argsort(1) < torch.tensor([[9], [6], [4], [1]])
    ids[hidden] = HIDDEN
    proposal = torch.randint(10, 15, (4, 9), generator=generator)
    confidence = torch.randn(4, 9, generator=generator)
    keep = torch.tensor([5, 2, 3, 0])
    for what, sure in (
        ("graded confidences", confidence),
        ("confidences that tie", torch.zeros(4, 9)),
        ("low confidence in known tokens", torch.where(hidden, confidence, -50.0)),
    ):
        got = fn(ids.clone(), proposal, sure, HIDDEN, keep)
        _remasked_rightly(got, ids, proposal, keep, what)
        if "tie" not in what:
            same(got, reference(ids, proposal, sure, HIDDEN, keep), what)


def _remasked_rightly(got: object, ids: Tensor, proposal: Tensor, keep: Tensor, what: str) -> None:
    """Known tokens stand, the counts are exact, and what was revealed is the proposal."""
    if not isinstance(got, Tensor) or got.shape != ids.shape:
        raise Wrong(f"{what}: got {describe(got)}, expected ids of shape {tuple(ids.shape)}.")
    known = ids != HIDDEN
    if (got == HIDDEN)[known].any():
        raise Wrong(f"{what}: got known tokens that are hidden again, expected them to stay.")
    if not torch.equal(got[known], ids[known]):
        raise Wrong(f"{what}: got other ids where tokens were known, expected them to stay.")
    left = (got == HIDDEN).sum(1)
    if not torch.equal(left, keep):
        raise Wrong(
            f"{what}: got {left.tolist()} hidden tokens in the four rows, expected exactly "
            f"{keep.tolist()}."
        )
    fresh = ~known & (got != HIDDEN)
    if not torch.equal(got[fresh], proposal[fresh]):
        raise Wrong(f"{what}: got ids that nobody proposed, expected the proposals.")


def _row_by_row(
    ids: Tensor, proposal: Tensor, confidence: Tensor, mask_id: int, keep_masked: Tensor
) -> Tensor:
    new = ids.clone()
    for row, keep in enumerate(keep_masked.tolist()):
        places = (ids[row] == mask_id).nonzero().flatten()
        ranked = places[confidence[row, places].argsort(descending=True)]
        revealed = ranked[: len(places) - keep]
        new[row, revealed] = proposal[row, revealed]
    return new


def _hides_the_surest(
    ids: Tensor, proposal: Tensor, confidence: Tensor, mask_id: int, keep_masked: Tensor
) -> Tensor:
    return remask(ids, proposal, -confidence, mask_id, keep_masked)


def _hides_known_ones(
    ids: Tensor, proposal: Tensor, confidence: Tensor, mask_id: int, keep_masked: Tensor
) -> Tensor:
    new = torch.where(ids == mask_id, proposal, ids)
    stay = confidence.argsort(dim=1, stable=True).argsort(dim=1) < keep_masked[:, None]
    return new.masked_fill(stay, mask_id)


def _first_count_for_all(
    ids: Tensor, proposal: Tensor, confidence: Tensor, mask_id: int, keep_masked: Tensor
) -> Tensor:
    return remask(ids, proposal, confidence, mask_id, keep_masked[:1].expand(len(ids)))


def _by_threshold(
    ids: Tensor, proposal: Tensor, confidence: Tensor, mask_id: int, keep_masked: Tensor
) -> Tensor:
    hidden = ids == mask_id
    ranked = confidence.masked_fill(~hidden, math.inf).sort(dim=1).values
    cut = ranked.gather(1, (keep_masked - 1).clamp(min=0)[:, None])
    stay = (confidence <= cut) & (keep_masked > 0)[:, None]
    return torch.where(hidden & ~stay, proposal, ids)


def _overwrites_known_ones(
    ids: Tensor, proposal: Tensor, confidence: Tensor, mask_id: int, keep_masked: Tensor
) -> Tensor:
    still = remask(ids, proposal, confidence, mask_id, keep_masked) == mask_id
    return proposal.masked_fill(still, mask_id)


# 08.5 -----------------------------------------------------------------------------------------


def sample(predict: Predict, batch: int, tokens: int, steps: int, mask_id: int) -> Tensor:
    """Draw all tokens in a few steps: the reference answer of 08.5."""
    ids = torch.full((batch, tokens), mask_id)
    for step, keep in enumerate(masked_after(tokens, steps), start=1):
        confidence, proposal = predict(ids, step).max(dim=-1)
        ids = remask(ids, proposal, confidence, mask_id, torch.full((batch,), keep))
    return ids


def _test_sample(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    codes = 11
    for batch, tokens, steps in ((2, 16, 12), (3, 20, 4), (2, 7, 7), (2, 5, 1)):
        what = f"{tokens} tokens in {steps} steps"
        target = torch.randint(codes, (batch, tokens), generator=generator)
        strength = 1 + torch.rand(batch, tokens, 1, generator=generator)
        oracle = _oracle(target, strength, codes, shift=0)
        same(fn(oracle, batch, tokens, steps, codes), target, f"{what}, an oracle answers")
        moody = Spy(_oracle(target, strength, codes, shift=1))
        theirs = Spy(_oracle(target, strength, codes, shift=1))
        got = fn(moody, batch, tokens, steps, codes)
        want = reference(theirs, batch, tokens, steps, codes)
        if len(moody.calls) != steps:
            raise Wrong(f"{what}: got {len(moody.calls)} calls of predict, expected {steps}.")
        for place, (mine, ours) in enumerate(zip(moody.calls, theirs.calls, strict=True), start=1):
            hidden = [(call[0] == codes).sum(1).tolist() for call in (mine, ours)]
            same(hidden[0], hidden[1], f"{what}: hidden tokens that predict sees in step {place}")
            same(mine[1], ours[1], f"{what}: the number of the step")
            same(mine[0], ours[0], f"{what}: the ids that predict sees in step {place}")
        same(got, want, f"{what}, a network whose guesses change with every step")


def _oracle(target: Tensor, strength: Tensor, codes: int, shift: int) -> Predict:
    """Logits that prefer ``target``, or in step k the code ``shift * k`` further on."""

    def predict(ids: Tensor, step: int) -> Tensor:
        wanted = (target + shift * step) % codes
        return strength * torch.nn.functional.one_hot(wanted, codes).float()

    return predict


def _sample_with_argsort(
    predict: Predict, batch: int, tokens: int, steps: int, mask_id: int
) -> Tensor:
    from dcar_edu.generator.masking import reveal_counts

    ids = torch.full((batch, tokens), mask_id)
    for step, count in enumerate(reveal_counts(tokens, steps), start=1):
        logits = predict(ids, step)
        proposal = logits.argmax(-1)
        sure = logits.gather(-1, proposal[..., None])[..., 0]
        sure = torch.where(ids == mask_id, sure, torch.tensor(-math.inf))
        best = sure.topk(count, dim=1).indices
        ids = ids.scatter(1, best, proposal.gather(1, best))
    return ids


def _loop(
    predict: Predict, tokens: int, counts: list[int], ids: Tensor, mask_id: int, again: bool
) -> Tensor:
    """The loop of the wrong answers: ``again`` forgets what is known in each step."""
    for step, keep in enumerate(counts, start=1):
        confidence, proposal = predict(ids, step).max(dim=-1)
        old = torch.full_like(ids, mask_id) if again else ids
        ids = remask(old, proposal, confidence, mask_id, torch.full((len(ids),), keep))
    return ids


def _stops_a_step_early(
    predict: Predict, batch: int, tokens: int, steps: int, mask_id: int
) -> Tensor:
    ids = torch.full((batch, tokens), mask_id)
    return _loop(predict, tokens, masked_after(tokens, steps)[:-1], ids, mask_id, again=False)


def _forgets_what_is_known(
    predict: Predict, batch: int, tokens: int, steps: int, mask_id: int
) -> Tensor:
    ids = torch.full((batch, tokens), mask_id)
    return _loop(predict, tokens, masked_after(tokens, steps), ids, mask_id, again=True)


def _predicts_once(predict: Predict, batch: int, tokens: int, steps: int, mask_id: int) -> Tensor:
    ids = torch.full((batch, tokens), mask_id)
    first = predict(ids, 1)
    return _loop(lambda *_: first, tokens, masked_after(tokens, steps), ids, mask_id, again=False)


LOOP = (
    Exercise(
        id="08.4",
        reference=remask,
        test=_test_remask,
        mistakes=(
            Mistake("hides the surest guesses", _hides_the_surest),
            Mistake("hides known tokens again", _hides_known_ones),
            Mistake("the first picture's count for all", _first_count_for_all),
            Mistake("a threshold: ties hide too many", _by_threshold),
            Mistake("overwrites known tokens with proposals", _overwrites_known_ones),
        ),
        alternatives=(_row_by_row,),
        used_in="dcar_edu.generator.sampling.sample_tokens",
        slow_factor=200,  # microseconds a call: on a busy machine they vary 20-fold
    ),
    Exercise(
        id="08.5",
        reference=sample,
        test=_test_sample,
        mistakes=(
            Mistake("stops one step early", _stops_a_step_early),
            Mistake("forgets in each step what is known", _forgets_what_is_known),
            Mistake("asks the network only once", _predicts_once),
        ),
        alternatives=(_sample_with_argsort,),
        used_in="dcar_edu.generator.sampling.sample_tokens",
        slow_factor=50,
    ),
)
