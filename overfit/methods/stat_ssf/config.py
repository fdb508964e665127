"""Configuration of the video codecs of the stochastic temporal autoregressive transform.

Source of every default: Yang et al., "Hierarchical autoregressive modeling for neural video
compression", ICLR 2021, and its released code (buggyyang/Hier-Video-Compression).
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from overfit.nn.gains import Rates

Adapt = Literal["all", "decoder", "subset"]


@dataclass(frozen=True)
class Transform:
    """x_t = mean(x_(t-1), w) + scale(x_(t-1), w) * residual(v, w) (Eq. 3), and autoencoders."""

    width: int = 128  # channels of the inner layer next to the latents
    growth: float = 1.0  # of inner layers' channels from one resolution to half of it
    latents: int = 192  # channels at 1/16 of the resolution
    hyper_latents: int = 0  # at 1/64, and of layers to and from there; 0: as many as latents
    # The previous frame, moved by a flow that w says, or a network of it and of what w says.
    mean: Literal["warp", "network"] = "warp"
    levels: int = 5  # of the scale space of a warp; 0: no depth, only places move (as in DVC)
    motion: bool = True  # whether there is a w; without, the mean is a network
    scale: bool = True  # whether there is a scale; without, residuals are added as they are
    network_width: int = 32  # of the network that has the mean and the scale, where there is one

    def __post_init__(self):
        if not 1 <= self.width <= 512 or not 1 <= self.latents <= 512:
            raise ValueError("transform: width and latents must be in 1..512")
        if not 1 <= self.growth <= 4 or not 0 <= self.hyper_latents <= 512:
            raise ValueError("transform: growth must be in 1..4, and hyper_latents in 0..512")
        if not 0 <= self.levels <= 5:
            raise ValueError(f"transform: levels must be in 0..5, not {self.levels}")
        if not 1 <= self.network_width <= 256:
            raise ValueError("transform: network_width must be in 1..256")
        if self.mean == "warp" and not self.motion:
            raise ValueError("transform: a warp needs motion")

    @property
    def widths(self) -> tuple[int, int, int]:
        """Channels at 1/2, 1/4 and 1/8 of the resolution."""
        half, quarter = (max(1, round(self.width / self.growth**k)) for k in (2, 1))
        return half, quarter, self.width

    @property
    def hyper_channels(self) -> int:
        return self.hyper_latents or self.latents

    @property
    def network(self) -> bool:
        """Whether the mean and the scale are those of a network at full resolution."""
        return self.mean == "network"


@dataclass(frozen=True)
class Entropy:
    """What the distribution of the residual's latents is predicted from."""

    structured: bool = True  # from w as well as from hyper-latents (the structured prior)


@dataclass(frozen=True)
class Training:
    """How a base is trained (A.2)."""

    steps: int = 1_050_000
    batch: int = 8
    frames: int = 3
    crop: int = 256  # px, a multiple of 64
    # The last steps see larger crops, if there are any.
    last_steps: int = 50_000
    last_crop: int = 384
    lr: float = 1e-4
    # Share of the steps after which it is a tenth; 0: it warms up and follows a cosine.
    decay: float = 900 / 1050
    clip: float = 1.0  # global norm of the gradient
    # What the autoencoders of pictures and residuals begin as: see nn/karhunen_loeve.py. Random: as
    # in the paper.
    start: Literal["transform", "random"] = "transform"
    # What learns: all, or w alone, to predict frames from those before them as they are. A codec
    # that begins with all of it finds residuals sooner than motion, and does without.
    learning: Literal["all", "motion"] = "all"
    # Weight of the predictions' own error in the loss at first, which falls to none at the end.
    prediction: float = 0.0

    def __post_init__(self):
        for name, side in (("crop", self.crop), ("last_crop", self.last_crop)):
            if side < 64 or side % 64:
                raise ValueError(f"training: {name} must be a multiple of 64, not {side}")
        if min(self.steps, self.batch) < 1 or self.frames < 2 or not 0 < self.lr < 1:
            raise ValueError("training: steps, batch and lr must be positive, and frames 2 or more")
        if not 0 <= self.prediction < 1e3:
            raise ValueError(f"training: prediction must be 0 or more, not {self.prediction}")


@dataclass(frozen=True)
class Fit:
    """Adaptation to a video; see overfit/engine/schedule.py for what each number does."""

    lr: float = 1e-3  # in units of nn.changes; more is noise to a base that is any good
    lr_end: float = 0.05
    clip: float = 1.0


@dataclass(frozen=True)
class StatSsfConfig:
    """Everything about the codec but the video, lambda, the number of steps and the seed."""

    transform: Transform = field(default_factory=Transform)
    entropy: Entropy = field(default_factory=Entropy)
    # The paper trains a network per trade-off: a single one. Several have gains instead.
    rates: Rates = field(default_factory=lambda: Rates((6.4e-3, 1.6e-3, 4e-4, 1e-4)))
    training: Training = field(default_factory=Training)
    fit: Fit = field(default_factory=Fit)
    # Of a fit: what is adapted beside the encoder, and sent: all that a decoder has, its synthesis,
    # or of this the last layers and all biases.
    adapt: Adapt = "all"
    # Of a fit: parts of the clip that it draws from, crops of `frames` frames each.
    windows: int = 256
    window_crop: int = 128  # px, a multiple of 64
    window_frames: int = 3
    gop: int = 0  # of coding: frames from one intra frame to the next; 0: only the first is one

    def __post_init__(self):
        if self.training.learning == "motion" and not self.transform.motion:
            raise ValueError("training: there is no motion that could learn alone")
        if self.window_crop < 64 or self.window_crop % 64:
            raise ValueError(f"window_crop must be a multiple of 64, not {self.window_crop}")
        if self.windows < 1 or self.window_frames < 1 or self.gop < 0:
            raise ValueError("windows and window_frames must be positive, and gop 0 or more")


_NETWORK = {"transform.mean": "network", "transform.levels": 0}
_PLAIN, _PRIOR = {"entropy.structured": False}, {"entropy.structured": True}
# Names of the paper (Table 2) -> settings. `dvc` is its plain warp in two dimensions.
VARIANTS: dict[str, dict[str, Any]] = {
    "tat": _NETWORK | _PLAIN | {"transform.motion": False, "transform.scale": True},
    "stat": _NETWORK | _PLAIN | {"transform.scale": True},
    "stat-sp": _NETWORK | _PRIOR | {"transform.scale": True},
    "dvc": _PLAIN | {"transform.levels": 0, "transform.scale": False},
    "ssf": _PLAIN | {"transform.scale": False},
    "ssf-sp": _PRIOR | {"transform.scale": False},
    "stat-ssf": _PLAIN | {"transform.scale": True},
    "stat-ssf-sp": _PRIOR | {"transform.scale": True},
}

PAPER = StatSsfConfig(rates=Rates(lmbdas=(1.6e-3,)), training=Training(start="random"))
SMALL = StatSsfConfig(
    transform=Transform(width=96, growth=2.0, latents=128, hyper_latents=64),
    training=Training(
        steps=6000, batch=2, crop=128, last_steps=0, lr=5e-4, decay=0.0, prediction=1.0
    ),
)
PRESETS = {
    "stat-ssf-small": SMALL,
    "stat-ssf-paper": PAPER,
}
