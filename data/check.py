"""Check the project's own corpus: row format, pairs, and sameness between rows.

Usage: python data/check.py [FILE ...]        (default: every file of data/train/, data/test/ and data/parts/)

Sameness is the Jaccard similarity of word 3-grams (character 5-grams for texts under 12 words, or
without spaces). Two rows that are not twins of one pair must stay under MAX_SIMILARITY, otherwise the
corpus would count one idea many times. Exit status 1 when anything is wrong.
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

SIGNALS = {
    "benign",
    "instruction_override",
    "jailbreak",
    "prompt_extraction",
    "indirect_injection",
    "harmful_request",
    "obfuscation",
}
FIELDS = {"id", "text", "label", "signal", "family", "theme", "language", "pair", "license"}
SLOTS = {"frames": 1, "overrides": 1, "plants": 0, "notes": 0}
"""How often ``{goal}`` stands in a row of data/parts/."""
MAX_SIMILARITY = 0.5
MIN_WORDS_FOR_WORD_GRAMS = 12


def shingles(text: str) -> frozenset[str]:
    """Return the set of 3-grams of words, or 5-grams of characters where words are few."""
    words = re.findall(r"\w+", text.lower())
    if len(words) < MIN_WORDS_FOR_WORD_GRAMS:
        flat = " ".join(words)
        return frozenset(flat[i : i + 5] for i in range(max(1, len(flat) - 4)))
    return frozenset(" ".join(words[i : i + 3]) for i in range(len(words) - 2))


def row_faults(row: dict[str, object], where: str) -> list[str]:
    """Faults of one row taken alone."""
    faults = []
    if set(row) != FIELDS:
        faults.append(f"{where}: fields {sorted(set(row) ^ FIELDS)} missing or unknown")
        return faults
    if row["signal"] not in SIGNALS:
        faults.append(f"{where}: unknown signal {row['signal']!r}")
    if row["label"] != (0 if row["signal"] == "benign" else 1):
        faults.append(f"{where}: label {row['label']!r} does not fit signal {row['signal']!r}")
    if not isinstance(row["text"], str) or not row["text"].strip():
        faults.append(f"{where}: empty text")
    return faults


def part_faults(path: Path) -> list[str]:
    """Faults of one file of parts: fields, slots, sameness; prints its count."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    faults = []
    for number, row in enumerate(rows, start=1):
        if set(row) != {"text", "theme"}:
            faults.append(f"{path.name}:{number}: fields must be text and theme")
        elif row["text"].count("{goal}") != SLOTS[path.stem]:
            faults.append(f"{path.name}:{number}: {{goal}} must occur {SLOTS[path.stem]} times")
    named = [{"id": f"{path.name}:{n}", "text": row["text"], "pair": ""} for n, row in enumerate(rows, start=1)]
    faults += [f"{a} ~ {b}: similarity {s:.2f}" for s, a, b in near_duplicates(named)]
    print(f"{path.stem:24} {'part':22} {len(rows):5}")
    return faults


def near_duplicates(rows: list[dict[str, str]]) -> list[tuple[float, str, str]]:
    """Pairs of ids of distinct pairs whose texts are too much alike, most alike first."""
    grams = [shingles(row["text"]) for row in rows]
    holders: dict[str, list[int]] = defaultdict(list)
    for index, gram_set in enumerate(grams):
        for gram in gram_set:
            holders[gram].append(index)
    shared: dict[tuple[int, int], int] = defaultdict(int)
    for places in holders.values():
        if len(places) > 60:
            continue  # a gram this common says nothing about sameness
        for i, left in enumerate(places):
            for right in places[i + 1 :]:
                shared[left, right] += 1
    found = []
    for (left, right), count in shared.items():
        if rows[left]["pair"] and rows[left]["pair"] == rows[right]["pair"]:
            continue
        similarity = count / (len(grams[left]) + len(grams[right]) - count)
        if similarity >= MAX_SIMILARITY:
            found.append((similarity, rows[left]["id"], rows[right]["id"]))
    return sorted(found, reverse=True)


def main(paths: list[Path]) -> int:
    """Print what is wrong and a count by family; return the exit status."""
    faults = [fault for path in paths if path.stem in SLOTS for fault in part_faults(path)]
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    for path in (path for path in paths if path.stem not in SLOTS):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            row = json.loads(line)
            where = f"{path.name}:{number}"
            faults += row_faults(row, where)
            if row.get("id") in seen:
                faults.append(f"{where}: id {row['id']!r} occurs twice")
            seen.add(row.get("id"))
            rows.append(row)
    pairs: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        if row["pair"]:
            pairs[row["pair"]].append(int(row["label"]))
    faults += [
        f"pair {name!r}: wants exactly one attack and one harmless twin, has labels {labels}"
        for name, labels in pairs.items()
        if sorted(labels) != [0, 1]
    ]
    faults += [f"{a} ~ {b}: similarity {s:.2f}" for s, a, b in near_duplicates(rows)]
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        counts[row["family"], row["signal"]] += 1
    for (family, signal), count in sorted(counts.items()):
        print(f"{family:24} {signal:22} {count:5}")
    paired = sum(len(labels) for labels in pairs.values())
    print(f"{len(rows)} texts, {paired} of them in {len(pairs)} pairs, {len(faults)} faults")
    for fault in faults[:50]:
        print("FAULT", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    sys.exit(main(given or sorted(Path(__file__).parent.glob("*/*.jsonl"))))
