"""Hash of tensors, to be stored in the metadata of the file that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fervis.system.hashing import digest


def tensors_hash(tensors: Mapping[str, Tensor], plain: Any = None) -> str:
    """Return 64 hex digits over names, types, shapes and bytes of tensors, and over plain data."""
    hashed = hashlib.sha256(digest(plain).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        hashed.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        hashed.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return hashed.hexdigest()
