"""Teaching the student: rows, loss, LoRA, the loop."""

from duomem_mlx.blas import load_openblas

load_openblas()
