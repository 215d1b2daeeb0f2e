"""Whole drawings against the released code, step by step."""

import re
from dataclasses import dataclass

import pytest
import torch
from einops import rearrange

from dcar_edu.drawing import Drawing
from dcar_edu.interop import released_guidance

NAME = re.compile(
    r"(?:gumbel(?P<heat>[\d.]+)_|inpaint_)?(?P<mode>const|linear|powcos)(?P<scale>[\d.]+)"
    r"_(?P<anneal>anneal|noanneal)_K(?P<steps>\d+)"
)
SCHEDULES = {"const": "constant", "linear": "linear", "powcos": "power-cosine"}


@dataclass
class Run:
    """One stored drawing: what went in, and the numbers in its name."""

    stored: object
    folder: str

    def __post_init__(self):
        found = NAME.fullmatch(self.folder.removeprefix("gen/"))
        assert found, f"unknown kind of drawing: {self.folder}"
        self.mode, self.scale, self.steps = (
            found["mode"],
            float(found["scale"]),
            int(found["steps"]),
        )
        self.heat = float(found["heat"] or 0)
        self.model, (self.h, self.w) = self.stored.model, self.stored.model.config.grid
        self.after = self["ids_after_step"]
        self.batch = self.after.shape[1]
        initial = torch.full_like(self.after[0], self.model.mask_id)
        self.initial = self["init_ids"] if f"{self.folder}/init_ids" in self.stored else initial

    def __getitem__(self, name):
        return self.stored[f"{self.folder}/{name}"]

    def grid(self, ids):
        return rearrange(ids, "b (h w) -> b h w", h=self.h)

    @torch.no_grad()
    def memories(self):
        text = self.stored["fwd/text_states"][: self.batch]
        mask = self.stored["fwd/text_mask"][: self.batch]
        return [self.model.read_text(states, mask) for states in (text, None)]

    def guidance(self):
        power = self.stored.case.config["model"]["generator"]["guidance_scale_pow"]
        return released_guidance(self.scale, SCHEDULES[self.mode], self.steps, power)

    def drawing(self):
        """The library's own loop, with the stored uniforms where the temperature needs them."""
        noise = None
        if self.heat:
            noise = list(zip(self["uniform_ids"], self["uniform_conf"], strict=True))
        return Drawing(
            self.model,
            *self.memories(),
            (self.batch, self.h, self.w),
            self.steps,
            self.guidance(),
            self.heat,
            [torch.Generator()] * self.batch,
            self.grid(self.initial),
            schedule_on="all",
            noise=noise,
        )

    def residuals(self):
        """From the hidden states of the last pass, whose input still held hidden tokens."""
        drawing = self.drawing()
        for _ in drawing.steps():
            pass
        sampler = self.stored.case.config["model"]["generator"]["diffusion"]
        steps = int(sampler["num_sampling_steps"])
        start, later = self.stored["samp/init_noise"][None], self.stored["samp/ancestral_noise"]
        noise = rearrange(
            torch.cat([start, later[:steps]]), "k (b n) c -> k b n c", n=self.h * self.w
        )
        drawn = drawing.residuals(steps, None, noise=noise[:, : self.batch])
        drawn = rearrange(drawn, "b c h w -> b (h w) c")
        if f"{self.folder}/init_mask" in self.stored:  # known tokens keep their own residuals
            drawn = torch.where(self["init_mask"][..., None], self["init_residual"], drawn)
        return drawn


@pytest.mark.stored("dc_ar", r"(?P<run>gen/[^/]+)/ids_after_step")
def test_tokens_step_by_step(stored):
    run = Run(stored, stored.group("run"))
    steps = list(run.drawing().steps())
    assert [step.step for step in steps] == list(range(1, run.steps + 1))
    ids = torch.stack([rearrange(step.indices, "b h w -> b (h w)") for step in steps])
    stored.agrees(ids)
    assert torch.equal(ids[-1], run["ids"])
    hidden = torch.stack([step.mask.sum((1, 2)) for step in steps])
    assert torch.equal(hidden, run["n_masked_after_step"])


@pytest.mark.stored("dc_ar", r"(?P<run>gen/[^/]+)/cfg_per_step")
def test_guidance_step_by_step(stored):
    """Power-cosine is stored as ``w = s + 1``."""
    run = Run(stored, stored.group("run"))
    scales = [run.guidance().at(step, run.steps) for step in range(1, run.steps + 1)]
    stored.agrees(torch.tensor(scales) + (run.mode == "powcos"))


@pytest.mark.stored("dc_ar", r"(?P<run>gen/[^/]+)/residual")
def test_residuals(stored):
    stored.agrees(Run(stored, stored.group("run")).residuals())


@pytest.mark.stored("dc_ar", r"(?P<run>gen/[^/]+)/ids")
def test_our_own_plan_draws_the_same_where_nothing_is_known(stored):
    """Counting hidden tokens or all of them differs only for pictures with known ones."""
    run = Run(stored, stored.group("run"))
    drawing = run.drawing()
    drawing.schedule_on = "hidden"
    *_, last = drawing.steps()
    if f"{run.folder}/init_ids" not in stored:
        stored.agrees(rearrange(last.indices, "b h w -> b (h w)"))
    else:
        known = run.grid(run.initial) != run.model.mask_id
        assert torch.equal(last.indices[known], run.grid(run.initial)[known])


def test_there_are_drawings(cases):
    """Every case of a generator holds whole drawings, and the tests above found them."""
    for case in cases:
        if case.kind == "dc_ar":
            assert [key for key in case.single if key.endswith("/ids_after_step")], case.name
