"""Configuration of C3 for images and clips, and its presets.

Source of every default: the C3 paper (arXiv 2312.02753), Tables 4 to 6, and the configurations
released with it (`configs/kodak.py`, `configs/clic2020.py`, `configs/uvg.py`), where the values
are. The defaults are those for images.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

Q_STEP_UNITS = 250  # per 1: the file carries the quantization step as q_step * 250 in a byte
MAX_MOTION = 64  # px per frame: bounds the time of the search
MAX_MARGIN = 1023  # of a canvas: 10 bits per direction
MAX_MASK_REACH = 62  # of the window in which a mask lies: its place has 7 bits per direction

Activation = Literal["gelu", "relu"]


@dataclass(frozen=True)
class Latents:
    """The pyramid of latent grids; grid k has 1/2^(k + first_octave) of the image's resolution.

    The grids of a clip have that resolution in time, too (A.1.1).
    """

    num_grids: int = 7
    first_octave: int = 0  # 1 leaves the full-resolution grid out (C3-adaptive, low rates)
    q_step: float = 0.4  # bin width; smaller than 1 keeps the networks' inputs small (3.1)
    order: Literal["fine_to_coarse", "coarse_to_fine"] = "fine_to_coarse"  # of coding (A.1.4)
    # Clips only: rows and columns that the grids cover beyond a frame's (motion.py).
    margin: tuple[int, int] = (0, 0)

    def __post_init__(self):
        if len(self.margin) != 2 or not all(0 <= n <= MAX_MARGIN for n in self.margin):
            raise ValueError(
                f"latents: margin must be two numbers in 0..{MAX_MARGIN}, not {self.margin}"
            )
        if not 1 <= self.num_grids <= 15 or not 0 <= self.first_octave <= 15:
            raise ValueError("latents: num_grids must be in 1..15 and first_octave in 0..15")
        units = self.q_step * Q_STEP_UNITS
        if not 1 <= round(units) <= Q_STEP_UNITS or abs(units - round(units)) > 1e-6:
            raise ValueError(
                f"latents: q_step must be a multiple of 1/{Q_STEP_UNITS} up to 1, not {self.q_step}"
            )

    def octaves(self) -> tuple[int, ...]:
        return tuple(range(self.first_octave, self.first_octave + self.num_grids))

    def shapes(self, *size: int) -> tuple[tuple[int, ...], ...]:
        """((frames,) rows, columns) of each grid, finest first; size: those of the signal."""
        *frames, rows, columns = size
        canvas = *frames, *self.canvas(rows, columns)
        return tuple(tuple(-(-n // 2**k) for n in canvas) for k in self.octaves())

    def canvas(self, rows: int, columns: int) -> tuple[int, int]:
        """(rows, columns) that the grids of a signal of that size cover."""
        return rows + self.margin[0], columns + self.margin[1]


@dataclass(frozen=True)
class Quantizer:
    """How rounding is approximated during the fit (3.1, A.2.2, A.2.4, A.2.5)."""

    soft_round: bool = True  # stage 1; off: noise alone, as Cool-chic
    noise: Literal["kumaraswamy", "gaussian"] = "kumaraswamy"  # uniform: kumaraswamy with a = 1
    gradient: Literal["soft_round", "linear"] = "soft_round"  # of hard rounding in stage 2
    linear_gradient_scale: float = 0.01  # Cool-chic v2's epsilon


@dataclass(frozen=True)
class Entropy:
    """The autoregressive network that predicts each latent's Laplace distribution (A.1.4)."""

    widths: tuple[int, ...] = (18, 18)
    context: int = 3  # radius of the causal neighborhood: 3 sees 24 values, 2 sees 12
    previous: int = -1  # radius of the neighborhood in the previous grid: 1 sees 9, -1 none
    per_grid: Literal["shared", "film", "separate"] = "shared"
    activation: Activation = "gelu"
    log_scale_shift: int = 8  # added to the raw output: small scales at the start
    # Clips only: what is seen of the frame before in the same grid (3.3, A.3).
    frame: int = -1  # radius of the neighborhood there: 4 sees 81 values, -1 none
    mask: int = 0  # side of a square within it that alone is seen; its place is learned
    mask_grids: int = 3  # with a mask: so many of the finest grids have one, others see nothing

    def __post_init__(self):
        _check_widths("entropy", self.widths)
        if not -1 <= self.frame <= (MAX_MASK_REACH if self.mask else 6):
            raise ValueError(
                f"entropy: frame must be in -1..6, or up to {MAX_MASK_REACH} with a mask"
            )
        if self.mask and not 1 <= self.mask <= min(7, 2 * self.frame + 1):
            raise ValueError("entropy: mask must be in 0..7 and fit into the window of `frame`")
        if self.mask and self.per_grid != "separate":
            raise ValueError("entropy: with a mask, per_grid must be separate")
        if not 1 <= self.mask_grids <= 15:
            raise ValueError("entropy: mask_grids must be in 1..15")
        if not 0 <= self.context <= 7 or not -1 <= self.previous <= 6:
            raise ValueError("entropy: context must be in 0..7 and previous in -1..6")
        if not 0 <= self.log_scale_shift <= 15:
            raise ValueError("entropy: log_scale_shift must be in 0..15")


@dataclass(frozen=True)
class Synthesis:
    """The network from upsampled latents to pixels (A.1.2, A.1.3)."""

    widths: tuple[int, ...] = (18, 18)
    residual_layers: int = 2  # 3x3 convolutions at the image's channel count
    activation: Activation = "gelu"
    # Along time, too, in a clip: bilinear is trilinear there.
    upsampling: Literal["bilinear", "nearest", "bicubic", "lanczos3", "learned"] = "bilinear"
    per_frame: bool = True  # off: residual convolutions are 3x3x3 (clips only)

    def __post_init__(self):
        _check_widths("synthesis", self.widths)
        if not 0 <= self.residual_layers <= 7:
            raise ValueError("synthesis: residual_layers must be in 0..7")


@dataclass(frozen=True)
class Samples:
    """What the synthesis gives."""

    format: Literal["rgb", "yuv420"] = "rgb"  # yuv420: of 4:2:0 clips, as they are
    weights: tuple[float, ...] = (6.0, 1.0, 1.0)  # of the squared errors of Y, U and V in the fit

    def __post_init__(self):
        if len(self.weights) != 3 or min(self.weights) < 0 or not 0 < sum(self.weights) < 1e6:
            raise ValueError(
                f"samples: weights must be three numbers for Y, U, V, none negative and not all 0, "
                f"not {self.weights}"
            )


@dataclass(frozen=True)
class Start:
    """What a fit starts from."""

    mean_color: bool = False  # in the last bias of the synthesis (A.4); off: zero
    mask_steps: int = 1000  # of the search for the masks' places (A.3); 0: they are centered
    motion: int = 0  # clips: the largest shift of the picture per frame, px; 0: not looked for

    def __post_init__(self):
        if self.mask_steps < 0:
            raise ValueError(f"start: mask_steps must not be negative, not {self.mask_steps}")
        if not 0 <= self.motion <= MAX_MOTION:
            raise ValueError(f"start: motion must be in 0..{MAX_MOTION}, not {self.motion}")


@dataclass(frozen=True)
class Fit:
    """The two-stage schedule; see overfit/engine/schedule.py for what each number does."""

    lr: float = 1e-2
    lr_end: float = 0.0  # 1: no cosine decay
    networks_lr: float = 1.0  # of the networks in stage 1, relative to lr
    temperature_start: float = 0.3
    temperature_end: float = 0.1
    noise_start: float = 2.0
    noise_end: float = 1.0
    clip: float = 0.1
    stage2_lr: float = 1e-4
    stage2_temperature: float = 1e-4
    patience: int = 20
    decay: float = 0.8  # 1: no adaptive learning rate in stage 2
    min_lr: float = 1e-8


@dataclass(frozen=True)
class C3Config:
    """Everything about one C3 fit but the signal, lambda, the number of steps and the seed."""

    latents: Latents = field(default_factory=Latents)
    quantizer: Quantizer = field(default_factory=Quantizer)
    entropy: Entropy = field(default_factory=Entropy)
    synthesis: Synthesis = field(default_factory=Synthesis)
    fit: Fit = field(default_factory=Fit)
    start: Start = field(default_factory=Start)
    samples: Samples = field(default_factory=Samples)


def _check_widths(what: str, widths: tuple[int, ...]) -> None:
    if len(widths) > 7 or not all(1 <= width <= 64 for width in widths):
        raise ValueError(f"{what}: at most 7 widths, each in 1..64, not {widths}")


KODAK = C3Config()
CLIC = dataclasses.replace(
    KODAK,
    entropy=Entropy(widths=(24, 24), previous=1),
    synthesis=Synthesis(widths=(24, 24)),
)
# Cool-chic v2 as C3's paper describes it (3.1, 3.2, A.1.2, A.2.2), at C3's network sizes: uniform
# noise, straight-through rounding scaled by 0.01, ReLU, bins of width 1, learned upsampling, a
# constant learning rate in each stage and an unshifted log-scale.
COOLCHIC_V2 = C3Config(
    latents=Latents(q_step=1.0),
    quantizer=Quantizer(soft_round=False, gradient="linear"),
    entropy=Entropy(activation="relu", log_scale_shift=0),
    synthesis=Synthesis(activation="relu", upsampling="learned"),
    fit=Fit(lr_end=1.0, noise_start=1.0, decay=1.0),
)
# "fast" has c3-kodak's networks, and so its bases, and fewer steps: see fitting/groups.py.
PRESETS = {"c3-kodak": KODAK, "fast": KODAK, "c3-clic": CLIC, "coolchic-v2": COOLCHIC_V2}

# The three entropy settings for UVG (Table 6), each with the first of the three synthesis settings.
# The released clip is 0.03, except for one of the seven videos (0.01). The paper's adaptive C3
# takes the best of nine: sweeps/c3_adaptive_uvg.toml.
UVG_SHARED = C3Config(
    latents=Latents(num_grids=6, q_step=0.3),
    entropy=Entropy(widths=(16, 16), context=4, frame=4),
    synthesis=Synthesis(widths=(32, 32)),
    fit=Fit(noise_start=1.75, clip=0.03),
    start=Start(mean_color=True),
)
UVG_SEPARATE = dataclasses.replace(
    UVG_SHARED,
    latents=Latents(num_grids=5, q_step=0.3),
    entropy=Entropy(widths=(2, 2), context=4, frame=4, per_grid="separate"),
)
UVG_MASKED = dataclasses.replace(
    UVG_SHARED,
    entropy=Entropy(widths=(8, 8), context=3, frame=32, mask=4, per_grid="separate"),
)
CLIP_PRESETS = {
    "c3-uvg-shared": UVG_SHARED,
    "c3-uvg-separate": UVG_SEPARATE,
    "c3-uvg-masked": UVG_MASKED,
}
