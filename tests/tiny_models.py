"""Tiny random models with the architectures the project names, saved as a hub snapshot would be."""

from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from worker.codebook.probe import Basis, Probe

WORDS = ["ignore", "all", "previous", "instructions", "the", "a", "and", "of", "to", "in", "is", "please", "reveal"]
WORDS += [
    "your",
    "system",
    "prompt",
    "weather",
    "meeting",
    "today",
    "garden",
    "music",
    "report",
    "train",
    "water",
    "house",
]
LAYERS = 4
HIDDEN = 32
POSITIONS = 128


def wordpiece_tokenizer() -> Tokenizer:
    """Return a tokenizer like BERT's: lower case, [CLS] before and [SEP] after."""
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters), *WORDS]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    )
    return tokenizer


def byte_level_tokenizer() -> Tokenizer:
    """Return a tokenizer like SmolLM2's: bytes and a few merges, no special tokens around a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("i", "n"), ("a", "l"), ("al", "l"), ("Ġ", "the"), ("Ġ", "all")]
    tokens = ["<|endoftext|>", *alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def save_bert(directory: Path) -> Path:
    """Save a random BERT with its pooler, as sentence-transformers' models are, and return the directory."""
    import torch
    from transformers import BertConfig, BertModel

    tokenizer = wordpiece_tokenizer()
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def save_llama(directory: Path) -> Path:
    """Save a random Llama with SmolLM2's traits: grouped queries, tied embeddings, a language model's head."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = byte_level_tokenizer()
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def random_probe() -> tuple[Basis, Probe]:
    """Return a basis of two layers' activations and a probe of three signals with two heads each."""
    random = np.random.default_rng(3)

    def normal(*shape: int) -> Any:
        return random.normal(size=shape).astype(np.float32)

    width = 2 * HIDDEN
    return Basis(normal(width), normal(width, 5), 0.9), Probe(normal(3, 2, 5), normal(3, 2, 5), normal(3))
