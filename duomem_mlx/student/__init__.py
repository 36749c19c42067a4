"""The small model that plays: loading it, decoding, episodes."""

from duomem_mlx.blas import load_openblas

load_openblas()
