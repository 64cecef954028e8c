"""In which floating-point type, and on what, models run.

Belongs here: looking at the hardware and choosing. Not here: loading (see `checkpoint`). Nothing here imports torch,
because a run with nothing to do must not pay for it.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Literal, NamedTuple

RequestedPrecision = Literal["auto", "float32", "bfloat16", "float16"]

_CPUINFO = Path("/proc/cpuinfo")
# Instructions that multiply bf16 matrices; a CPU without them converts to float32 and back, which is slower than
# float32 from the start. `bf16` is what Linux calls Arm's.
_BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
_FIRST_CUDA_WITH_BF16 = (8, 0)  # compute capability of Ampere
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_* of the CUDA driver API


class Precision(NamedTuple):
    """What models run in and on, in torch's names, and why; only `dtype` changes results."""

    dtype: str
    device: str
    reason: str


class Hardware(NamedTuple):
    """What was found: an NVIDIA GPU's compute capability, and the CPU's bf16 instructions, if any."""

    cuda_capability: tuple[int, int] | None
    cpu_bf16: str | None
    is_torch_cpu_only: bool


def choose_precision(requested: RequestedPrecision) -> Precision:
    """Return the floating-point type and the device that models run with on this machine."""
    return decide_precision(requested, look_at_hardware())


def decide_precision(requested: RequestedPrecision, hardware: Hardware) -> Precision:
    """Return the choice for given hardware: CUDA if torch can use it, bf16 where there are instructions for it."""
    capability = None if hardware.is_torch_cpu_only else hardware.cuda_capability
    device = "cpu" if capability is None else "cuda"
    unused = (
        "; the NVIDIA GPU stays unused because the installed torch is a CPU build"
        if hardware.is_torch_cpu_only and hardware.cuda_capability is not None
        else ""
    )
    if requested != "auto":
        return Precision(requested, device, f"{requested} was asked for; on {device}{unused}")
    if capability is not None:
        name = f"NVIDIA GPU of compute capability {capability[0]}.{capability[1]}"
        if capability >= _FIRST_CUDA_WITH_BF16:
            return Precision("bfloat16", device, f"{name} has bf16 instructions")
        return Precision("float16", device, f"{name} has no bf16 instructions")
    if hardware.cpu_bf16 is not None:
        return Precision("bfloat16", device, f"CPU has bf16 instructions ({hardware.cpu_bf16}){unused}")
    return Precision("float32", device, f"CPU has no bf16 instructions{unused}")


def look_at_hardware() -> Hardware:
    """Return what this machine has that torch could use."""
    return Hardware(
        cuda_capability=_cuda_capability(),
        cpu_bf16=_cpu_bf16(),
        is_torch_cpu_only=is_cpu_build(importlib.metadata.version("torch")),
    )


def is_cpu_build(torch_version: str) -> bool:
    """Return whether a torch of this version has no CUDA in it, as its local version says ("2.13.0+cpu")."""
    return torch_version.endswith("+cpu")


def bf16_instructions(cpuinfo: str) -> str | None:
    """Return the best bf16 instruction set that every CPU in a Linux `/proc/cpuinfo` has, or None."""
    per_cpu = [
        set(line.partition(":")[2].split())
        for line in cpuinfo.splitlines()
        if line.partition(":")[0].strip() in {"flags", "Features"}
    ]
    if not per_cpu:
        return None
    common = set.intersection(*per_cpu)
    return next((flag for flag in _BF16_FLAGS if flag in common), None)


def _cpu_bf16() -> str | None:
    if sys.platform == "darwin":
        return _apple_bf16()
    try:
        return bf16_instructions(_CPUINFO.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def _apple_bf16() -> str | None:
    if platform.machine() != "arm64":
        return None
    answer = subprocess.run(
        ["/usr/sbin/sysctl", "-n", "hw.optional.arm.FEAT_BF16"], capture_output=True, text=True, check=False
    )
    return "FEAT_BF16" if answer.stdout.strip() == "1" else None


def _cuda_capability() -> tuple[int, int] | None:
    """Ask the CUDA driver for the first GPU it shows to this process; None without a driver or a GPU.

    The driver itself honours CUDA_VISIBLE_DEVICES, as torch does.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    found = (
        driver.cuInit(0) == 0
        and driver.cuDeviceGet(ctypes.byref(device), 0) == 0
        and driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device) == 0
        and driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device) == 0
    )
    return (major.value, minor.value) if found else None
