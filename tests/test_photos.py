"""Photos as people have them: in every form a face is found at its place, and cropped as in FER-2013."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from conftest import refuse
from hypothesis import given, settings
from PIL import Image, ImageOps

from damage import damaged
from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import SIZE
from fer_pipeline.inference import detection, photos
from fer_pipeline.inference.detection import Detector, Found, crop_face, crop_whole
from fer_pipeline.inference.opencv import LARGEST_PICTURE, cv2
from fer_pipeline.inference.photos import Box, decode_photo


@pytest.fixture(scope="module")
def photo(photo_file):
    return Image.open(photo_file)


@pytest.fixture(scope="module")
def detector():
    return Detector()


GREY = (SIZE, False)
"""The size and colour of FER-2013's faces."""


def save(picture, form, **options):
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def claim_size(side):
    """The bytes of a PNG that claims to have `side` times `side` pixels."""
    content = save(Image.new("L", (1, 1)), "PNG")
    header = content[12:16] + struct.pack(">II", side, side) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def decode(content):
    return decode_photo(np.frombuffer(content, np.uint8), "x")


def save_turned(picture, form):
    """A photo as a phone stores it: on its side, with its orientation in EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return save(picture.transpose(Image.Transpose.ROTATE_90), form, exif=exif)


def save_16_bit(picture, form):
    return save(Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257), form)


FORMS = {
    "jpeg": lambda photo: save(photo, "JPEG"),
    "jpeg turned by exif": lambda photo: save_turned(photo, "JPEG"),
    "png turned by exif": lambda photo: save_turned(photo, "PNG"),
    "jpeg cmyk": lambda photo: save(photo.convert("CMYK"), "JPEG"),
    "jpeg grey": lambda photo: save(photo.convert("L"), "JPEG"),
    "png alpha": lambda photo: save(photo.convert("RGBA"), "PNG"),
    "png 16-bit grey": lambda photo: save_16_bit(photo, "PNG"),
    "png palette": lambda photo: save(photo.convert("P"), "PNG"),
    "tiff 16-bit grey": lambda photo: save_16_bit(photo, "TIFF"),
    "webp": lambda photo: save(photo, "WEBP"),
    "bmp": lambda photo: save(photo, "BMP"),
    "animated gif": lambda photo: save(photo, "GIF", save_all=True, append_images=[Image.new("RGB", photo.size)] * 2),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_face_is_found_in_every_form(form, photo, detector):
    found = decode(FORMS[form](photo))
    assert found.shape == (600, 512, 3) and found.dtype == np.uint8
    (face,) = detector.find(found)
    assert face.middle == pytest.approx((267, 226), abs=8) and face.size == pytest.approx((170, 212), abs=12)
    assert abs(face.roll) < 10 and not face.cut


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_as_its_file_says(orientation, photo):
    """Pillow writes the orientation as AVIF's own properties."""
    photo = photo.resize((128, 150))
    photo.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(photo), float)
    found = decode(save(photo, "AVIF", exif=photo.getexif()))[:, :, ::-1]
    assert found.shape == upright.shape and np.abs(found - upright).mean() < 5


@settings(max_examples=500, deadline=None)
@given(damaged(save_turned(Image.effect_noise((75, 64), 50).convert("RGB"), "AVIF")))
def test_a_damaged_avif_is_a_photo_or_one_sentence(content):
    try:
        assert decode(content).ndim == 3
    except InputError as error:
        assert re.match("x (is empty|is not a readable picture|has more than .* pixels; scale it down)", str(error))


def test_a_large_avif_is_refused_before_it_is_decoded(photo, monkeypatch):
    monkeypatch.setattr(photos, "LARGEST_PICTURE", 512 * 600 - 1)
    assert refuse(decode, save(photo, "AVIF")) == "x has more than 307,199 pixels; scale it down"


@pytest.mark.parametrize(
    "content, sentence",
    [
        (lambda photo: b"", "x is empty; give a picture"),
        (lambda photo: b"not a picture at all", "x is not a readable picture or is damaged"),
        (lambda photo: save(photo, "JPEG")[:9000], "x is not a readable picture or is damaged"),
        (lambda photo: save(photo, "PNG")[:9000], "x is not a readable picture or is damaged"),
        (lambda photo: save(photo, "TIFF")[:-50], "x is not a readable picture or is damaged"),
        (lambda photo: b"\0\0\0 ftypheic", "x is not a readable picture or is damaged"),
        (lambda photo: claim_size(20_000), f"x has more than {LARGEST_PICTURE:,} pixels"),
        (lambda photo: save(Image.new("1", (11_000, 11_000)), "TIFF", compression="group4"), "x has more than"),
    ],
)
def test_a_file_that_is_not_a_picture_is_one_sentence(content, sentence, photo, capfd):
    assert sentence in refuse(decode, content(photo))
    assert capfd.readouterr() == ("", "")  # of the libraries


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (47, 47), (300, 300)])
def test_a_picture_without_a_face_has_none(size, detector):
    assert detector.find(np.full((*size, 3), 128, np.uint8)) == []


@pytest.mark.parametrize(
    "width, size, tolerance",
    [*((w, (640, 480), 0.25) for w in (24, 32, 64)), *((170 * n, (512 * n, 600 * n), 0.1) for n in (0.5, 4, 6))],
)
def test_small_and_large_faces_are_found(photo, detector, width, size, tolerance):
    """In a part of a picture, or in photos that are searched as they are or made smaller."""
    scale, place = width / 170, (300, 200) if size == (640, 480) else (0, 0)
    scene = Image.new("RGB", tuple(map(int, size)), (90, 110, 130))
    scene.paste(photo.resize((round(512 * scale), round(600 * scale)), Image.Resampling.LANCZOS), place)
    (face,) = detector.find(decode(save(scene, "BMP")))
    middle = place[0] + 267 * scale, place[1] + 226 * scale
    assert face.middle == pytest.approx(middle, abs=max(4, 9 * scale))
    assert face.size == pytest.approx((width, 212 * scale), rel=tolerance)


def test_faces_come_largest_first(photo, detector):
    wide = Image.new("RGB", (900, 600), "white")
    wide.paste(photo.resize((256, 300)), (0, 0))
    wide.paste(photo, (380, 0))
    large, small = detector.find(decode(save(wide, "PNG")))
    assert large.size[0] > 1.5 * small.size[0] and large.middle[0] > 380


@pytest.mark.parametrize("angle", [-45, -30, -15, 0, 15, 30, 45])
def test_a_turned_face_is_cropped_upright(photo, detector, angle):
    """Turned about its middle, the crop stays nearly the same; without turning it does not."""
    upright = decode(save(photo, "PNG"))
    matrix = cv2.getRotationMatrix2D((267, 226), -angle, 1)
    turned = cv2.warpAffine(upright, matrix, (512, 600), borderMode=cv2.BORDER_REPLICATE)
    (before,), (after,) = detector.find(upright), detector.find(turned)
    assert after.roll == pytest.approx(angle + before.roll, abs=7)
    if abs(angle) > detection.UPRIGHT + 7:
        one, other, unturned = (
            crop_face(*pair, *GREY).astype(float).ravel()
            for pair in ((upright, before), (turned, after), (turned, after._replace(roll=0.0)))
        )
        assert np.corrcoef(one, other)[0, 1] > max(0.65, np.corrcoef(one, unturned)[0, 1] + 0.15)


def test_a_face_at_the_edge_is_marked_as_cut(photo, detector):
    part = decode(save(photo.crop((240, 0, 512, 600)), "PNG"))
    (face,) = detector.find(part)
    assert face.cut and crop_face(part, face, *GREY).shape == (SIZE, SIZE)


@pytest.mark.parametrize("size", [SIZE, 112])
def test_a_crop_is_as_wide_around_the_box_as_in_fer_2013(size):
    """A bright square on black, boxed as YuNet would box a face that fills the crop."""
    photo = np.zeros((300, 300, 3), np.uint8)
    photo[80:180, 120:220] = 255
    up, height = detection.MIDDLE_OFFSET * 100, detection.BOX_HEIGHT * 100
    face = crop_face(photo, Found((170, 130 - up), (80, height), 0.9), size, False)
    assert face.shape == (size, size) and face.dtype == np.uint8 and (face[1:-1, 1:-1] > 250).all()
    wider = crop_face(photo, Found((170, 130 - 2 * up), (80, 2 * height), 0.9, 0.0), size, False)
    assert (wider > 127).mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("size", [36, 112])
def test_a_crop_in_colour_is_rgb(size):
    """In OpenCV's photos blue comes first."""
    photo = np.full((300, 300, 3), (30, 20, 10), np.uint8)
    for crop in (crop_face(photo, Found((150, 150), (80, 100), 0.9), size, True), crop_whole(photo, size, True)[1]):
        assert crop.shape == (size, size, 3) and (crop == (10, 20, 30)).all()


@pytest.mark.parametrize("middle", [(10, 80), (300, 80), (80, 10), (80, 300), (10, 10), (345, 345), (-500, 900)])
@pytest.mark.parametrize("roll", [0, 45])
def test_a_face_at_the_edge_repeats_the_border(middle, roll):
    photo = np.full((300, 300, 3), 90, np.uint8)
    assert (crop_face(photo, Found(middle, (100, 100), 0.9, roll), *GREY) == 90).all()


@pytest.mark.parametrize("side", [48, 700])
def test_a_cut_shows_its_part_of_the_photo(side):
    """At any size a ramp stays a ramp, with its middle in the middle."""
    ramp = np.repeat(np.linspace(0, 255, 1000)[np.newaxis, :, np.newaxis], 800, axis=0).repeat(3, axis=2)
    part = detection.cut(ramp.astype(np.uint8), (500.0, 400.0), side, 0.0, 48)[24, :, 0].astype(float)
    expected = 255 * (500 + (np.arange(48) - 24) * side / 48) / 999
    assert part == pytest.approx(expected, abs=3)


def test_a_whole_face_is_the_middle_square_and_one_of_fer_2013_stays_as_it_is():
    face = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), np.uint8)
    assert (crop_whole(decode(save(Image.fromarray(face), "PNG")), *GREY)[1] == face).all()
    assert crop_whole(np.zeros((60, 100, 3), np.uint8), *GREY)[0].box == Box(20, 0, 60, 60)
