"""A load of synthetic texts with the lengths of real traffic."""

import random

WORDS = [
    "report",
    "river",
    "copper",
    "window",
    "letter",
    "season",
    "market",
    "garden",
    "engine",
    "paper",
    "signal",
    "bridge",
    "morning",
    "contract",
    "kitchen",
    "harbour",
    "teacher",
    "village",
    "number",
    "pocket",
    "history",
    "planet",
    "coffee",
    "mirror",
    "island",
    "doctor",
    "silver",
    "music",
    "ticket",
    "winter",
    "answer",
    "corner",
    "travel",
    "minute",
    "office",
    "bottle",
    "memory",
    "circle",
    "yellow",
    "figure",
]


def mixed_texts(count: int, seed: int = 11) -> list[str]:
    """Return texts whose token counts are log-normal: median about 60, 95th percentile about 700, at most 4,000."""
    generator = random.Random(seed)
    lengths = [min(4000, max(3, round(generator.lognormvariate(4.09, 1.5)))) for _ in range(count)]
    return [" ".join(generator.choice(WORDS) for _ in range(length)) for length in lengths]
