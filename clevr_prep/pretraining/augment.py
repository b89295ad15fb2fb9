"""Photometric augmentation, so that a network trained on rendered images knows genuine ones."""

import numpy as np
from PIL import Image, ImageFilter

# Chances and ranges; "of 255" where pixels are meant. Wider than the differences between rendered
# and genuine images, so that genuine ones are just another variation.
MAX_CROP = 0.05
RESAMPLING = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.HAMMING)
BLUR_CHANCE, BLUR_RADIUS = 0.3, (0.2, 0.9)
SHARPEN_CHANCE, SHARPEN_PERCENT = 0.3, (20, 100)
GAMMA = 0.25
CONTRAST = 0.2
BRIGHTNESS = 0.12
CHANNEL_GAIN = 0.06
NOISE_CHANCE, NOISE_DEVIATION = 0.5, 6.0


def random_box(width: int, height: int, rng: np.random.Generator) -> tuple[float, ...]:
    """Part (left, top, right, bottom) of an image with up to MAX_CROP cut off at each side."""
    left, right = rng.uniform(0, MAX_CROP, 2) * width
    top, bottom = rng.uniform(0, MAX_CROP, 2) * height
    return left, top, width - right, height - bottom


def random_resize(
    image: Image.Image, box: tuple[float, ...], size: int, rng: np.random.Generator
) -> Image.Image:
    """The box of an image at size x size pixels, by one of several filters, maybe blurred or
    sharpened before."""
    if rng.random() < BLUR_CHANCE:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(*BLUR_RADIUS)))
    elif rng.random() < SHARPEN_CHANCE:
        percent = int(rng.integers(*SHARPEN_PERCENT))
        image = image.filter(ImageFilter.UnsharpMask(1, percent, 0))
    resampling = RESAMPLING[rng.integers(len(RESAMPLING))]
    return image.resize((size, size), resampling, box=box)


def tone_table(rng: np.random.Generator) -> np.ndarray:
    """Random gamma, contrast, brightness and colour cast: new values uint8 [256, 3] of 0..255."""
    values = np.linspace(0, 1, 256)[:, None]
    gamma = np.exp(rng.uniform(-GAMMA, GAMMA))
    contrast = np.exp(rng.uniform(-CONTRAST, CONTRAST))
    gains = np.exp(rng.uniform(-CHANNEL_GAIN, CHANNEL_GAIN, 3))
    brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    values = ((values**gamma - 0.5) * contrast + 0.5 + brightness) * gains
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)


def distort(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 [H, W, 3] with random tones, and noise in some."""
    table = tone_table(rng)
    pixels = np.stack([table[:, c][pixels[..., c]] for c in range(3)], axis=-1)
    if rng.random() < NOISE_CHANCE:
        noise = rng.standard_normal(pixels.shape, dtype=np.float32)
        noise *= rng.uniform(0, NOISE_DEVIATION)
        pixels = np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)
    return pixels
