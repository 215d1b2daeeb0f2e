"""The paper's claims beside what we measured: one row a claim, made from committed results.

``dcar course claims`` writes the table into the README, between two comments. Every number comes
from ``lessons/results/*.jsonl`` or from a shipped model's ``metrics.json``; "better" and "worse"
are verdicts of a paired t-test over three seeds, all else is "cannot tell".
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from dcar_edu import checkpoint
from dcar_edu.course.costs import cost_to_reach
from dcar_edu.course.execute import ROOT
from dcar_edu.course.experiments import results
from dcar_edu.course.studies.study_05 import SURE, verdict

LAST = 20
"""The last point of a curve in ``11_cross``."""
BEGIN, END = "<!-- claims: dcar course claims -->", "<!-- end of claims -->"


@dataclass(frozen=True)
class Runs:
    """All runs of an experiment at one budget."""

    root: Path
    name: str
    budget: str = "cpu"

    @cached_property
    def _arms(self) -> dict[str, dict[int, dict[str, float]]]:
        found: dict[str, dict[int, dict[str, float]]] = {}
        for line in results(self.name, self.root):
            if line["budget"] == self.budget:
                found.setdefault(line["arm"], {})[line["seed"]] = line["metrics"]
        return found

    def values(self, arm: str, metric: str) -> list[float]:
        """One number a seed, in the order of the seeds.

        Raises:
            ValueError: no such arm or metric.
        """
        if arm not in self._arms:
            raise ValueError(
                f"{self.name} has no arm '{arm}' at {self.budget}: it has {', '.join(self._arms)}. "
                f"Run it: dcar experiment {self.name}."
            )
        runs = self._arms[arm]
        missing = [seed for seed in runs if metric not in runs[seed]]
        if missing:
            raise ValueError(
                f"{self.name}, arm '{arm}', seed {missing[0]} has no '{metric}': it has "
                f"{', '.join(runs[missing[0]])}. Run it again: dcar experiment {self.name} --force."
            )
        return [runs[seed][metric] for seed in sorted(runs)]

    def names(self, arm: str) -> list[str]:
        """What was measured, in its order in the file."""
        return list(next(iter(self._arms.get(arm, {0: {}}).values())))

    def mean(self, arm: str, metric: str) -> float:
        """Over the seeds."""
        return statistics.mean(self.values(arm, metric))

    def compare(
        self, a: str, b: str, metric: str, form: str = ".2f", lower_is_better: bool = False
    ) -> str:
        """Say both means and the verdict on ``a``: "18.35 against 18.45: worse"."""
        ours, theirs = self.values(a, metric), self.values(b, metric)
        sign = -1 if lower_is_better else 1
        word = verdict([sign * v for v in ours], [sign * v for v in theirs], SURE[len(ours)])
        return f"{statistics.mean(ours):{form}} against {statistics.mean(theirs):{form}}: {word}"


@dataclass(frozen=True)
class Sources:
    """Where the numbers of the table come from."""

    root: Path

    def runs(self, name: str) -> Runs:
        """An experiment's runs."""
        return Runs(self.root, name)

    def model(self, name: str) -> dict[str, Any]:
        """The evaluation of a shipped model, as its card tells it."""
        path = self.root / "data" / "checkpoints" / name / "metrics.json"
        return json.loads(path.read_text("utf-8"))["evaluation"]


@dataclass(frozen=True)
class Claim:
    """A row."""

    paper: str
    """What the paper says, in our words."""
    here: Callable[[Sources], str]
    """What we measured."""
    where: str
    """Who wants to know more."""


def _stages(of: Sources) -> str:
    runs = of.runs("05_ablation")
    stages, direct = "three stages", "direct"
    return (
        "three stages against everything at once, dB: hybrid "
        f"{runs.compare(stages, direct, 'psnr_hybrid')}; codes "
        f"{runs.compare(stages, direct, 'psnr_discrete')}. Against HART-style training: hybrid "
        f"{runs.compare(stages, 'HART style', 'psnr_hybrid')}; codes "
        f"{runs.compare(stages, 'HART style', 'psnr_discrete')}. With the warm-up against without: "
        f"codes {runs.compare(stages, 'no warm-up', 'psnr_discrete')}"
    )


def _interval(numbers: dict[str, Any], name: str, digits: int) -> str:
    """A number and its 95 % interval: ".424 [.379, .467]"."""
    low, high = numbers[f"{name}_interval"]
    return f"{numbers[name]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _reconstruction(of: Sources) -> str:
    split = of.model("emoji-256-cpu")["splits"]["held_out_concepts"]
    return (
        f"`emoji-256-cpu`, unseen concepts: rKID {_interval(split, 'rkid_efficientnet_hybrid', 0)} "
        f"against {_interval(split, 'rkid_efficientnet_discrete', 0)}; PSNR "
        f"{split['psnr_hybrid']:.1f} against {split['psnr_discrete']:.1f} dB"
    )


def _generation(of: Sources) -> str:
    runs, drawn = of.runs("10_hybrid"), of.model("emoji-256-cpu")["prompts"]
    hybrid, codes = drawn["hybrid"], drawn["discrete"]
    return (
        f"`emoji-128`: R@1 {runs.compare('hybrid', 'discrete', 'r1', '.3f')}; PSNR "
        f"{runs.compare('hybrid', 'discrete', 'psnr')}; KID "
        f"{runs.compare('hybrid', 'discrete', 'kid_efficientnet', '.0f', lower_is_better=True)}. "
        f"`emoji-256-cpu` ({drawn['prompts']} prompts, one seed): R@1 {_interval(hybrid, 'r1', 3)} "
        f"against {_interval(codes, 'r1', 3)}, gKID {_interval(hybrid, 'kid_efficientnet', 0)} "
        f"against {_interval(codes, 'kid_efficientnet', 0)}"
    )


def _steps(of: Sources) -> str:
    runs = of.runs("08_steps")
    few, many = "12 steps", "token by token"
    return (
        f"12 guided steps against token by token: token match "
        f"{runs.compare(few, many, 'token_match', '.3f')}; R@1 "
        f"{runs.compare(few, many, 'r1', '.3f')}; KID "
        f"{runs.compare(few, many, 'kid_efficientnet', '.0f', lower_is_better=True)}"
    )


def _residual_steps(of: Sources) -> str:
    runs = of.runs("09_residual_steps")
    shown = [f"{n}: {runs.mean(f'{n} steps', 'gain'):+.2f}" for n in (4, 8, 20, 50)]
    return (
        f"gain in dB over codes alone, by steps: {', '.join(shown)}; 20 against 8: "
        f"{runs.compare('20 steps', '8 steps', 'psnr')}; without the clip "
        f"{runs.mean('20 steps, no clip', 'gain'):+.1f}"
    )


def _resolutions(of: Sources) -> str:
    runs = of.runs("11_cross")
    saved = []
    for seed, quality in enumerate(runs.values("scratch", f"prompt_{LAST:02d}")):
        costs, seen = (
            [runs.values("cross 1/4", f"{name}_{point:02d}")[seed] for point in range(LAST + 1)]
            for name in ("tflop", "prompt")
        )
        cost = cost_to_reach(list(zip(costs, seen, strict=True)), quality)
        saved.append(costs[-1] / cost if cost else float("nan"))
    return (
        "128 -> 256 px, a quarter of the compute spent at 128, three seeds: token match at equal "
        f"compute {runs.compare('cross 1/4', 'scratch', 'match', '.3f')}; scratch's last quality "
        f"is reached {min(saved):.2f} to {max(saved):.2f} times cheaper. With half of the compute "
        f"at 128: {runs.compare('cross 1/2', 'scratch', 'match', '.3f')}"
    )


def _speed(of: Sources, arm: str) -> str:
    runs = of.runs("12_peers")
    names = [name.removesuffix("_ratio") for name in runs.names(arm) if name.endswith("_ratio")]
    peers = [n for n in names if n != "ours" and not n.endswith("_without_decoder")]
    told = []
    for name in peers:
        ratio, low, high = (runs.mean(arm, f"{name}_ratio{end}") for end in ("", "_low", "_high"))
        told.append(f"{name.replace('_', ' ')} {ratio:.1f} ({low:.1f}-{high:.1f})")
    side, kind = arm.split("px_")
    return (
        f"{kind} at {side} px, one CPU thread, random weights, bodies of `small`'s size; seconds, "
        f"times ours: {', '.join(told)}"
    )


def _scenes(of: Sources) -> str:
    runs = of.runs("13_scenes")
    model, tasks = "emoji-256-cpu", ("single", "two", "counting", "colours", "position", "binding")
    told = ", ".join(f"{task} {runs.mean(model, task):.2f}" for task in tasks)
    other = ", ".join(
        f"{arm} {runs.mean(arm, 'overall'):.2f}"
        for arm in ("real scenes", "shuffled captions", "blank")
    )
    return (
        f"SceneEval, prompts in the look it learnt: {told}; overall "
        f"{runs.mean(model, 'overall'):.2f} ({other}). `{model}` has never seen two things in one "
        "picture"
    )


CLAIMS: tuple[Claim, ...] = (
    Claim("three stages train the best tokenizer (rFID 1.60 / 5.13)", _stages, "lesson 05"),
    Claim("the residual sharpens: rFID 1.60 hybrid, 5.13 codes alone", _reconstruction, "its card"),
    Claim("and draws better: gFID 5.50 hybrid, 6.71 codes alone", _generation, "lesson 10"),
    Claim("12 steps are enough", _steps, "lesson 08"),
    Claim("20 residual steps are enough", _residual_steps, "lesson 09"),
    Claim(
        "GenEval .69: single 1.00, two .75, counting .52, colours .90, position .45, binding .51",
        _scenes,
        "lesson 13",
    ),
    Claim(
        "256 px first, then 512: better, and 1.9 times fewer GPU hours", _resolutions, "lesson 11"
    ),
    Claim(
        "1.5 to 7.9 times the throughput of its peers at 512 px",
        partial(_speed, arm="512px_throughput"),
        "lesson 12",
    ),
    Claim(
        "2.0 to 3.5 times lower latency at 512 px",
        partial(_speed, arm="512px_latency"),
        "lesson 12",
    ),
)
"""In the order of the README."""


def claims_table(root: str | Path | None = None) -> str:
    """The table as markdown."""
    of = Sources(Path(root or ROOT))
    rows = [f"| {claim.paper} | {claim.here(of)} | {claim.where} |" for claim in CLAIMS]
    return "\n".join(["| the paper says | we measure | see |", "|---|---|---|", *rows])


def write_claims(check: bool = False, root: str | Path | None = None) -> int:
    """Put the table between the README's two comments.

    Args:
        check: write nothing; only say whether the README holds the table.
        root: the repository; the checkout this file lies in by default.

    Returns:
        0; 1 if ``check`` found another table.

    Raises:
        ValueError: the README lacks one of the comments.
    """
    path = Path(root or ROOT) / "README.md"
    text = path.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(
            f"the table goes between '{BEGIN}' and '{END}', and {path.name} lacks one of them. "
            "Put both on lines of their own."
        )
    new = f"{before}{BEGIN}\n{claims_table(root)}\n{END}{after}"
    if new == text:
        return 0
    if check:
        print(f"{path.name} differs from the results. Run: dcar course claims")
        return 1
    checkpoint.write_atomically(path, new.encode())
    print(f"wrote {len(CLAIMS)} claims into {path.name}")
    return 0
