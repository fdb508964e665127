"""Files of the video codec: the decoder shows what the encoder saw, whatever is chosen."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import small_stat_ssf
from small_stat_ssf import clip_of

import overfit
from overfit import decoding
from overfit.bases.base import identity, pack, unpack
from overfit.coding import container
from overfit.coding.parameters import quantize
from overfit.errors import UserError
from overfit.methods.stat_ssf import codec, encoder
from overfit.methods.stat_ssf import networks as wiring
from overfit.methods.stat_ssf.architecture import parameter_shapes
from overfit.methods.stat_ssf.complexity import encoder as encoder_macs
from overfit.methods.stat_ssf.complexity import frame_macs
from overfit.methods.stat_ssf.config import PAPER, VARIANTS
from overfit.nn import layers
from overfit.settings import override


@pytest.fixture(scope="module")
def base():
    return unpack(pack(small_stat_ssf.base()))


def coded(clip, base, encoder_networks=None, **choices):
    """(code, the frames that the encoder refers to)."""
    config = override(codec.configuration(base), choices)
    code = encoder.plain(clip, base, 3e-3, config)
    return codec.encoded(code, base, clip.planes[0], encoder_networks)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_files(variant):
    base = small_stat_ssf.base(variant)
    clip = clip_of()
    code, distortion = coded(clip, base)
    again = codec.read(list(codec.write(code, base).values()), base)
    assert again.gops == code.gops and again.shape == clip.shape
    shown = codec.reconstruct(again, base)
    assert shown.shape == clip.planes[0].shape
    assert np.mean(np.square(shown / 255 - clip.planes[0] / 255)) == pytest.approx(distortion)


@pytest.mark.parametrize(("frames", "gop"), [(1, 0), (5, 2), (4, 4), (3, 100)])
def test_groups_of_pictures_are_independent(base, frames, gop):
    clip = clip_of(frames)
    code, _ = coded(clip, base, gop=gop)
    assert len(code.gops) == -(-frames // (gop or frames))
    shown = codec.reconstruct(codec.read(list(codec.write(code, base).values()), base), base)
    start = (len(code.gops) - 1) * gop
    part = clip_of(frames)._replace(planes=(clip.planes[0][start:],))
    alone, _ = coded(part, base)
    assert np.array_equal(codec.reconstruct(alone, base), shown[start:])


@pytest.mark.parametrize("subset", codec.SUBSETS[1:])
def test_changes_reach_the_decoder(base, subset):
    rng = np.random.default_rng(3)
    changes = {
        path: quantize(
            prior.center.value() + (rng.random(prior.center.k.shape) > 0.9) * 0.03, 8, prior
        )
        for path, prior in codec.changeable(subset, base).items()
    }
    clip = clip_of(3)
    plain, _ = coded(clip, base)
    changed, distortion = codec.encoded(
        plain._replace(subset=subset, changes=changes, gops=[]), base, clip.planes[0]
    )
    again = codec.read(list(codec.write(changed, base).values()), base)
    shown = codec.reconstruct(again, base)
    assert np.mean(np.square(shown / 255 - clip.planes[0] / 255)) == pytest.approx(distortion)
    assert not np.array_equal(shown, codec.reconstruct(plain, base))


def test_a_base_of_earlier_arithmetic_is_refused(base):
    """Its files would decode, to something else."""
    settings = {name: v for name, v in base.settings.items() if name != "transform.growth"}
    with pytest.raises(UserError, match="earlier version"):
        codec.configuration(base._replace(settings=settings))


def test_integers_predict_what_floats_do(base):
    """The entropy model of a fit is that of files, to the precision of activations."""
    model = codec.model(encoder.plain(clip_of(1), base, 3e-3, codec.configuration(base)), base)
    networks = {path.split("/")[0] for path in base.arrays}
    values = layers.floats(
        {n: {k: p.center.value() for k, p in base.network(n).items()} for n in networks}
    )
    rng = np.random.default_rng(0)
    z = rng.integers(-4, 5, (5, 2, 3)).astype(np.float32)
    known = wiring.Known(z[::-1], rng.normal(size=(8, 8, 12)).astype(np.float32).round(2))
    fixed = wiring.Known(*(np.rint(1024 * a.astype(np.float64)) for a in known))
    for part, seen, exact in (("motion", None, None), ("residual", known, fixed)):
        expected = wiring.hyper_synthesis(values, part, z, seen)
        got = wiring.hyper_synthesis(model.integers, part, 1024.0 * z, exact)
        np.testing.assert_allclose(got / 1024, expected, atol=0.02)


def test_the_synthesis_alone_leaves_the_symbols_as_they_are(base):
    """Symbols depend on nothing that floats computed: changed pixels, same payload to decode."""
    clip = clip_of(3)
    code, _ = coded(clip, base)
    path = "residual_synthesis/b3"
    prior = base.arrays[path]
    moved = {
        p: quantize(q.center.value(), 8, q) for p, q in codec.changeable("decoder", base).items()
    }
    moved[path] = quantize(prior.center.value() + 0.5, 8, prior)
    other = code._replace(subset="decoder", changes=moved)
    a, b = codec.reconstruct(code, base), codec.reconstruct(other, base)  # neither runs out of data
    assert np.array_equal(a[0], b[0]) and not np.array_equal(a[1:], b[1:])


@pytest.fixture
def kept(base, tmp_path, monkeypatch):
    monkeypatch.setenv("OVERFIT_BASES", str(tmp_path))
    data = pack(base)
    (tmp_path / "small.ovb").write_bytes(data)
    return bytes.fromhex(identity(data))[:3]


def file_of(base, prefix, clip):
    code, _ = coded(clip, base, gop=2)
    return container.pack("stat-ssf", list(codec.write(code, base).values()), prefix)


def test_a_fresh_process_decodes_the_same_without_jax(base, kept, tmp_path):
    clip = clip_of(3)
    data = file_of(base, kept, clip)
    (tmp_path / "clip.ovf").write_bytes(data)
    code = (
        "import sys, numpy as np, overfit.decoding as d;"
        "np.save(sys.argv[2], d.decode(open(sys.argv[1], 'rb').read()));"
        "assert 'jax' not in sys.modules"
    )
    arguments = [sys.executable, "-c", code, tmp_path / "clip.ovf", tmp_path / "out.npy"]
    subprocess.run(arguments, check=True)
    assert np.array_equal(np.load(tmp_path / "out.npy"), decoding.decode(data))


def test_info_says_what_it_is(base, kept):
    about = decoding.info(file_of(base, kept, clip_of(3)))
    assert (about["method"], about["frames"], about["width"], about["height"]) == (
        "stat-ssf", 3, 70, 50,
    )  # fmt: skip
    assert about["fps"] == 30 and about["gop"] == 2 and about["adapted"] == "none"
    assert about["bits"]["latents"] > 0 == about["bits"]["networks"]


def test_damage_is_an_error_or_another_clip(base, kept):
    data = file_of(base, kept, clip_of(3, 20, 20))
    sections = container.unpack(data, 3)
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = [bytearray(section) for section in sections]
        which = broken[rng.choice([0, 2])]
        if rng.integers(2) and len(which) > 1:
            del which[int(rng.integers(1, len(which))) :]
        else:
            which[int(rng.integers(len(which)))] ^= 1 << int(rng.integers(8))
        try:
            code = codec.read([bytes(section) for section in broken], base)
            if code.shape.frames * code.shape.height * code.shape.width < 1 << 20:
                codec.reconstruct(code, base)
        except UserError as error:
            assert "\n" not in str(error)


def test_a_header_of_millions_of_groups_takes_no_memory(base):
    numbers = (64, 64, codec.MAX_FRAMES, 30, 1, 1)
    header = b"".join(map(container.write_varint, numbers)) + bytes(2)
    tracemalloc.start()
    with pytest.raises(UserError, match="fewer groups"):
        codec.read([header, b"", b"ab"], base)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_errors(base, kept, picture):
    data = file_of(base, kept, clip_of(2))
    with pytest.raises(UserError, match="damaged or truncated"):
        decoding.decode(data[:-1])
    with pytest.raises(UserError, match="is for clips"):
        overfit.encode(picture(64, 64), method="stat-ssf", base="small")
    with pytest.raises(UserError, match="needs"):
        encoder.plain(clip_of(1), None, 1e-3, codec.configuration(base))
    with pytest.raises(UserError, match="up to"):
        codec.check_shape(clip_of(1).shape._replace(width=1 << 15))


@pytest.mark.parametrize(
    ("variant", "total", "receiver", "predicted"),
    [
        ("ssf", 23.36, 12.49, 83.4),
        ("stat-ssf", 23.37, 12.50, 85.8),
        ("stat-ssf-sp", 24.96, 14.09, 88.7),
    ],
)
def test_parameters_and_operations_are_those_of_the_released_code(
    variant, total, receiver, predicted
):
    config = override(PAPER, VARIANTS[variant])
    counts = {
        network: sum(
            int(np.prod(shape))
            for name, shape in arrays.items()
            if name not in ("center", "frequencies")
        )
        for network, arrays in parameter_shapes(config).items()
    }
    assert sum(counts.values()) / 1e6 == pytest.approx(total, abs=0.01)
    decoder = sum(n for network, n in counts.items() if not network.endswith("analysis"))
    assert decoder / 1e6 == pytest.approx(receiver, abs=0.01)
    macs = frame_macs(config)
    assert macs["predicted"] / 1e3 == pytest.approx(predicted, abs=0.05)
    assert macs["intra"] / 1e3 == pytest.approx(40.5, abs=0.05)
    encoding = encoder_macs("motion", config) + encoder_macs("residual", config)
    assert encoding / 1e3 == pytest.approx(80.8, abs=0.05)
