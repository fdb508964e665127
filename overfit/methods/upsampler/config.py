"""Configuration of the online-trained upsampler, and its presets.

Source: Klopp, Liu, Chien, Chen, "Online-trained Upsampler for Deep Low Complexity Video
Compression", ICCV 2021. Its layer tables are in a supplement that was never published; those here
are the ones that its operation counts (table 1) leave possible. tests/methods/upsampler has the
proof, column by column.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

MAX_LAYERS, MAX_CHANNELS = 32, 64

Features = Literal["features", "phasors"]
Inputs = Literal["pixels", "coordinates", "features"]


@dataclass(frozen=True)
class Network:
    """Batch normalization, convolution and ReLU in each layer; no ReLU after the last.

    layers: "P12" is 1x1 to 12 channels, "D" is 3x3 of each channel with zeros around.
    """

    layers: tuple[str, ...]
    normalize_last: bool = False  # whether the last layer is normalized, too

    def __post_init__(self):
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise ValueError(f"layers: from 1 to {MAX_LAYERS} of them, not {len(self.layers)}")
        for layer in self.layers:
            digits = layer.removeprefix("P")
            if layer != "D" and not (digits.isdecimal() and 1 <= int(digits) <= MAX_CHANNELS):
                raise ValueError(f"layers: P1 to P{MAX_CHANNELS} or D, not '{layer}'")


@dataclass(frozen=True)
class Base:
    """The classical codec under it (4.1, 4.3)."""

    speed: str = "veryslow"
    tune: str = "psnr"
    qp_offset: int = -5  # added to the qp that is asked for, as half the size needs fewer bits
    downsampling: Literal["bilinear", "bicubic", "lanczos3"] = "bicubic"  # not stated there
    # Where the features come from: "best" is the first of the others that works here.
    blocks: Literal["best", "hevc", "h264", "none"] = "best"


@dataclass(frozen=True)
class Training:
    """What a step sees. Patches are in pixels of the full resolution, multiples of 4."""

    steps: int = 1250  # where nobody asks for another number
    batch: int = 48
    patch_height: int = 80
    patch_width: int = 160
    weight_decay: float = 2e-4  # L2, added to the gradient

    def __post_init__(self):
        sizes = (self.patch_height, self.patch_width)
        if self.batch < 1 or not all(size >= 4 and size % 4 == 0 for size in sizes):
            raise ValueError("training: a batch of at least 1, patch sizes that 4 divides")


@dataclass(frozen=True)
class Fit:
    """The engine's schedule; see overfit/engine/schedule.py for what each number does.

    The noise stands for the share of the group's frames that patches come from.
    """

    lr: float = 1e-2
    lr_end: float = 0.0  # not stated in the paper
    noise_start: float = 1.0  # 0: frames become available one after the other (4.5)
    noise_end: float = 1.0
    clip: float = float("inf")
    stage2_lr: float = 1e-4
    decay: float = 1.0


@dataclass(frozen=True)
class UpsamplerConfig:
    """Three networks around a base of half the resolution (figure 3)."""

    feature: Network = Network(("P12", "D", "P12", "P12"))
    position: Network = Network(("P12", "D", "P7", "D", "P14"))
    denoiser: Network = Network(("P14", "D", "P14", "D", "P14", "D", "P14", "D", "P6"), True)
    position_inputs: tuple[Features, ...] = ("features", "phasors")  # none: no attention
    denoiser_inputs: tuple[Inputs, ...] = ("pixels", "coordinates", "features")
    attention: int = 4  # layer of the denoiser whose output is weighted
    group: int = 32  # frames that share their networks
    latency: Literal["offline", "zero"] = "offline"  # zero: a group has its predecessor's networks
    base: Base = field(default_factory=Base)
    training: Training = field(default_factory=Training)
    fit: Fit = field(default_factory=Fit)

    def __post_init__(self):
        check_group(self.group)
        if not self.denoiser_inputs:
            raise ValueError("denoiser_inputs: at least one")
        if not 0 <= self.attention < len(self.denoiser.layers) - 1:
            raise ValueError("attention: a layer of the denoiser but the last")


@dataclass(frozen=True)
class DenoiserConfig:
    """Klopp, Chen, Chien, "Utilising Low Complexity CNNs to Lift Non-Local Redundancies in Video
    Coding", IEEE TIP 2020: two networks that denoise luma and chroma of a base of full resolution.

    7 layers of 20 filters, as the ICCV paper compares with (table 3).
    """

    luma: Network = Network(("P20", "D", "P20", "D", "P20", "D", "P4"), True)
    chroma: Network = Network(("P20", "D", "P20", "D", "P20", "D", "P8"), True)
    group: int = 32
    latency: Literal["offline", "zero"] = "offline"
    base: Base = Base(qp_offset=0, blocks="none")
    training: Training = field(default_factory=Training)
    fit: Fit = field(default_factory=Fit)

    def __post_init__(self):
        check_group(self.group)
        if self.base.blocks != "none":
            raise ValueError("base.blocks: this network has no use for blocks; it must be none")


Config = UpsamplerConfig | DenoiserConfig


def check_group(group: int) -> None:
    if not 1 <= group <= 1 << 16:
        raise ValueError(f"group: from 1 to {1 << 16} frames, not {group}")


def zero_latency(config: Config) -> Config:
    """The setting of section 4.5; x265 then has no B-frames, either."""
    return dataclasses.replace(
        config,
        group=16,
        latency="zero",
        training=dataclasses.replace(
            config.training, steps=200, batch=40, patch_height=72, patch_width=144
        ),
        fit=dataclasses.replace(config.fit, noise_start=0.0),
    )


KLOPP21 = UpsamplerConfig()
# The three input channels of the text, where the operation counts ask for nine.
LITERAL = dataclasses.replace(KLOPP21, denoiser_inputs=("pixels",))
# Figure 5 takes the internal features away, and then the position encoding.
NO_FEATURES = dataclasses.replace(
    KLOPP21,
    position_inputs=("phasors",),
    denoiser_inputs=("pixels", "coordinates"),
    base=Base(blocks="none"),
)
ONLY_DENOISER = dataclasses.replace(NO_FEATURES, position_inputs=(), denoiser_inputs=("pixels",))
ZERO_LATENCY = "-zero-latency"  # ends the name of a preset
_OFFLINE = {
    "klopp21": KLOPP21,
    "klopp21-literal": LITERAL,
    "klopp21-no-features": NO_FEATURES,
    "klopp21-denoiser": ONLY_DENOISER,
    "klopp20": DenoiserConfig(),
}
PRESETS = _OFFLINE | {name + ZERO_LATENCY: zero_latency(c) for name, c in _OFFLINE.items()}
