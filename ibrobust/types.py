"""Names for what crosses a module border. Shapes are checked while the tests run.

Suffixes of tensors whose rank is not obvious: A attacks, B batch, C classes, E radii, K latent, N data set.
"""

from jaxtyping import Float, Int
from torch import Tensor

Images = Float[Tensor, "batch channels height width"]
"""Pixels in [0, 1]."""
Labels = Int[Tensor, " batch"]
Logits = Float[Tensor, "batch classes"]
Latents = Float[Tensor, "batch latent"]
PerSample = Float[Tensor, " batch"]
Scalar = Float[Tensor, ""]
