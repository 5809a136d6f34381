"""BatchNorm with statistics over the batch of several processes."""

import torch
from lightning.pytorch.plugins import TorchSyncBatchNorm
from torch import nn
from torch.distributed.nn.functional import all_reduce


class GlobalBatchNorm(TorchSyncBatchNorm):
    """Lightning's switch to BatchNorm over all processes: torch's own, which runs on GPUs only, or the one below."""

    def apply(self, model: nn.Module) -> nn.Module:
        if torch.cuda.is_available():
            return super().apply(model)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = GlobalBatchNorm2d
        return model


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
