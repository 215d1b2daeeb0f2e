"""How good is it? Every number says what it was measured on."""

from dcar_edu.features import perceptual_distance
from dcar_edu.metrics.alignment import Alignment, Retrieval, load_alignment, retrieval
from dcar_edu.metrics.distribution import (
    KIDEstimate,
    kid,
    kid_interval,
    kid_of_subsets,
    mean_interval,
)
from dcar_edu.metrics.frechet import FeatureStatistics, frechet_distance, frechet_interval
from dcar_edu.metrics.judge import judge_tokenizer
from dcar_edu.metrics.reconstruction import psnr, ssim
from dcar_edu.metrics.tokens import token_match
from dcar_edu.tokenizer.quantizer import CodeUsage, code_usage

__all__ = [
    "Alignment",
    "CodeUsage",
    "FeatureStatistics",
    "KIDEstimate",
    "Retrieval",
    "code_usage",
    "frechet_distance",
    "frechet_interval",
    "judge_tokenizer",
    "kid",
    "kid_interval",
    "kid_of_subsets",
    "load_alignment",
    "mean_interval",
    "perceptual_distance",
    "psnr",
    "retrieval",
    "ssim",
    "token_match",
]
