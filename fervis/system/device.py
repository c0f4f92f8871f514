"""Choose the device and the precision of a run."""

from __future__ import annotations

import torch

from fervis.errors import ConfigError, unknown_name

PRECISIONS = ("auto", "bf16", "fp32")


def choose_device(spec: str) -> str:
    """Resolve ``device=`` on this machine: ``auto`` is the first GPU, else the CPU."""
    if spec == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(spec)
        torch.empty(0, device=device)
    except Exception as error:
        raise ConfigError(f"device={spec}: this machine cannot use it; expected auto or {_devices()}.") from error
    return str(device)


def _devices() -> str:
    return ", ".join(["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))])


def choose_precision(spec: str, device: str) -> str:
    """``bf16`` or ``fp32``; ``auto`` is bf16 where the processor computes in it."""
    if spec not in PRECISIONS:
        raise unknown_name("precision", spec, PRECISIONS)
    if spec != "auto":
        return spec
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    fast = device == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return "bf16" if fast else "fp32"


def computes_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 numbers itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
