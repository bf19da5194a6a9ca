"""Sizes beyond which the worker refuses an input with an error that names the limit.

The limits bound what one message can cost: memory while it is decoded, and seconds on the engine.
"""

MAX_ITEMS_PER_JOB = 256
"""Items in one job. More jobs cost little; a larger job only delays its neighbours."""

MAX_ITEM_CHARACTERS = 262_144
"""Characters (code points) of one item's text. Longer documents: submit chapters as items."""

MAX_ITEM_TOKENS = 131_072
"""Tokens of one view of a text: what one item may cost the engine, in seconds."""

MAX_JOB_BYTES = 8 * 1024 * 1024
"""Bytes of all texts of a job together, as UTF-8."""

MAX_MESSAGE_BYTES = 80 * 1024 * 1024
"""Bytes of one message in the queue, and of its body unpacked: a job of ``MAX_JOB_BYTES`` however JSON writes it
(six bytes a character), its metadata, and base64 around it."""

MAX_ID_CHARACTERS = 256
"""Characters of a job or item id."""

MAX_METADATA_BYTES = 4096
"""Bytes of one metadata object, as compact UTF-8 JSON."""

MAX_METADATA_KEYS = 32
"""Keys of one metadata object."""
