"""An image file's pixels are what they say, at the depth that they have; what is not certain is refused by name."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin

from ibrobust.datasets import load_dataset
from ibrobust.datasets.image_files import image_warnings, read_image
from ibrobust.errors import BadInput

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP // 2], axis=2)


def read(file: Path) -> torch.Tensor:
    with image_warnings():
        return read_image(file)


def saved(file: Path, image: Image.Image, **options: object) -> Path:
    image.save(file, **options)
    return file


def opaque(mode: str) -> Image.Image:
    image = Image.fromarray(RAMP if mode == "LA" else COLOURS).convert(mode)
    image.putalpha(255)
    return image


GREY = {
    "png": lambda file: saved(file, Image.fromarray(RAMP)),
    "bmp": lambda file: saved(file, Image.fromarray(RAMP)),
    "tif": lambda file: saved(file, Image.fromarray(RAMP)),
    "la.png": lambda file: saved(file, opaque("LA")),
    "without.suffix.": lambda file: saved(file, Image.fromarray(RAMP), format="PNG"),
}


@pytest.mark.parametrize("name", GREY)
def test_grey_of_8_bits(tmp_path, name):
    assert torch.equal(read(GREY[name](tmp_path / f"a.{name}")), torch.from_numpy(RAMP)[None])


COLOUR = {
    "png": lambda file: saved(file, Image.fromarray(COLOURS)),
    "webp": lambda file: saved(file, Image.fromarray(COLOURS), lossless=True),
    "palette.png": lambda file: saved(file, Image.fromarray(COLOURS).quantize(48)),
    "gif": lambda file: saved(file, Image.fromarray(COLOURS).quantize(48)),
    "rgba.png": lambda file: saved(file, opaque("RGBA")),
}


@pytest.mark.parametrize("name", COLOUR)
def test_colour_of_8_bits(tmp_path, name):
    file = COLOUR[name](tmp_path / f"a.{name}")
    with Image.open(file) as image:
        assert torch.equal(read(file), torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1))
    assert (read(file).permute(1, 2, 0).numpy().astype(int) - COLOURS).std() < 3


def test_inks_are_read_as_the_colours_that_they_print(tmp_path):
    inks = np.zeros((6, 8, 4), np.uint8)
    inks[..., 0] = RAMP
    pixels = read(saved(tmp_path / "a.tif", Image.fromarray(inks, mode="CMYK")))
    assert torch.equal(pixels, torch.stack([torch.from_numpy(255 - RAMP), *torch.full((2, 6, 8), 255).byte()]))


def test_one_bit_is_black_and_white(tmp_path):
    pixels = read(saved(tmp_path / "a.png", Image.fromarray(RAMP > 100)))
    assert torch.equal(pixels[0], torch.from_numpy((RAMP > 100) * np.uint8(255)))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm", "big.tif"])
def test_grey_of_16_bits_is_divided_by_65535(tmp_path, suffix):
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1394
    stored = values.astype(">u2") if suffix == "big.tif" else values
    pixels = read(saved(tmp_path / f"a.{suffix}", Image.fromarray(stored)))
    assert torch.equal(pixels[0], torch.from_numpy((values / 65535).astype(np.float32)))
    assert pixels.max() > 0.99


def test_a_grey_scale_of_1000_steps_ends_at_1(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 1000\n" + np.array([1000, 500], ">u2").tobytes())
    assert read(tmp_path / "a.pgm")[0, 0].tolist() == pytest.approx([1, 0.5], abs=1e-5)


def test_floats_in_the_unit_interval_are_read_as_they_are(tmp_path):
    values = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
    assert torch.equal(read(saved(tmp_path / "a.tif", Image.fromarray(values)))[0], torch.from_numpy(values))


def colour_of_16_bits(file: Path) -> Path:
    file.write_bytes(b"P6 1 1 65535\n" + np.array([1, 2, 65535], ">u2").tobytes())
    return file


def png_of_16_bits(file: Path) -> Path:
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" + bytes(6))) + chunk(b"IEND", b"")
    )
    return file


def frames(file: Path) -> Path:
    first, second = (Image.fromarray(COLOURS[::step]) for step in (1, -1))
    return saved(file, first, save_all=True, append_images=[second])


def tagged(file: Path, image: Image.Image, tag: int, value: int) -> Path:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[tag] = value
    return saved(file, image, tiffinfo=info)


def holed(mode: str) -> Image.Image:
    image = opaque(mode)
    image.putpixel((0, 0), (*image.getpixel((0, 0))[:-1], 254))
    return image


W16, F32 = Image.fromarray(RAMP.astype(np.uint16)), Image.fromarray(RAMP.astype(np.float32))
REFUSED = {
    "32.tif": (lambda file: saved(file, Image.fromarray(RAMP.astype(np.int32))), "mode 'I', whose scale is not known"),
    "white.tif": (lambda file: tagged(file, W16, 262, 0), "whose scale is not known"),
    "float.tif": (lambda file: saved(file, F32), r"float pixels outside \[0, 1\]"),
    "nan.tif": (lambda file: saved(file, Image.fromarray(RAMP * np.float32("nan"))), "float pixels outside"),
    "colour.ppm": (colour_of_16_bits, "16 bits per colour"),
    "colour.png": (png_of_16_bits, "16 bits per colour"),
    "film.gif": (frames, "holds 2 frames"),
    "film.png": (frames, "holds 2 frames"),
    "film.webp": (frames, "holds 2 frames"),
    "film.tif": (frames, "holds 2 frames"),
    "hole.png": (lambda file: saved(file, holed("RGBA")), "transparent in places"),
    "grey-hole.png": (lambda file: saved(file, holed("LA")), "transparent in places"),
    "colour-key.png": (lambda file: saved(file, Image.fromarray(RAMP), transparency=0), "transparent in places"),
    "hole.gif": (
        lambda file: saved(file, Image.fromarray(COLOURS).quantize(9), transparency=0),
        "transparent in places",
    ),
    "wide-key.png": (lambda file: saved(file, W16, transparency=0), "transparent grey"),
    "text.png": (lambda file: file.write_text("hello") and file, "not an image that can be read"),
    "empty.png": (lambda file: file.touch() or file, "not an image that can be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_certain_is_refused_by_name(tmp_path, name):
    write, words = REFUSED[name]
    file = write(tmp_path / name)
    with pytest.raises(BadInput, match=words) as refused:
        read(file)
    assert name in str(refused.value)


def test_cut_off_files_and_gigantic_images_are_refused(tmp_path, monkeypatch):
    file = saved(tmp_path / "a.png", Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99), np.uint8)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9000)
    with pytest.raises(BadInput, match="exceeds limit of 9000 pixels"):
        read(file)
    monkeypatch.undo()
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(BadInput, match=r"a\.png' is not an image that can be read: .*truncated"):
        read(file)


def test_an_image_that_is_stored_lying_is_stood_up(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    pixels = read(saved(tmp_path / "a.png", Image.fromarray(RAMP), exif=exif))
    assert torch.equal(pixels[0], torch.from_numpy(np.rot90(RAMP, -1).copy()))


def test_one_folder_of_many_kinds_is_one_array(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "test" / "cat").mkdir(parents=True)
    saved(tmp_path / "train" / "cat" / "0.png", Image.fromarray(RAMP))
    saved(tmp_path / "test" / "cat" / "0.png", Image.fromarray(COLOURS))
    data = load_dataset(str(tmp_path))
    assert torch.equal(data.train.x[0], torch.from_numpy(RAMP).expand(3, 6, 8))
    assert data.test.x.dtype == torch.uint8
    saved(tmp_path / "test" / "cat" / "0.png", Image.fromarray(RAMP.astype(np.uint16) * 257))
    data = load_dataset(str(tmp_path))
    assert torch.equal(data.train.x, torch.from_numpy(RAMP / 255).float()[None, None])
    assert torch.allclose(data.train.x, data.test.x)


def test_images_of_two_sizes_are_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    for size in (5, 6):
        Image.new("L", (size, 5)).save(tmp_path / "cat" / f"{size}.png")
    with pytest.raises(BadInput, match=r"differ in size: .* has [56] × 5 pixels, .* [56] × 5"):
        load_dataset(str(tmp_path))


def test_imagenette_is_cropped_and_spread(tmp_path):
    for part in ("train", "val"):
        for shade, name in enumerate(("n01440764", "n02102040")):
            (tmp_path / "imagenette2-320" / part / name).mkdir(parents=True)
            for copy in range(4):
                image = Image.new("L" if copy else "RGB", (320 + copy, 330), 90 * shade if copy else (90 * shade,) * 3)
                image.save(tmp_path / "imagenette2-320" / part / name / f"{copy}.JPEG")
    data = load_dataset("imagenette", data_dir=tmp_path)
    assert (len(data.train), len(data.test), data.shape) == (8, 8, (3, 224, 224))
    assert data.class_names == ("n01440764", "n02102040")
    assert data.test.y[:2].sum() == 1
    assert torch.equal(data.test.x.flatten(1).float().mean(1).round(), 90.0 * data.test.y)
    assert len(data.test.y.unique()) == 2


def test_300_damaged_images_are_read_or_refused_in_one_line(tmp_path):
    draw, messages = random.Random(0), []
    suffixes = ("png", "jpg", "tif", "gif", "bmp", "webp")
    whole = [saved(tmp_path / f"whole.{suffix}", Image.fromarray(COLOURS)).read_bytes() for suffix in suffixes]
    for index in range(300):
        content = bytearray(whole[index % len(whole)])
        for _ in range(draw.choice([1, 2, 8])):
            start = draw.randrange(len(content) + 1)
            content[start : start + draw.choice([1, 1, 1, 20])] = draw.randbytes(draw.choice([0, 1, 1, 20]))
        (tmp_path / "a.png").write_bytes(content)
        try:
            read(tmp_path / "a.png")
        except BadInput as refused:
            messages.append(str(refused))
    assert len(messages) > 50
    assert all("a.png" in message and "\n" not in message for message in messages)
