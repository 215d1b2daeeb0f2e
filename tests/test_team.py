"""One training cut into micro-batches or over processes: the numbers must not notice.

In float64, because Adam turns the rounding errors of a gradient that should be 0 (such as that of
a key's bias) into steps of a size of their own.
"""

import copy

import pytest
import torch
from torch import nn

from dcar_edu.generator import GeneratorConfig, MaskedGenerator
from dcar_edu.generator.training import GeneratorTraining, TokenBatch, train_generator
from dcar_edu.generator.training import begin as begin_generator
from dcar_edu.state import TrainingState
from dcar_edu.team import Team
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig
from dcar_edu.tokenizer.training import Stage, TokenizerTraining, train_tokenizer
from dcar_edu.tokenizer.training import begin as begin_tokenizer

PLAN = GeneratorTraining(steps=5, warmup_steps=2, text_drop=0.5, diffusion_weight=0.7)
STAGES = (
    Stage("warm-up", 2, "continuous", ("encoder", "decoder")),
    Stage("discrete", 3, "discrete", starts_codes=True),
    Stage("alternate", 3, "alternate", ("decoder",)),
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def made_generator() -> MaskedGenerator:
    torch.manual_seed(0)
    return MaskedGenerator(
        GeneratorConfig(
            width=16, depth=2, heads=2, mlp_width=24, num_codes=11, text_width=12, text_length=6,
            head_width=8, head_depth=1, grid=(3, 4), latent_channels=5, learned_variance=True,
        )
    ).double()  # fmt: skip


def made_tokenizer(norm: str = "layer") -> HybridTokenizer:
    torch.manual_seed(0)
    return HybridTokenizer(
        TokenizerConfig(
            widths=(4, 8, 8), encoder_depths=(0, 1, 1), decoder_depths=(0, 1, 1),
            blocks=("res", "res", "evit"), decoder_norms=(norm, norm, "layer"),
            decoder_activations=("silu",) * 3, num_codes=23, latent_channels=4, head_width=4,
            expansion=2,
        )
    ).double()  # fmt: skip


@pytest.fixture
def model() -> MaskedGenerator:
    return made_generator()


@pytest.fixture
def tokenizer() -> HybridTokenizer:
    return made_tokenizer()


def tokens(b=8):
    source = seeded(1)
    return [
        TokenBatch(
            torch.randint(11, (b, 3, 4), generator=source),
            0.107 * torch.randn(b, 5, 3, 4, generator=source),
            torch.randn(b, 6, 12, generator=source),
            torch.arange(6) < torch.randint(1, 7, (b, 1), generator=source),
        )
        for _ in range(3)
    ]


def pictures(b=8):
    source = seeded(2)
    return [
        torch.rand(b, 3, 8, 12, generator=source, dtype=torch.float64) * 2 - 1 for _ in range(3)
    ]


def plan(**changes):
    return TokenizerTraining(STAGES, warmup_steps=2, revive_every=2, l2=0.5, **changes)


def close(records, others):
    for one, other in zip(records, others, strict=True):
        numbers, wanted = vars(one), vars(other)
        words = {"path", "stage"} & set(wanted)
        assert [numbers.pop(k) for k in words] == [wanted.pop(k) for k in words]
        assert numbers == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def same_weights(model, other):
    for name, value in other.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("micro", [2, 4, 3])
def test_micro_batches_of_the_generator_change_nothing(model, micro):
    other = copy.deepcopy(model)
    wanted = list(train_generator(other, tokens(), PLAN))
    records = list(train_generator(model, tokens(), PLAN, team=Team(micro)))
    close(records, wanted)
    same_weights(model, other)


@pytest.mark.parametrize("micro", [2, 4, 3])
def test_micro_batches_of_the_tokenizer_change_nothing(tokenizer, micro):
    """Through all stages, with codes put at latents and dead ones revived."""
    other = copy.deepcopy(tokenizer)
    wanted = list(train_tokenizer(other, pictures(), plan()))
    records = list(train_tokenizer(tokenizer, pictures(), plan(), team=Team(micro)))
    close(records, wanted)
    same_weights(tokenizer, other)


def test_rows_and_parts():
    team = Team(micro=4)
    assert team.rows(6) == slice(0, 6)
    assert team.parts(6) == [slice(0, 1), slice(1, 3), slice(3, 4), slice(4, 6)]
    assert team.parts(2) == [slice(0, 1), slice(1, 2)]
    team.rank, team.size = 2, 3
    assert team.rows(6) == slice(4, 6)
    with pytest.raises(ValueError, match="batch of 7 cannot be split evenly over 3 processes"):
        team.rows(7)
    with pytest.raises(ValueError, match="micro-batches a step must be 1 or more, got 0"):
        Team(micro=0)


class Scarce:
    """Raise torch's error for lack of memory in chosen calls of a module's forward."""

    def __init__(self, module: nn.Module, calls: set[int]):
        self.count, self.calls, self.sizes = 0, calls, []
        module.register_forward_pre_hook(self)

    def __call__(self, module, inputs):
        self.count += 1
        self.sizes.append(len(inputs[0]))
        if self.count in self.calls:
            raise torch.OutOfMemoryError("no memory left, the test says")


def test_a_step_without_memory_is_repeated_in_smaller_pieces(model, capsys):
    """The random numbers, and with them the run, stay as they would have been."""
    other = copy.deepcopy(model)
    wanted = list(train_generator(other, tokens(), PLAN))
    scarce, team = Scarce(model.blocks[0].attention, {3}), Team()
    records = list(train_generator(model, tokens(), PLAN, team=team))
    close(records, wanted)
    same_weights(model, other)
    assert team.micro == 2
    assert scarce.sizes == [8, 8, 8] + [4] * 6
    said = capsys.readouterr().out
    assert said.count("out of GPU memory at step 2: going on with 2 micro-batches") == 1


def test_a_repeated_step_keeps_no_trace_of_the_first_try(tokenizer, capsys):
    """Neither gradients of the rows that fitted, nor moved averages of BatchNorm."""
    tokenizer, other = made_tokenizer("batch"), made_tokenizer("batch")
    wanted = list(train_tokenizer(other, pictures(), plan(), team=Team(4)))
    Scarce(tokenizer.decoder[-1], {2})
    records = list(train_tokenizer(tokenizer, pictures(), plan(), team=Team(2)))
    close(records, wanted)
    same_weights(tokenizer, other)
    assert "BatchNorm, if the model has it, now sees smaller" in capsys.readouterr().out


def test_a_second_lack_of_memory_says_what_to_try(model, capsys):
    Scarce(model.blocks[0].attention, {2, 5})
    message = "(?s)out of memory at step 2 with 2 micro.*Accumulate .*FSDP"
    with pytest.raises(ValueError, match=message):
        list(train_generator(model, tokens(), PLAN))


def test_a_team_is_kept_by_its_state(model):
    state = begin_generator(model, PLAN, Team(2))
    sizes = Scarce(model.blocks[0].attention, set()).sizes
    next(train_generator(model, tokens(), PLAN, state=state))
    assert sizes == [4, 4]


def test_losses_stay_float32_where_the_network_is_bfloat16(model, tokenizer):
    """What autocast reaches is coarse; the loss of a batch must not be."""

    class Half(Team):
        def precision(self):
            return torch.autocast("cpu", torch.bfloat16)

    seen, images = [], [batch.float() for batch in pictures()]
    model.head.register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
    tokenizer.decoder[-1].register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
    (first, *_) = train_generator(model.float(), tokens(), PLAN, team=Half())
    given = []

    def distance(drawn, wanted):
        given.append(drawn.dtype)
        return (drawn - wanted).square().mean((1, 2, 3))

    judged = plan(perceptual_weight=0.1)
    steps = train_tokenizer(tokenizer.float(), images, judged, perceptual=distance, team=Half())
    (other, *_) = steps
    assert set(given) == {torch.float32}
    assert set(seen) == {torch.bfloat16}
    for value in (first.token_loss, first.diffusion_loss, other.pixel_loss, other.code_loss):
        assert torch.tensor(value).bfloat16().item() != value


def test_what_batchnorm_sees_is_said_once(capsys):
    for norm, micro, times in (("batch", 2, 1), ("batch", 1, 0), ("layer", 2, 0)):
        list(train_tokenizer(made_tokenizer(norm), pictures(), plan(), team=Team(micro)))
        assert capsys.readouterr().out.count("this model has BatchNorm") == times


def test_begin_of_both_takes_a_team(model, tokenizer):
    team = Team(3)
    assert begin_generator(model, PLAN, team).team is team
    assert begin_tokenizer(tokenizer, plan(), team).team is team
    assert isinstance(TrainingState.begin(nn.Linear(2, 3), learning_rate=0.1, betas=(0.9, 0.9),
                                          weight_decay=0.1, ema_decay=0.9).team, Team)  # fmt: skip
