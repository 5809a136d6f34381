"""How fast the networks train beside the plain way, the bare arithmetic, and what the machine can multiply.

    python benchmarks/training.py resnet18      # or vgg19, baseline; default: all three, each in a process of its own

All of one network's figures come from one run on the same random rows: images/s of
- our epoch: the training part of an epoch as the stage runs it (batches, crops, forward, backward, clipping, step,
  metrics), the second of two, so that nothing is timed that happens only once;
- the plain way: float32, NCHW, Pillow transforms in a DataLoader (Keras: float32 `fit` on ImageDataGenerator);
- the bare loop: forward and backward on one fixed batch, in the precision of our epoch;
- evaluation: crops/s of TenCrop, beside the training forward alone.
FLOP/s come from PyTorch's flop counter; the matrix product is 4096x4096 in bfloat16.
Aims on a CPU with avx512_bf16, for ResNet18: 2.5 times the plain way, 95 % of the bare loop, 80 % of the product's
rate, evaluation at least as fast per crop as the forward; for the baseline 1.5 times the plain way.
"""

import argparse
import contextlib
import logging
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

STAGES = Path(__file__).parents[1] / "stages"
sys.path.insert(0, str(STAGES))

from fer.core.params import read_params  # noqa: E402
from fer.data.faces import Split  # noqa: E402
from fer.training.run import name_cpu  # noqa: E402

ROUNDS = 3


def draw_rows(count):
    """A `Split` of noise: speed does not depend on what a face shows."""
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (count, 48, 48), np.uint8), rng.integers(0, 7, count).astype(np.uint8), None)


def time_call(call):
    """Seconds of the fastest of `ROUNDS` calls, after one that is not counted."""
    call()
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure_torch(name, rows):
    """Print all figures of VGG19 or ResNet18, full width."""
    import lightning as L
    import torch
    import torch.nn.functional as F
    from torch.utils.flop_counter import FlopCounterMode
    from torchvision import transforms

    from fer.training.pytorch.data import FER2013, as_input, crop_for_training, score
    from fer.training.pytorch.files import NETWORKS
    from fer.training.pytorch.train import EVALUATION_CROPS, Transfer, choose_precision, make_trainer, quieten

    quieten()
    torch.manual_seed(0)
    compute, profiles = read_params("compute", "profiles")
    settings = getattr(profiles.cpu, name).model_copy(update={"epochs": 2})
    precision = choose_precision(compute.precision)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = FER2013.__new__(FER2013)
    data.images, data.labels = torch.from_numpy(rows.images).unsqueeze(1), torch.from_numpy(rows.labels).long()
    count, batch_size = len(data) // settings.batch_size * settings.batch_size, settings.batch_size

    class Clock(L.Callback):
        def on_train_epoch_start(self, trainer, module):
            self.start = time.perf_counter()

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if batch_idx + 1 == trainer.num_training_batches:
                self.seconds = time.perf_counter() - self.start

    def synchronize():
        if device == "cuda":
            torch.cuda.synchronize()

    network = NETWORKS[name]().to(memory_format=torch.channels_last)
    few = FER2013.__new__(FER2013)
    few.images, few.labels = data.images[:64], data.labels[:64]
    clock = Clock()
    with contextlib.redirect_stdout(None):
        make_trainer(settings, compute, precision, [clock], logger=False).fit(Transfer(network, settings, 0, data, few))
    ours = count / clock.seconds
    network = network.to(device)

    images, labels = data.images[:batch_size].to(device), data.labels[:batch_size].to(device)
    crops = crop_for_training(images, torch.Generator().manual_seed(0))

    def forward(inputs):
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            return network(inputs).float()

    def step(inputs):
        network.zero_grad()
        F.cross_entropy(forward(inputs), labels).backward()
        synchronize()

    fixed = as_input(crops)
    network.train()
    bare = batch_size / time_call(lambda: [step(fixed) for _ in range(4)]) * 4
    train_forward = batch_size / time_call(lambda: [forward(fixed) for _ in range(4)] and synchronize()) * 4
    network.eval()

    def evaluate():
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            for some in images.split(EVALUATION_CROPS[device] // 10):
                score(network, some, 10)
        synchronize()

    evaluation = 10 * batch_size / time_call(evaluate)
    network.train()
    with FlopCounterMode(display=False) as counter:
        step(fixed)
    flops = counter.get_total_flops() / batch_size

    plain_network = NETWORKS[name]().to(device)
    optimizer = torch.optim.SGD(plain_network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    transform = transforms.Compose(
        [transforms.RandomCrop(44), transforms.RandomHorizontalFlip(), transforms.Grayscale(3), transforms.ToTensor()]
    )

    class PlainDataset(torch.utils.data.Dataset):
        def __len__(self):
            return count

        def __getitem__(self, index):
            return transform(transforms.functional.to_pil_image(rows.images[index])), int(rows.labels[index])

    def train_plainly(batches):
        loader = torch.utils.data.DataLoader(PlainDataset(), batch_size, shuffle=True, num_workers=2)
        plain_network.train()
        for seen, (inputs, targets) in enumerate(loader, 1):
            optimizer.zero_grad()
            F.cross_entropy(plain_network(inputs.to(device)), targets.to(device)).backward()
            torch.nn.utils.clip_grad_value_(plain_network.parameters(), 0.1)
            optimizer.step()
            if seen == 1:
                start = time.perf_counter()  # the workers have started and the first batch has warmed up
            if seen == batches + 1:
                break
        synchronize()
        return batches * batch_size / (time.perf_counter() - start)

    plain = train_plainly(min(4, count // batch_size - 1))
    matrix = torch.randn(4096, 4096, device=device, dtype=torch.bfloat16)

    def multiply():
        matrix @ matrix
        synchronize()

    product = 2 * 4096**3 / time_call(multiply)
    print(
        f"{name}, {torch.cuda.get_device_name() if device == 'cuda' else name_cpu()}, {precision}, batch {batch_size}"
    )
    print(f"  our epoch       {ours:8.1f} images/s")
    print(f"  plain way       {plain:8.1f} images/s    ours is {ours / plain:.2f} times as fast")
    print(f"  bare loop       {bare:8.1f} images/s    ours is {ours / bare:.0%} of it")
    rate = ours * flops
    print(f"  matrix product  {product / 1e9:8.1f} GFLOP/s   ours has {rate / 1e9:.1f}, {rate / product:.0%} of it")
    print(
        f"  TenCrop         {evaluation:8.1f} crops/s     {evaluation / train_forward:.2f} times the training forward"
    )


def measure_keras(rows):
    """Print the figures of the baseline, full width."""
    import train_baseline as stage

    keras, tf = stage.keras, stage.tf
    compute, profiles = read_params("compute", "profiles")
    settings = profiles.paper.baseline
    precision = stage.choose_precision(compute.precision, stage.choose_gpus("auto"))
    steps = len(rows.labels) // settings.batch_size

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds = time.perf_counter() - self.start

    def time_fit(network, batches):
        network.compile(
            keras.optimizers.Adam(1e-4), loss="categorical_crossentropy", metrics=["accuracy"], jit_compile=False
        )
        clock = Clock()
        network.fit(batches, epochs=2, steps_per_epoch=steps, shuffle=False, callbacks=[clock], verbose=0)
        return steps * settings.batch_size / clock.seconds

    images, labels = stage.to_arrays(rows)
    generator = tf.keras.preprocessing.image.ImageDataGenerator(
        rescale=1 / 255, width_shift_range=0.1, height_shift_range=0.1, horizontal_flip=True
    )
    keras.config.set_dtype_policy("float32")
    network = stage.build_network(settings)
    network = keras.Sequential([layer for layer in network.layers if layer.name != "rescale"])
    plain = time_fit(network, generator.flow(images.astype("float32"), labels, batch_size=settings.batch_size))
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    network = stage.build_network(settings, stage.FusedBatchNormalization, stage.build_augmentation(settings.shift))
    batches, _ = stage.make_datasets({"train": rows, "val": rows}, settings.batch_size, 0, range(3))
    ours = time_fit(network, batches)
    print(f"baseline, {name_cpu()}, {precision}, batch {settings.batch_size}")
    print(f"  our epoch       {ours:8.1f} images/s")
    print(f"  plain way       {plain:8.1f} images/s    ours is {ours / plain:.2f} times as fast")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["baseline", "vgg19", "resnet18"])
    parser.add_argument("--rows", type=int, default=1024, help="images in an epoch")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    if len(args.networks) > 1:
        for network in args.networks:
            subprocess.run([sys.executable, __file__, network, "--rows", str(args.rows)], check=True)
    elif args.networks == ["baseline"]:
        measure_keras(draw_rows(args.rows))
    else:
        measure_torch(args.networks[0], draw_rows(args.rows))


if __name__ == "__main__":
    main()
