"""DC-AR, built step by step: a hybrid tokenizer and a masked generator for images.

Source: DC-AR, arXiv:2507.04947.
"""

__version__ = "0.1.0"
