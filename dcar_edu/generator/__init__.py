"""Masked autoregression over tokens, and a diffusion head for residuals (lessons 06-10)."""

from dcar_edu.generator.config import GeneratorConfig
from dcar_edu.generator.model import GeneratorOutput, MaskedGenerator
from dcar_edu.generator.sampling import SamplingStep, sample_tokens

__all__ = ["GeneratorConfig", "GeneratorOutput", "MaskedGenerator", "SamplingStep", "sample_tokens"]
