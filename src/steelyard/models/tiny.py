"""A small random model made on the spot: real in every part, knows nothing, the same on every machine.

Belongs here: how it is made. Not here: real models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

TINY_VERSION = 1  # raise it when the weights or the tokenizer change
_SEED = 20_250_101
_SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_CONTEXT_TOKENS = 4096  # a byte is a token, so prompts are long
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build_tiny(folder: Path) -> None:
    """Write a 2-layer llama-like model of 0.3 million random weights and its byte-level tokenizer into `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from steelyard.models.checkpoint import quiet_transformers

    tokenizer = _tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,  # grouped heads, as in the models that people use
        max_position_embeddings=_CONTEXT_TOKENS,
        tie_word_embeddings=True,
        initializer_range=0.2,  # larger than usual: answers then depend on their prompts
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    endoftext, im_start, im_end = _SPECIAL_TOKENS
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*_SPECIAL_TOKENS, *letters))}
    bytes_only = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        bos_token=im_start,
        eos_token=im_end,
        pad_token=im_end,
        unk_token=endoftext,
        model_max_length=_CONTEXT_TOKENS,
    )
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer
