"""What every backbone shares: preprocessing of images, frozen trunk, channels-last output."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from snmn.common.errors import UserError
from snmn.storage.rgb import as_rgb
from snmn.storage.torch_file import TorchFileError, read_torch_file

# (mean, standard deviation) of red, green, blue on the 0..255 scale.
PREPROCESS = {
    # Statistics of ImageNet, as torchvision's weights expect them.
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    # The mean-only preprocessing of the earlier SNMN codebases.
    "caffe": ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
    # 0..255 to -1..1.
    "signed": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
}


class BackboneError(UserError):
    """A backbone cannot be built; the message is fit for a user."""


def resize_rgb(image: Image.Image | np.ndarray, size: int) -> np.ndarray:
    """Image as uint8 RGB [size, size, 3], resized bilinearly with antialiasing.

    Args:
        image: PIL image or array, of the kinds that `snmn.storage.rgb.as_rgb` takes.
        size: pixels each way; the aspect ratio is given up, as in the published features.
    """
    return np.array(as_rgb(image).resize((size, size), Image.Resampling.BILINEAR))


def state_sha256(module: nn.Module) -> str:
    """SHA-256 over the names and float32 values of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_state(path: str | Path) -> dict[str, Tensor]:
    """State dict from a file, read without unpickling code; BackboneError if it is none."""
    try:
        state = read_torch_file(path)
    except FileNotFoundError as error:
        raise BackboneError(f"no weights file {path}") from error
    except TorchFileError as error:
        raise BackboneError(f"{path} is not a readable state dict: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BackboneError(f"{path} is not a state dict (names to tensors)")
    return state


def fit_state(module: nn.Module, state: dict[str, Tensor], *, path: str | Path, what: str) -> None:
    """Put a state dict into a module, cast to its types; surplus entries are left aside.

    Raises:
        BackboneError: an entry is missing or has another shape; names the file and the first such.
    """
    # A counter of training steps, which old files lack and inference does not use.
    needed = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    for name, value in needed.items():
        if name not in state:
            raise BackboneError(f"{path} is not {what}: it has no {name}")
        if state[name].shape != value.shape:
            raise BackboneError(
                f"{path} is not {what}: {name} is {tuple(state[name].shape)}, "
                f"not {tuple(value.shape)}"
            )
    module.load_state_dict({name: state[name] for name in needed}, strict=False)


# What a feature store records of the backbone that made it, and what features have in common that a
# model can be trained and tested on.
FEATURE_ATTRIBUTES = ("backbone", "weights_sha256", "preprocess", "image_size")


class Backbone(nn.Module):
    """Frozen feature extractor.

    Args:
        trunk: maps [N, 3, size, size] to [N, D, H, W].
        name: name in the registry.
        preprocess: key of :data:`PREPROCESS`.
        image_size: pixels each way that images are resized to.

    Attributes:
        attributes: what a feature store records: backbone, weights_sha256, preprocess, image_size.
    """

    def __init__(self, trunk: nn.Module, *, name: str, preprocess: str, image_size: int):
        super().__init__()
        self.trunk = trunk.requires_grad_(False).to(memory_format=torch.channels_last)
        self.image_size = image_size
        self.attributes = {
            "backbone": name,
            "weights_sha256": state_sha256(trunk),
            "preprocess": preprocess,
            "image_size": image_size,
        }
        mean, deviation = PREPROCESS[preprocess]
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation), persistent=False)
        self.eval()

    def train(self, mode: bool = True) -> "Backbone":
        """Stay in evaluation mode: batch statistics must never leak into features."""
        return super().train(False)

    def preprocess(self, images: Sequence[Image.Image | np.ndarray]) -> Tensor:
        """Images, see `resize_rgb`, as normalised float32 [N, 3, size, size]."""
        pixels = np.stack([resize_rgb(image, self.image_size) for image in images])
        return self.normalise(torch.from_numpy(pixels))

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 RGB [N, size, size, 3] as normalised float32 [N, 3, size, size] on our device."""
        pixels = pixels.to(self.mean.device).float()
        return ((pixels - self.mean) / self.deviation).permute(0, 3, 1, 2)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features [N, H, W, D] of preprocessed images [N, 3, size, size]."""
        images = images.contiguous(memory_format=torch.channels_last)
        return self.trunk(images).permute(0, 2, 3, 1).contiguous()
