"""Checkpoints: GGUF converted once, adapters merged, the small random model."""

from __future__ import annotations

import shutil
from collections import namedtuple

import gguf
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from steelyard.errors import ConfigError, DataError, ServiceError
from steelyard.models.checkpoint import load_causal_lm, load_tokenizer
from steelyard.models.source import find_cached, identity, parse_source, resolve
from steelyard.models.tiny import build_tiny
from steelyard.progress import Silent

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Übung №7?"}]
QUANTISED = ("ffn_down", "ffn_gate", "ffn_up")
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Keep small products on one core: threads that wait for one another cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Make the small random model."""
    folder = tmp_path_factory.mktemp("tiny")
    build_tiny(folder)
    return folder


@pytest.fixture
def packed(tiny, tmp_path):
    """Write the small model as a GGUF file, partly in 4 bits; return the file and the weights that are in it."""
    tokenizer = load_tokenizer(tiny)
    model = load_causal_lm(tiny, dtype="float32", device="cpu").model
    model.resize_token_embeddings(len(tokenizer) + 1)  # one merge: a tokenizer without any is not read
    tokens = [*tokenizer.convert_ids_to_tokens(range(len(tokenizer))), "Ġt"]
    file = tmp_path / "toy.Q4_1.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    config = model.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    writer.add_token_merges(["Ġ t"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(value=False)
    writer.add_chat_template(tokenizer.chat_template)
    weights = {}
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":  # tied
            weights[name] = _add(writer, name, tensor, config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file, weights


def _add(writer, name, tensor, config):
    """Add one tensor under its GGUF name and return the values that a reader gets back."""
    short = name.split(".", 3)[3] if name.startswith("model.layers.") else name
    target = NAMES[short]
    if name.startswith("model.layers."):
        target = f"blk.{name.split('.')[2]}.{target}"
    stored = tensor
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for part, count in heads.items():  # the file interleaves the halves that are rotated together
        if part in target:
            stored = tensor.reshape(count, 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)
    if not any(part in target for part in QUANTISED):
        writer.add_tensor(target, stored.numpy())
        return tensor
    kind = gguf.GGMLQuantizationType.Q4_1
    blocks = gguf.quants.quantize(stored.numpy(), kind)
    writer.add_tensor(target, blocks, raw_dtype=kind)
    return torch.from_numpy(gguf.quants.dequantize(blocks, kind))


def test_resolve_gguf_is_converted_once_and_holds_the_same_weights(packed, tmp_path):
    """The converted model has the file's weights, rounded to bfloat16, its tokenizer and its chat template."""
    file, weights = packed
    source, cache = parse_source(f"path:{file}"), tmp_path / "cache"
    folder = resolve(source, sha256=None, cache=cache, progress=Silent())
    loaded = load_causal_lm(folder, dtype="float32", device="cpu")
    state = loaded.model.state_dict()
    for name, expected in weights.items():
        torch.testing.assert_close(state[name], expected.bfloat16().float(), rtol=0, atol=0, msg=name)
    assert not hasattr(loaded.model.config, "quantization_config")
    text = loaded.tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert text.endswith("Übung №7?<|im_end|>\n<|im_start|>assistant\n")
    ids = loaded.tokenizer(text)["input_ids"]
    assert loaded.tokenizer.decode(ids) == text
    assert ids[0] == 1  # <|im_start|> is one token
    assert find_cached(source, sha256=None, cache=cache) == folder
    assert resolve(source, sha256=None, cache=cache, progress=Silent()) == folder


def test_identity_of_a_gguf_file_needs_no_conversion(packed):
    """The identity comes from the file alone, and follows its content."""
    file, _ = packed
    first = identity(parse_source(f"path:{file}"), None)
    with file.open("ab") as end:
        end.write(b"\0")
    assert identity(parse_source(f"path:{file}"), None) != first


def test_resolve_damaged_gguf_is_explained_and_leaves_nothing(tmp_path):
    """A file that only has the name of a GGUF file is refused, and no entry is made."""
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\xff" * 100)
    with pytest.raises(ServiceError, match=r"broken\.gguf"):
        resolve(
            parse_source(f"path:{tmp_path / 'broken.gguf'}"),
            sha256=None,
            cache=tmp_path / "cache",
            progress=Silent(),
        )
    assert [path.name for path in (tmp_path / "cache" / "models").iterdir()] == [".locks"]


def test_resolve_gguf_without_room_for_the_conversion_is_refused(packed, tmp_path, monkeypatch):
    """The room that the converted weights take is checked first."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(ServiceError, match="converting"):
        resolve(parse_source(f"path:{packed[0]}"), sha256=None, cache=tmp_path / "cache", progress=Silent())


def test_resolve_tiny_model_is_the_same_everywhere(tmp_path):
    """Two caches get the same bytes, and the surrounding program's random numbers are left alone."""
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    source = parse_source("random:tiny")
    folders = [resolve(source, sha256=None, cache=tmp_path / name, progress=Silent()) for name in "ab"]
    assert torch.equal(torch.rand(3), expected)
    files = [sorted(path.relative_to(folder) for path in folder.rglob("*")) for folder in folders]
    assert files[0] == files[1]
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in files[0])
    parameters = sum(
        tensor.numel() for tensor in load_causal_lm(folders[0], dtype="float32", device="cpu").model.parameters()
    )
    assert 200_000 < parameters < 500_000


@pytest.fixture
def adapter(tiny, tmp_path):
    """Save a LoRA adapter with random weights; return its folder and the logits of the model that wears it."""
    torch.manual_seed(5)
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    tuned = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)).eval()
    tuned.save_pretrained(tmp_path / "adapter")
    with torch.inference_mode():
        return tmp_path / "adapter", tuned(input_ids=torch.arange(20)[None]).logits


def test_load_causal_lm_merged_adapter_gives_the_tuned_logits(tiny, adapter):
    """Merging changes nothing but the speed."""
    folder, expected = adapter
    merged = load_causal_lm(tiny, dtype="float32", device="cpu", adapter=folder).model
    plain = load_causal_lm(tiny, dtype="float32", device="cpu").model
    with torch.inference_mode():
        seen, before = (model(input_ids=torch.arange(20)[None]).logits for model in (merged, plain))
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-4)
    assert (before - expected).abs().max() > 0.1


def test_load_causal_lm_merges_in_float32_before_rounding(tiny, adapter):
    """In bfloat16 each merged weight is the float32 sum rounded once."""
    exact = load_causal_lm(tiny, dtype="float32", device="cpu", adapter=adapter[0]).model.state_dict()
    rounded = load_causal_lm(tiny, dtype="bfloat16", device="cpu", adapter=adapter[0]).model.state_dict()
    assert all(torch.equal(rounded[name], exact[name].bfloat16()) for name in exact)


def test_load_causal_lm_adapter_that_does_not_fit_is_explained(tiny, adapter, tmp_path):
    """An adapter trained on another shape is refused by name."""
    other = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    other.model.layers = other.model.layers[:1]
    wide = LoraConfig(r=4, target_modules=["gate_proj"], init_lora_weights=False)
    other.model.layers[0].mlp.gate_proj = torch.nn.Linear(96, 300, bias=False)
    get_peft_model(other, wide).save_pretrained(tmp_path / "other")
    with pytest.raises(DataError, match="does not fit"):
        load_causal_lm(tiny, dtype="float32", device="cpu", adapter=tmp_path / "other")
    with pytest.raises(DataError, match="adapter"):
        load_causal_lm(tiny, dtype="float32", device="cpu", adapter=tmp_path / "absent")


def test_resolve_missing_gguf_is_a_config_error(tmp_path):
    """A .gguf path that is not there is a mistake in the config, found before anything is made."""
    with pytest.raises(ConfigError, match="does not exist"):
        resolve(parse_source(f"path:{tmp_path / 'no.gguf'}"), sha256=None, cache=tmp_path, progress=Silent())
