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


def mixed_lengths(count: int, seed: int = 11) -> list[int]:
    """Return log-normal numbers of words: median about 60, 95th percentile about 700, at most 4,000."""
    generator = random.Random(seed)
    return [min(4000, max(3, round(generator.lognormvariate(4.09, 1.5)))) for _ in range(count)]


def mixed_texts(count: int, seed: int = 11) -> list[str]:
    """Return texts of so many common words, each about one token."""
    generator = random.Random(seed + 1)
    return [" ".join(generator.choice(WORDS) for _ in range(length)) for length in mixed_lengths(count, seed)]
