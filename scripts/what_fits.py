"""What fits into a Mac's memory, computed and not measured. Usage: python scripts/what_fits.py

A row of 1,650 tokens, 200 of them trained, one row at a time, the default adapter, half precision, attention whose
backward pass keeps no scores (MLX on a GPU since 0.32.4). Kept of a block and token: 2 times the hidden size (both
sums; norms are computed again), 3 times the width of the queries and of the keys (as they come, turned, and what
attention or values give) and 2 times the feed-forward width (gate and up; their product is computed again); with
checkpointing the block's input, and one block's two times over. Logits: half precision once, float32 three times.
"""

from dataclasses import dataclass

GB = 2**30
TOKENS, SCORED = 1650, 200
HALF, FULL = 2, 4
FOUR_BITS = 4.5 / 8  # bytes a weight with a scale and a bias for every 64
COPIES = 7  # of the adapter, in float32: itself and what `probe.COPIES` counts
BESIDE = 0.5 * GB  # Python and its libraries
CACHE = 1 / 8  # of the budget, as `probe.GPU_CACHE` has it
RECOMMENDED = 2 / 3  # of its memory is what a Mac of 8 to 32 GB recommends for its GPU


@dataclass(frozen=True)
class Shape:
    weights: float
    adapter: float  # parameters of the default rank
    layers: int
    hidden: int
    queries: int
    keys: int
    forward: int
    vocabulary: int


SHAPES = {  # from the config.json of each
    "SmolLM2-135M": Shape(134.5e6, 4.88e6, 30, 576, 576, 192, 1536, 49152),
    "Qwen3-1.7B": Shape(1.72e9, 8.72e6, 28, 2048, 2048, 1024, 6144, 151936),
    "Qwen3-4B": Shape(4.02e9, 8.26e6, 36, 2560, 4096, 1024, 9728, 151936),
}


def taken(shape: Shape, weight_bytes: float, checkpointed: bool) -> float:
    """Bytes at the peak, without the cache."""
    block = 2 * shape.hidden + 3 * shape.queries + 3 * shape.keys + 2 * shape.forward
    kept = 2 * block + shape.layers * shape.hidden if checkpointed else shape.layers * block
    logits = SCORED * shape.vocabulary * (HALF + 3 * FULL)
    return BESIDE + shape.weights * weight_bytes + COPIES * FULL * shape.adapter + TOKENS * kept * HALF + logits


def main() -> None:
    print("| model | weights | at the peak, GB | with checkpointing, GB | 8 GB | 16 GB | 32 GB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, shape in SHAPES.items():
        for kind, size in (("float16", HALF), ("4 bits", FOUR_BITS)):
            plain, again = taken(shape, size, False), taken(shape, size, True)
            cells = [answer(memory * GB, plain, again) for memory in (8, 16, 32)]
            print(f"| {name} | {kind} | {plain / GB:.1f} | {again / GB:.1f} | {' | '.join(cells)} |")


def answer(memory: float, plain: float, again: float) -> str:
    room = memory * RECOMMENDED * (1 - CACHE)
    return "yes" if plain <= room else "with checkpointing" if again <= room else "no"


if __name__ == "__main__":
    main()
