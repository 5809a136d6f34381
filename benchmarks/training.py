"""How fast the networks train, beside the plain way, the bare arithmetic, and what the machine can multiply.

    python benchmarks/training.py resnet18      # default: all networks of params.yaml, each in a process of its own

All figures of a network come from one run on the same random rows, with the settings of the profile `cpu` at full width
(PyTorch: in batches of 64 and of 128). In images/s:
- our epoch: the training part of an epoch as the stage runs it (batches, crops, forward, backward, clipping, step,
  metrics), the second of two, so that nothing is timed that happens only once;
- the plain way: float32, NCHW, Pillow transforms in a DataLoader (Keras: float32 `fit` on ImageDataGenerator);
- PyTorch only, the bare loop: forward and backward on one fixed batch, in our precision, compiled where ours is;
- PyTorch only, evaluation: crops/s of TenCrop, beside the training forward alone.
FLOP/s come from PyTorch's flop counter; the matrix product is 4096x4096 in bfloat16.
Aims on a CPU with avx512_bf16: 2.5 times the plain way (Keras: 1.5 times), 95 % of the bare loop, 80 % of the product's
rate, and evaluation at least as fast per crop as the forward; measured with ResNet18 and the baseline.
"""

import argparse
import functools
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

import checkout
from fer_pipeline.faces.faces import Facts, Split
from fer_pipeline.faces.fer2013 import CLASSES, NAME, SIZE
from fer_pipeline.networks.network import TEN_CROP, Network, Shape, find_crop, find_network
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Compute, KerasTraining, PyTorchTraining
from fer_pipeline.running.stage import catch
from fer_pipeline.running.timing import time_calls
from fer_pipeline.training.common.profile import read_training

if TYPE_CHECKING:
    import keras
    import torch

ROUNDS = 3
"""Calls of which the fastest counts."""
REPEATS = 4
"""Batches in a call."""
FACTS = Facts(NAME, CLASSES, (), SIZE, False, "official", "")
"""Of the random rows."""


def draw_rows(count: int) -> Split:
    """Rows of noise: speed does not depend on what a face shows."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *FACTS.shape), np.uint8)
    return Split(images, rng.integers(0, len(CLASSES), count).astype(np.uint8), None)


def time_fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest of `ROUNDS` calls, after one that is not counted."""
    return min(time_calls(call, ROUNDS))


def measure_pytorch(name: str, network: Network, settings: PyTorchTraining, compute: Compute, rows: Split) -> None:
    """Print all figures of a PyTorch network."""
    import torch
    import torch.nn.functional as F
    from torch.utils.flop_counter import FlopCounterMode

    from fer_pipeline.networks.pytorch.crops import (
        EVALUATION_CROPS,
        as_input,
        autocast,
        choose_device,
        choose_precision,
        score_views,
    )
    from fer_pipeline.networks.pytorch.environment import enter
    from fer_pipeline.training.pytorch.train import compile_network

    enter()
    torch.manual_seed(0)
    size, batch_size = find_crop(name, SIZE), settings.batch_size

    def build() -> "torch.nn.Module":
        return network.build(Shape(settings.width, settings.dropout, len(CLASSES), FACTS.channels))

    device, hardware = choose_device(build(), size)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    precision = choose_precision(compute.precision, device)
    ours = time_our_epoch(build(), size, settings, compute, rows)
    memory = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    model = build().to(device, memory_format=torch.channels_last)

    images = torch.from_numpy(rows.images[:batch_size]).unsqueeze(1).to(device)
    labels = torch.from_numpy(rows.labels[:batch_size]).long().to(device)
    crops = as_input(images[:, :, :size, :size])

    def synchronize() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def forward() -> "torch.Tensor":
        with autocast(device, precision):
            return model(crops).float()

    def step() -> None:
        model.zero_grad()
        F.cross_entropy(forward(), labels).backward()

    def step_repeatedly() -> None:
        for _ in range(REPEATS):
            step()
        synchronize()

    def forward_repeatedly() -> None:
        for _ in range(REPEATS):
            forward()
        synchronize()

    def evaluate() -> None:
        with torch.inference_mode(), autocast(device, precision):
            for some in images.split(EVALUATION_CROPS[device] // 10):
                score_views(model, some, size, [TEN_CROP], len(CLASSES))
        synchronize()

    def multiply() -> None:
        torch.matmul(matrix, matrix)
        synchronize()

    model.train()
    with FlopCounterMode(display=False) as counter:
        step()
    rate = ours * counter.get_total_flops() / batch_size
    if compute.compile:
        compile_network(model)
    bare = REPEATS * batch_size / time_fastest(step_repeatedly)
    train_forward = REPEATS * batch_size / time_fastest(forward_repeatedly)
    model.eval()
    evaluation = 10 * batch_size / time_fastest(evaluate)
    plain = time_plain_training(build().to(device), size, batch_size, rows)
    matrix = torch.randn(4096, 4096, device=device, dtype=torch.bfloat16)
    product = 2 * 4096**3 / time_fastest(multiply)

    print(f"{name}, {hardware}, {precision}, batch {batch_size}{', compiled' * compute.compile}")
    print(f"  our epoch       {ours:8.1f} images/s{f'    peak memory {memory / 2**20:.0f} MiB' * bool(memory)}")
    print(f"  plain way       {plain:8.1f} images/s    ours is {ours / plain:.2f} times as fast")
    print(f"  bare loop       {bare:8.1f} images/s    ours is {ours / bare:.0%} of it")
    print(f"  matrix product  {product / 1e9:8.1f} GFLOP/s   ours has {rate / 1e9:.1f}, {rate / product:.0%} of it")
    print(
        f"  TenCrop         {evaluation:8.1f} crops/s     {evaluation / train_forward:.2f} times the training forward"
    )


def time_our_epoch(
    model: "torch.nn.Module", size: int, settings: PyTorchTraining, compute: Compute, rows: Split
) -> float:
    """Images/s of the second epoch of a training as the stage runs it, without its validation."""
    import torch

    from fer_pipeline.networks.pytorch.crops import choose_device, choose_precision
    from fer_pipeline.training.pytorch.data import TensorSplit
    from fer_pipeline.training.pytorch.learner import Learner
    from fer_pipeline.training.pytorch.train import compile_network, repeat_results

    device, _ = choose_device(model, size)
    repeat_results(compute.deterministic and device == "cuda")
    train, precision = TensorSplit.of(rows), choose_precision(compute.precision, device)
    learner = Learner(model, len(CLASSES), size, settings, precision, device, 0, train, train[:64])
    if compute.compile:
        compile_network(model)
    ends = []

    def end() -> tuple[float, float]:
        if device == "cuda":
            torch.cuda.synchronize()
        ends.append(time.perf_counter())
        return 0.0, 0.0

    learner.validate = end  # type: ignore[method-assign]
    learner.train_epoch()
    start = time.perf_counter()
    learner.train_epoch()
    return len(learner.batches) * learner.batches.batch_size / (ends[1] - start)


def time_plain_training(model: "torch.nn.Module", size: int, batch_size: int, rows: Split) -> float:
    """Images/s of a training loop as in PyTorch's tutorials: Pillow transforms in a DataLoader, float32."""
    import torch
    import torch.nn.functional as F
    from torchvision import transforms

    transform = transforms.Compose(
        [transforms.RandomCrop(size), transforms.RandomHorizontalFlip(), transforms.Grayscale(3), transforms.ToTensor()]
    )

    class PlainDataset(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
        def __len__(self) -> int:
            return len(rows.labels) // batch_size * batch_size

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return transform(transforms.functional.to_pil_image(rows.images[index])), int(rows.labels[index])

    device = next(model.parameters()).device
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    batches = min(4, len(PlainDataset()) // batch_size - 1)
    loader = torch.utils.data.DataLoader(PlainDataset(), batch_size, shuffle=True, num_workers=2)
    model.train()
    start = 0.0
    for seen, (inputs, targets) in enumerate(loader, 1):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs.to(device)), targets.to(device)).backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.1)
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if seen == 1:
            start = time.perf_counter()  # the workers have started and the first batch has warmed up
        if seen == batches + 1:
            break
    return batches * batch_size / (time.perf_counter() - start)


def measure_keras(name: str, network: Network, settings: KerasTraining, compute: Compute, rows: Split) -> None:
    """Print the figures of a Keras network."""
    from fer_pipeline.networks.keras.environment import enter

    enter()
    from fer_pipeline.networks.keras.framework import keras
    from fer_pipeline.training.keras.data import Batches, backend, build_augmentation, to_arrays
    from fer_pipeline.training.keras.train import FusedBatchNormalization, choose_precision, compile_network

    _, hardware, fast = backend.find_device()
    precision = choose_precision(compute.precision, fast)
    batch_size = settings.batch_size
    steps = len(rows.labels) // batch_size

    images, labels = (part[: steps * batch_size] for part in to_arrays(rows, FACTS, False))
    build = functools.partial(network.build, settings, (*FACTS.shape, 1), len(CLASSES))
    generator = import_module("keras.src.legacy.preprocessing.image").ImageDataGenerator(
        rescale=1 / 255,
        width_shift_range=settings.augment.shift,
        height_shift_range=settings.augment.shift,
        horizontal_flip=True,
        rotation_range=settings.augment.rotation,
        zoom_range=settings.augment.scale,
    )
    keras.config.set_dtype_policy("float32")
    plain_model = build()
    plain_model = keras.Sequential([layer for layer in plain_model.layers if layer.name != "rescale"])
    plain_batches = generator.flow(images.astype("float32"), labels, batch_size=batch_size)
    plain_model.compile(
        keras.optimizers.Adam(1e-4), "categorical_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    plain = time_fit(plain_model, plain_batches, steps, batch_size)

    backend.make_deterministic()
    backend.seed_all(0)
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    model = build(FusedBatchNormalization, build_augmentation(settings.augment))
    compile_network(model, len(CLASSES), settings, 2 * steps)
    ours = time_fit(model, Batches(images, labels, batch_size), steps, batch_size)
    print(f"{name}, {hardware}, {precision}, batch {batch_size}, Keras with {keras.backend.backend()}")
    print(f"  our epoch       {ours:8.1f} images/s")
    print(f"  plain way       {plain:8.1f} images/s    ours is {ours / plain:.2f} times as fast")


def time_fit(model: "keras.Model", batches: Any, steps: int, batch_size: int) -> float:
    """Images/s of the second epoch of `steps` steps of Keras' `fit`, of a compiled network."""
    import keras

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds = time.perf_counter() - self.start

    clock = Clock()
    model.fit(batches, epochs=2, steps_per_epoch=steps, shuffle=False, callbacks=[clock], verbose=0)
    return steps * batch_size / clock.seconds


def measure(name: str, rows: Split) -> None:
    """Print all figures of one network."""
    network = find_network(name)
    params = read_params()
    settings = read_training(params.model_copy(update={"profile": "cpu"}), name)
    functions: dict[str, Callable[..., None]] = {"keras": measure_keras, "pytorch": measure_pytorch}
    whole = {"width": 1, "epochs": 2, "small_epochs": 0, "freeze_epochs": 0}  # each epoch trains all, at full size
    changes = {key: value for key, value in whole.items() if hasattr(settings, key)}
    for batch_size in {"pytorch": (64, 128)}.get(network.FRAMEWORK, (settings.batch_size,)):
        chosen = settings.model_copy(update=changes | {"batch_size": batch_size})
        functions[network.FRAMEWORK](name, network, chosen, params.compute, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help="default: all of params.yaml")
    parser.add_argument("--rows", type=int, default=1024, help="images in an epoch; on a GPU some ten thousand")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    names = args.networks or list(read_params().networks)
    if len(names) == 1:
        measure(names[0], draw_rows(args.rows))
        return
    for name in names:
        subprocess.run([sys.executable, __file__, name, "--rows", str(args.rows)], check=True)


if __name__ == "__main__":
    catch(main)
