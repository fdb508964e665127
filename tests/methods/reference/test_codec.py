"""Files of the reference codec: what goes in comes out, in either order, whatever is adapted."""

import subprocess
import sys

import numpy as np
import pytest
import small_reference

import overfit
from overfit import decoding
from overfit.bases.base import identity, pack, unpack
from overfit.coding import container
from overfit.coding.parameters import quantize
from overfit.errors import UserError
from overfit.methods.reference import codec
from overfit.nn.gains import position
from overfit.settings import override


@pytest.fixture(scope="module")
def base():
    return unpack(pack(small_reference.base()))


def random_code(base, size=(100, 150), grey=False, **choices):
    """A code whose latents come from nowhere: the entropy model cannot know what to expect."""
    config = override(codec.configuration(base), choices)
    rng = np.random.default_rng(1)
    y_shape, z_shape = codec.shapes(size, config)
    y = np.rint(rng.laplace(size=y_shape) * 3).astype(np.int64)
    y[:, 1:3, 2:5] = y[:, :2, :3]  # something to refer to
    y[0, 0, 0], y[1, 1, 1] = 5000, -(1 << 19)
    z = np.rint(rng.normal(size=z_shape) * 2).astype(np.int64)
    z = z if config.entropy.hyperprior else None
    return codec.Code(config, size, grey, 5, "none", {}, y, z)


def same(a, b):
    assert a[:5] == b[:5]
    assert np.array_equal(a.y, b.y) and np.array_equal(a.z, b.z)
    assert a.changes.keys() == b.changes.keys()
    for path, change in a.changes.items():
        assert np.array_equal(change.k, b.changes[path].k) and change.e == b.changes[path].e


@pytest.mark.parametrize("context", ["causal", "checkerboard"])
@pytest.mark.parametrize("order", ["wavefront", "raster"])
@pytest.mark.parametrize("size", [(1, 1), (70, 30), (100, 150)])
def test_round_trip(context, order, size):
    base = small_reference.base(entropy__context=context)
    code = random_code(base, (100, 150), order=order)
    y_shape, z_shape = codec.shapes(size, code.config)
    code = code._replace(
        size=size,
        y=code.y[:, : y_shape[1], : y_shape[2]],
        z=code.z[:, : z_shape[1], : z_shape[2]],
    )
    again = codec.read(list(codec.write(code, base).values()), base)
    same(code, again)
    assert codec.reconstruct(again, base).shape == (*size, 3)


@pytest.mark.parametrize(
    "changed",
    [
        {"entropy__hyperprior": False},
        {"entropy__confidence": False},
        {"entropy__hyper_prior": "factorized"},
        {"entropy__confidence": False, "entropy__reference": False},
        {"entropy__confidence": False, "entropy__reference": False, "entropy__hyperprior": False},
        {"entropy__distribution": "mixture"},
        {"entropy__distribution": "mixture", "entropy__hyperprior": False},
        {"entropy__distribution": "mixture", "entropy__context": "checkerboard"},
        {"entropy__context": "checkerboard", "entropy__reference": False},
        {"transform__normalization": "gdn", "rates__lmbdas": (1e-3,)},
    ],
)
def test_every_variant_has_files(changed):
    base = small_reference.base(**changed)
    code = random_code(base)._replace(rate=0)
    same(code, codec.read(list(codec.write(code, base).values()), base))
    assert codec.trace(code, base).bits.min() > 0


@pytest.mark.parametrize("subset", codec.SUBSETS[1:])
def test_changes_reach_the_decoder(base, subset):
    rng = np.random.default_rng(3)
    changes = {
        path: quantize(
            prior.center.value() + (rng.random(prior.center.k.shape) > 0.9) * 0.03, 8, prior
        )
        for path, prior in codec.changeable(subset, base).items()
    }
    code = random_code(base)._replace(subset=subset, changes=changes)
    again = codec.read(list(codec.write(code, base).values()), base)
    same(code, again)
    plain = codec.reconstruct(code._replace(subset="none", changes={}), base)
    assert np.array_equal(codec.reconstruct(again, base), codec.reconstruct(code, base))
    assert not np.array_equal(plain, codec.reconstruct(again, base))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"entropy__distribution": "mixture"},
        {"entropy__context": "checkerboard"},
    ],
)
def test_references_are_causal_and_what_the_trace_says(changed):
    base = small_reference.base(**changed)
    code = random_code(base)
    trace = codec.trace(code, base)
    _, rows, columns = code.y.shape
    row, column = np.divmod(np.arange(rows * columns), columns)
    wave = column + 3 * row
    if "entropy__context" in changed:
        wave = np.where((row + column) % 2, 1 + row, 0)
    known = trace.reference >= 0
    assert known.any() and not known[0]
    assert (wave[trace.reference[known]] < wave[known]).all()
    if "entropy__context" in changed:  # anchors have no reference, and are none
        assert (wave[trace.reference[known]] > 0).all()
    assert ((trace.similarity > 0) == known).all() and trace.similarity.max() <= 1
    size = 8 * len(codec.write(code, base)["latents"])
    assert trace.bits.sum() < size < 1.03 * trace.bits.sum() + 8 * code.z.size


def test_a_copied_region_refers_to_its_original(base):
    code = random_code(base, (64, 512))
    y = code.y.copy()
    y[:, :, 16:] = y[:, :, :16]
    trace = codec.trace(code._replace(y=y), base)
    columns = y.shape[2]
    # Its first two columns still see what lies to their left.
    targets = [r * columns + c for r in (2, 3) for c in range(18, columns - 1)]
    assert all(trace.reference[t] == t - 16 for t in targets)
    assert all(trace.similarity[t] > 0.995 for t in targets)


# -- Files -----------------------------------------------------------------------------------------


@pytest.fixture
def here(base, tmp_path, monkeypatch):
    monkeypatch.setenv("OVERFIT_BASES", str(tmp_path))
    data = pack(base)
    (tmp_path / "small.ovb").write_bytes(data)
    return bytes.fromhex(identity(data))[: container.BASE_BYTES]


def file_of(code, base, prefix):
    return container.pack("reference", list(codec.write(code, base).values()), prefix)


def test_encoding_without_steps(here, picture):
    image = picture(70, 90)
    data = overfit.encode(image, method="reference", base="small", steps=0)
    assert overfit.decode(data).shape == image.shape
    grey = overfit.encode(image[..., 0], method="reference", base="small", steps=0)
    assert overfit.decode(grey).shape == image.shape[:2]
    larger = overfit.encode(image, method="reference", base="small", steps=0, lmbda=1e-3)
    smaller = overfit.encode(image, method="reference", base="small", steps=0, lmbda=1e-2)
    assert len(larger) > len(smaller)
    about = overfit.info(data)
    assert about["adapted"] == "none" and about["bits"]["networks"] == 0


def test_the_decoder_needs_no_jax(base, here, tmp_path):
    path = tmp_path / "image.ovf"
    path.write_bytes(file_of(random_code(base), base, here))
    program = (
        "import sys, overfit; image = overfit.decode(open(sys.argv[1], 'rb').read());"
        "assert 'jax' not in sys.modules; print(image.shape, image.astype(int).sum())"
    )
    command = [sys.executable, "-c", program, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    image = decoding.decode(path.read_bytes())
    assert ended.stdout.split()[-1] == str(image.astype(int).sum())


def test_bad_options_are_the_users(here, picture):
    image = picture(64, 64)
    for options, message in (
        ({"base": "none-such"}, "no base"),
        ({"base": None}, "needs one base"),
        ({"set": {"transform.width": 7}}, "cannot be changed"),
        ({"set": {"order": "zigzag"}}, "choose one of"),
        ({"steps": -1}, "at least 0"),
    ):
        with pytest.raises(UserError, match=message):
            overfit.encode(
                image, **({"method": "reference", "base": "small", "steps": 0} | options)
            )


def test_damaged_files_end_in_an_error_or_an_image(base, here):
    data = file_of(random_code(base), base, here)
    rng = np.random.default_rng(0)
    outcomes = set()
    for i in range(40):
        damaged = bytearray(data[: rng.integers(20, len(data))] if i % 3 == 0 else data)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(11, len(damaged))] ^= 1 << rng.integers(8)
        damaged[4:8] = container._checksum(bytes(damaged))
        try:
            assert decoding.decode(bytes(damaged)).dtype == np.uint8
            outcomes.add("image")
        except UserError:
            outcomes.add("refused")
    assert outcomes == {"image", "refused"}


def test_a_hostile_header_takes_no_memory(base, here):
    sections = list(codec.write(random_code(base), base).values())
    for width, height in ((2**14, 2**14), (2**31, 1), (0, 5)):
        head = container.write_varint(width) + container.write_varint(height) + sections[0][-2:]
        with pytest.raises(UserError, match="damaged"):
            codec.read([head, *sections[1:]], base)
    for choices, rate in ((255, 0), (0, 255)):
        with pytest.raises(UserError, match="option"):
            codec.read([sections[0][:-2] + bytes([choices, rate]), *sections[1:]], base)


def test_a_base_that_is_not_what_it_says_is_refused(base):
    code = random_code(base)
    sections = list(codec.write(code, base).values())
    wide = base._replace(settings=base.settings | {"transform.width": 7})
    with pytest.raises(UserError, match="arrays"):
        codec.read(sections, wide)
    path = "parameters1/w0"
    center = base.arrays[path].center
    huge = base.arrays | {path: base.arrays[path]._replace(center=center._replace(k=center.k << 9))}
    with pytest.raises(UserError, match="larger than 16"):
        codec.read(sections, base._replace(arrays=huge))


def test_tables_that_do_not_add_up_are_refused():
    base = small_reference.base(entropy__hyper_prior="factorized")
    sections = list(codec.write(random_code(base), base).values())
    path = "hyper_latents/frequencies"
    center = base.arrays[path].center
    for k in (center.k + 1, -center.k):
        broken = base.arrays[path]._replace(center=center._replace(k=k))
        with pytest.raises(UserError, match="add up"):
            codec.read(sections, base._replace(arrays=base.arrays | {path: broken}))


def test_zero_latents_need_no_reference(base):
    code = random_code(base)
    code = code._replace(y=np.zeros_like(code.y))
    trace = codec.trace(code, base)
    assert (trace.reference == -1).all()
    same(code, codec.read(list(codec.write(code, base).values()), base))


def test_rates_between_the_trained_ones_are_interpolated(base):
    lmbdas = codec.configuration(base).rates.lmbdas
    places = [int(position(lmbda, lmbdas)) for lmbda in (1, 8e-3, 2.83e-3, 1e-3, 1e-9)]
    assert places == [0, 0, 8, 16, 16]
