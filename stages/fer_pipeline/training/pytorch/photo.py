"""What photos go through, done to a share of the training faces: light, blur, few pixels, noise.

Drawn and applied as all else in augment.py is. Of noise each face takes a stretch of one long row of numbers, so that
an epoch need not keep a number for each pixel.
"""

import functools
import math

import torch
import torch.nn.functional as F

from fer_pipeline.params.schema import Photo

UNIT = 48  # pixels of a face for which `erase_size`, `blur` and `pixels` are stated: they grow with the face
NUMBERS = 2**20  # of noise


def draw_damage(count: int, face: int, photo: Photo, generator: torch.Generator) -> torch.Tensor:
    """What each of `count` faces of `face` pixels goes through, each kind drawn for itself: float32 (N, 7).

    Its columns: the power to which tones in [0, 1] are raised; how much brighter the right and the lower edge are than
    the middle, as shares; the standard deviation of the blur in pixels, 0 for none; 1 if it is scaled down and up, else
    0; the standard deviation of the noise, of tones in [0, 1]; where its stretch of noise begins.
    """

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    def some(share: float, values: torch.Tensor, otherwise: float) -> torch.Tensor:
        return torch.where(uniform(0, 1) < share, values, otherwise)

    exponent = some(photo.light, torch.exp(uniform(-1, 1) * math.log1p(photo.gamma)), 1)
    angle, strength = uniform(0, 2 * math.pi), some(photo.light, uniform(0, photo.gradient), 0)
    sigma = some(photo.detail, uniform(0, photo.blur * face / UNIT), 0)
    coarse = some(photo.detail, torch.ones(count), 0)
    noise = some(photo.detail, uniform(0, photo.noise), 0)
    start = torch.randint(NUMBERS, (count,), generator=generator)  # exact in float32
    return torch.stack([exponent, strength * angle.cos(), strength * angle.sin(), sigma, coarse, noise, start], dim=1)


def pass_through(crops: torch.Tensor, face: int, photo: Photo, damage: torch.Tensor) -> torch.Tensor:
    """Crops float32 (N, C, size, size) in [0, 1] of faces of `face` pixels after all that `damage` says."""
    size, device = crops.shape[2], crops.device
    exponent, right, down, sigma, coarse, noise, start = damage.view(len(damage), 7, 1, 1, 1).unbind(1)
    if photo.light and photo.gamma:
        crops = crops**exponent
    if photo.light and photo.gradient:
        way = torch.linspace(-1, 1, size, device=device)
        crops = (crops * (1 + right * way + down * way.unsqueeze(1))).clamp(0, 1)
    if photo.detail and photo.blur:
        crops = blur(crops, sigma.flatten(), math.ceil(3 * photo.blur * face / UNIT))
    if photo.detail and photo.pixels < UNIT:
        small = F.interpolate(crops, size=round(size * photo.pixels / UNIT), mode="bilinear", antialias=True)
        crops = torch.where(coarse > 0, F.interpolate(small, size=size, mode="bilinear"), crops)
    if photo.detail and photo.noise:
        places = start.flatten(1).long() + torch.arange(crops[0].numel(), device=device)
        crops = torch.addcmul(crops, make_noise(device)[places % NUMBERS].view_as(crops), noise).clamp(0, 1)
    return crops


def blur(crops: torch.Tensor, sigma: torch.Tensor, radius: int) -> torch.Tensor:
    """Crops (N, C, size, size) under a Gaussian of `sigma` (N,) pixels, up to `radius` pixels from its middle."""
    count, channels, size, _ = crops.shape
    steps = torch.arange(-radius, radius + 1, device=crops.device)
    weights = torch.exp(-((steps / sigma.clamp_min(1e-3).unsqueeze(1)) ** 2) / 2)
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, dim=0)
    planes = F.pad(crops.reshape(1, count * channels, size, size), [radius] * 4, mode="replicate")
    for shape in ((-1, 1, 1, 2 * radius + 1), (-1, 1, 2 * radius + 1, 1)):
        planes = F.conv2d(planes, weights.view(shape), groups=count * channels)
    return planes.view_as(crops)


@functools.cache
def make_noise(device: torch.device) -> torch.Tensor:
    """`NUMBERS` numbers with a mean of 0 and a standard deviation of 1, always the same."""
    return torch.randn(NUMBERS, generator=torch.Generator().manual_seed(0)).to(device)
