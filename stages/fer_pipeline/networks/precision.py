"""Which number formats the processor multiplies in hardware."""

from pathlib import Path
from typing import Literal

from fer_pipeline.core.record import Precision

Wanted = Precision | Literal["auto"]


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (avx512_bf16 or amx_bf16, as Linux reports them)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
