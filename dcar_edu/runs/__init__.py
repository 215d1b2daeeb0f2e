"""Long runs: plans in, trained models out, through any number of stops and kills."""

from dcar_edu.runs.following import Call
from dcar_edu.runs.generator import run_generator
from dcar_edu.runs.plans import GeneratorRun, Pictures, TokenizerRun, parse_data
from dcar_edu.runs.tokenizer import run_tokenizer

__all__ = [
    "Call",
    "GeneratorRun",
    "Pictures",
    "TokenizerRun",
    "parse_data",
    "run_generator",
    "run_tokenizer",
]
