"""A key-value cache that is written in place: Transformers' own copies all of it for every token."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer


def roomy_cache(model: Any, positions: int) -> DynamicCache:
    """An empty cache for ``model`` with room for ``positions`` tokens a row in its plain attention layers."""
    cache = DynamicCache(config=model.config)
    cache.layers = [RoomyLayer(positions) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class RoomyLayer(DynamicLayer):
    """A `DynamicLayer` whose keys and values are views into buffers [rows, heads, positions, size]."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.positions = positions
        self.buffers: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.buffers = [s.new_empty(*s.shape[:-2], self.positions, s.shape[-1]) for s in (key_states, value_states)]
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[..., start:end, :] = states
        self.keys, self.values = (buffer[..., :end, :] for buffer in self.buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        end = self.get_seq_length()
        self.buffers = [buffer[indices] for buffer in self.buffers]
        self.keys, self.values = (buffer[..., :end, :] for buffer in self.buffers)
