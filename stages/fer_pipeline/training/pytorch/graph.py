"""A training step as one CUDA graph: networks for small images leave a GPU idle while Python starts their kernels."""

from collections.abc import Callable

import torch

WARM_UP = (
    3  # ordinary calls before the capture, in which libraries choose their kernels and optimizers make their state
)


class Captured:
    """A function without arguments and result: after `WARM_UP` ordinary calls, CUDA replays it as one graph.

    It computes the same as before, from the same places in memory, and must not wait for the GPU. Where CUDA cannot
    capture it, it goes on being called, and one line says so.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self.function, self.calls = function, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.stream = torch.cuda.Stream()

    def __call__(self) -> None:
        if self.calls == WARM_UP:
            self.capture()
        self.calls += 1
        if self.graph:
            self.graph.replay()
            return
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):  # where gradients are made for the first time, they have to stay
            self.function()
        torch.cuda.current_stream().wait_stream(self.stream)

    def capture(self) -> None:
        """Record what one call does, without doing it."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                self.function()
            self.graph = graph
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:120]
            print(f"no CUDA graph of a training step ({reason}): its kernels are started one by one", flush=True)
