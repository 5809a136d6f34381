"""One training in several processes: how they find each other, and BatchNorm over the batch of all of them."""

import os
import socket
import subprocess
import sys

import torch
from torch import nn
from torch.distributed.nn.functional import all_reduce

from fer_pipeline.core.errors import InputError


def join(devices: int, batch_size: int) -> tuple[int, int]:
    """The number of this process, from 0, and how many train; all of them have met when this returns.

    Under torchrun they are those that it started. Otherwise this process starts `devices` - 1 more of itself.
    InputError if they cannot share a batch equally.
    """
    world = int(os.environ.get("WORLD_SIZE", devices))
    if batch_size % world:
        shared = f"batch_size {batch_size} cannot be shared equally by {world} processes"
        raise InputError(f"{shared}; set a multiple of {world}")
    if world == 1:
        return 0, 1
    gpus = torch.cuda.device_count()
    if gpus and int(os.environ.get("LOCAL_WORLD_SIZE", world)) > gpus:
        raise InputError(f"{world} processes on {gpus} GPUs; set compute.devices to at most {gpus}")
    if "RANK" not in os.environ:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}", "WORLD_SIZE": f"{world}"}
        for rank in range(1, world):
            own = os.environ | {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}"}
            subprocess.Popen([sys.executable, *sys.argv], env=own, stdout=subprocess.DEVNULL)
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0"}
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if gpus else "gloo")
    return int(os.environ["RANK"]), world


def share_batchnorm(network: nn.Module) -> nn.Module:
    """The network with BatchNorm over the batch of all processes: torch's own, which needs GPUs, or the one below."""
    if torch.cuda.is_available():
        shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return shared
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = GlobalBatchNorm2d
    return network


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose training statistics cover the images of all processes; each process has equally many."""

    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor
    momentum: float

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(images)
        world = torch.distributed.get_world_size()
        mean = all_reduce(images.float().mean((0, 2, 3))) / world
        variance = all_reduce((images - mean[:, None, None]).float().square().mean((0, 2, 3))) / world
        with torch.no_grad():
            count = world * images.numel() / images.shape[1]
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return images * scale[:, None, None] + shift[:, None, None]
