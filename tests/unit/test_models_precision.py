"""Precision chosen from what the hardware is, on machines that are not this one."""

from __future__ import annotations

import pytest

from steelyard.models.precision import (
    Hardware,
    bf16_instructions,
    choose_precision,
    decide_precision,
    is_cpu_build,
)

PLAIN = Hardware(cuda_capability=None, cpu_bf16=None, is_torch_cpu_only=False)


def cpuinfo(*flags_per_cpu: str, label: str = "flags") -> str:
    """Return text in the shape of Linux's /proc/cpuinfo: one paragraph a processor."""
    return "\n\n".join(
        f"processor\t: {number}\nmodel name\t: Some CPU\n{label}\t\t: {flags}"
        for number, flags in enumerate(flags_per_cpu)
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (cpuinfo("fpu avx2 avx512f avx512_bf16", "fpu avx2 avx512f avx512_bf16"), "avx512_bf16"),
        (cpuinfo("avx512_bf16 amx_bf16 amx_tile"), "amx_bf16"),
        (cpuinfo("fpu avx2 avx512f"), None),
        (cpuinfo("avx512_bf16_like"), None),
        (cpuinfo("avx512_bf16", "avx2"), None),
        (cpuinfo("fp asimd i8mm bf16", label="Features"), "bf16"),
        ("processor: 0\nmodel name: flags avx512_bf16\n", None),
        ("", None),
    ],
)
def test_bf16_instructions_are_read_from_cpuinfo(text, expected):
    """A flag counts when every processor has exactly it."""
    assert bf16_instructions(text) == expected


@pytest.mark.parametrize(
    ("hardware", "dtype", "device"),
    [
        (PLAIN, "float32", "cpu"),
        (PLAIN._replace(cpu_bf16="avx512_bf16"), "bfloat16", "cpu"),
        (PLAIN._replace(cuda_capability=(9, 0)), "bfloat16", "cuda"),
        (PLAIN._replace(cuda_capability=(8, 0)), "bfloat16", "cuda"),
        (PLAIN._replace(cuda_capability=(7, 5)), "float16", "cuda"),
        (PLAIN._replace(cuda_capability=(9, 0), is_torch_cpu_only=True), "float32", "cpu"),
        (PLAIN._replace(cuda_capability=(9, 0), is_torch_cpu_only=True, cpu_bf16="amx_bf16"), "bfloat16", "cpu"),
    ],
)
def test_decide_precision_auto_takes_the_fastest_that_is_there(hardware, dtype, device):
    """CUDA first, then the CPU's bf16 instructions, then float32."""
    chosen = decide_precision("auto", hardware)
    assert (chosen.dtype, chosen.device) == (dtype, device)


def test_decide_precision_request_overrides_the_hardware():
    """What is asked for is what is used, wherever it runs."""
    chosen = decide_precision("float32", PLAIN._replace(cuda_capability=(9, 0), cpu_bf16="avx512_bf16"))
    assert chosen[:2] == ("float32", "cuda")
    assert "asked for" in chosen.reason


def test_decide_precision_gpu_that_torch_cannot_use_is_mentioned():
    """Nobody should wonder why the GPU stays idle."""
    reason = decide_precision("auto", PLAIN._replace(cuda_capability=(9, 0), is_torch_cpu_only=True)).reason
    assert "CPU build" in reason


@pytest.mark.parametrize(("version", "expected"), [("2.13.0", False), ("2.13.0+cu130", False), ("2.13.0+cpu", True)])
def test_is_cpu_build_reads_the_local_version(version, expected):
    """PyTorch marks its CPU wheels in the version."""
    assert is_cpu_build(version) is expected


def test_choose_precision_on_this_machine_says_why():
    """Looking at real hardware works and gives a reason."""
    chosen = choose_precision("auto")
    assert chosen.dtype in {"float32", "bfloat16", "float16"}
    assert chosen.reason
