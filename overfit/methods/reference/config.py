"""Configuration of the codec with global reference, and its presets.

Source of every default: Qian et al., "Learning Accurate Entropy Model with Global Reference for
Image Compression", ICLR 2021, Table 1 and section 5.1; where the released code (damo-cv/
img-comp-reference) is followed instead, the field says so.
"""

from dataclasses import dataclass, field
from typing import Literal

from overfit.nn.gains import Rates

Adapt = Literal["auto", "latents", "igsdn", "last", "adapter", "all"]


@dataclass(frozen=True)
class Transform:
    """The autoencoder between pixels and latents."""

    width: int = 192  # channels of the inner layers
    latents: int = 384  # channels at 1/16 of the resolution
    normalization: Literal["gdn", "gsdn"] = "gsdn"

    def __post_init__(self):
        if not 1 <= self.width <= 512 or not 1 <= self.latents <= 512:
            raise ValueError("transform: width and latents must be in 1..512")


@dataclass(frozen=True)
class Entropy:
    """What the distribution of a latent is predicted from, beside its causal neighbors (Fig. 7)."""

    reference: bool = True  # the most similar place among the decoded latents
    confidence: bool = True  # weigh the reference by the probability that its own latents had
    hyperprior: bool = True
    # Of the hyper-latents: a Gaussian per channel is the released code's, a density of any shape
    # the paper's.
    hyper_prior: Literal["gaussian", "factorized"] = "gaussian"
    hyper_width: int = 192  # channels of the hyper-latents, at 1/64 of the resolution
    # Of a latent: the last prediction is the paper's. In the released code the predictions of all
    # networks are components of a mixture, with shares that the networks tell.
    distribution: Literal["gaussian", "mixture"] = "gaussian"
    # The neighbors that are seen: those that precede in raster order, or none for the squares of
    # one color of a checkerboard and the nearest ones of that color for the others (He et al.,
    # "Checkerboard context model for efficient learned image compression", CVPR 2021).
    context: Literal["causal", "checkerboard"] = "causal"

    def __post_init__(self):
        if not 1 <= self.hyper_width <= 512:
            raise ValueError(f"entropy: hyper_width must be in 1..512, not {self.hyper_width}")

    @property
    def stages(self) -> tuple[str, ...]:
        """Sources of information, one parameter network each, in their order."""
        more = (("reference", self.reference), ("hyperprior", self.hyperprior))
        return ("context", *(name for name, used in more if used))


@dataclass(frozen=True)
class Training:
    """How a base is trained (5.1)."""

    steps: int = 1_500_000  # 3000 epochs of the paper's set, in batches of 8
    batch: int = 8
    crop: int = 512  # px, a multiple of 64; large, so that there is something to refer to
    lr: float = 1e-4
    clip: float = 1.0  # global norm of the gradient
    warm_up: float = 0.33  # share of the steps with the first weights of the stages
    # Of the last stage's rate, in the warm-up and after it; the others share the rest: 0.3, 0.3,
    # 0.4 and 0.1, 0.1, 0.8 with all three.
    last_weights: tuple[float, ...] = (0.4, 0.8)
    objective: Literal["mse", "ms-ssim"] = "mse"  # ms-ssim: lambda is of 1 - MS-SSIM per bit
    # What analysis and synthesis begin as: see nn/karhunen_loeve.py. Random: as in the paper.
    start: Literal["transform", "random"] = "transform"

    def __post_init__(self):
        if self.crop < 64 or self.crop % 64:
            raise ValueError(f"training: crop must be a multiple of 64, not {self.crop}")
        if self.objective == "ms-ssim" and self.crop < 192:
            raise ValueError("training: ms-ssim needs a crop of 192 or more")
        if min(self.steps, self.batch) < 1 or not 0 < self.lr < 1:
            raise ValueError("training: steps and batch must be positive, and lr in (0, 1)")


@dataclass(frozen=True)
class Fit:
    """Adaptation to an image; see overfit/engine/schedule.py for what each number does."""

    lr: float = 5e-3
    lr_end: float = 0.1
    temperature_start: float = 0.3
    temperature_end: float = 0.1
    noise_start: float = 2.0
    noise_end: float = 1.0
    clip: float = 10.0
    stage2_lr: float = 1e-3
    stage2_temperature: float = 1e-2
    patience: int = 10
    decay: float = 0.8
    min_lr: float = 1e-5


@dataclass(frozen=True)
class ReferenceConfig:
    """Everything about the codec but the image, lambda, the number of steps and the seed."""

    transform: Transform = field(default_factory=Transform)
    entropy: Entropy = field(default_factory=Entropy)
    # The paper trains a network per trade-off: a single one. Several have gains instead.
    rates: Rates = field(default_factory=lambda: Rates((8e-3, 3e-3, 1.1e-3, 4e-4)))
    training: Training = field(default_factory=Training)
    fit: Fit = field(default_factory=Fit)
    # Of coding. Both code the same latents; the wavefront (of a checkerboard: runs of positions of
    # one color) decodes several positions at a time, and its references are those of earlier waves.
    order: Literal["wavefront", "raster"] = "wavefront"
    # Of a fit: what is adapted to the image beside the latents; auto: igsdn and last. The file gets
    # what of it pays.
    adapt: Adapt = "auto"


PAPER = ReferenceConfig(rates=Rates(lmbdas=(3e-3,)), training=Training(start="random"))
SMALL = ReferenceConfig(
    transform=Transform(width=64, latents=96),
    entropy=Entropy(hyper_width=64),
    training=Training(steps=9000, batch=8, crop=256, lr=7e-4),
)
PRESETS = {
    "reference-small": SMALL,
    "reference-paper": PAPER,
}
