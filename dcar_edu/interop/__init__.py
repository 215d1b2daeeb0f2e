"""Official-format DC-HT and DC-AR checkpoints, read into our modules.

Nothing here is needed to train or to draw with our own models.
"""

from dcar_edu.interop.dc_ar import load_dc_ar, released_guidance
from dcar_edu.interop.dc_ht import load_dc_ht
from dcar_edu.interop.text import as_released

__all__ = ["as_released", "load_dc_ar", "load_dc_ht", "released_guidance"]
