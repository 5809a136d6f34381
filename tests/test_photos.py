"""Photos as people have them: whatever their form, a face is found where it is, and cropped as FER-2013 has it."""

import io

import numpy as np
import pytest
from PIL import Image

from fer.core.stage import InputError
from fer.inference.photos import (
    LARGEST_PICTURE,
    SIZE,
    Box,
    crop_face,
    decode_photo,
    find_faces,
    frame_whole,
    open_detector,
)


@pytest.fixture(scope="module")
def photo(photo_file):
    return Image.open(photo_file)


def save(picture, form, **options):
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def decode(content):
    return decode_photo(np.frombuffer(content, np.uint8), "x")


def turned(picture):
    """A photo as a phone stores it: on its side, with a note in EXIF to turn it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return {"picture": picture.transpose(Image.Transpose.ROTATE_90), "exif": exif}


def as_16_bit(picture):
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


FORMS = {
    "jpeg": lambda photo: save(photo, "JPEG"),
    "jpeg turned by exif": lambda photo: save(form="JPEG", **turned(photo)),
    "png turned by exif": lambda photo: save(form="PNG", **turned(photo)),
    "jpeg cmyk": lambda photo: save(photo.convert("CMYK"), "JPEG"),
    "jpeg grey": lambda photo: save(photo.convert("L"), "JPEG"),
    "png alpha": lambda photo: save(photo.convert("RGBA"), "PNG"),
    "png 16-bit grey": lambda photo: save(as_16_bit(photo), "PNG"),
    "png palette": lambda photo: save(photo.convert("P"), "PNG"),
    "tiff 16-bit grey": lambda photo: save(as_16_bit(photo), "TIFF"),
    "webp": lambda photo: save(photo, "WEBP"),
    "bmp": lambda photo: save(photo, "BMP"),
    "animated gif": lambda photo: save(
        photo, "GIF", save_all=True, append_images=[Image.new("RGB", photo.size)] * 2, duration=100
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_face_is_found_in_every_form(form, photo):
    found = decode(FORMS[form](photo))
    assert found.shape == (600, 512, 3) and found.dtype == np.uint8
    (box,) = find_faces(open_detector(), found)
    middle = box.left + box.width / 2, box.top + box.height / 2
    assert middle == pytest.approx((264, 217), abs=12) and 190 < box.width < 260


@pytest.mark.parametrize(
    "content, sentence",
    [
        (lambda photo: b"", "x: empty, expected a picture"),
        (lambda photo: b"not a picture at all", "x: not a readable picture, or damaged"),
        (lambda photo: save(photo, "JPEG")[:9000], "x: not a readable picture, or damaged"),
        (lambda photo: save(photo, "PNG")[:9000], "x: not a readable picture, or damaged"),
        (lambda photo: save(Image.new("L", (20_000, 20_000)), "PNG"), f"x: more than {LARGEST_PICTURE:,} pixels"),
        (lambda photo: save(Image.new("1", (11_000, 11_000)), "TIFF", compression="group4"), "x: more than"),
    ],
)
def test_what_is_no_picture_is_one_sentence(content, sentence, photo, capfd):
    with pytest.raises(InputError, match=sentence):
        decode(content(photo))


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (47, 47), (300, 300)])
def test_a_picture_without_a_face_has_none(size):
    assert find_faces(open_detector(), np.full((*size, 3), 128, np.uint8)) == []


def test_large_photos_are_searched_small_and_found_at_their_own_scale(photo):
    found = decode(save(photo.resize((2048, 2400)), "JPEG"))
    (box,) = find_faces(open_detector(), found)
    assert box.left + box.width / 2 == pytest.approx(4 * 264, abs=60) and 750 < box.width < 1050


def test_faces_come_largest_first(photo):
    wide = Image.new("RGB", (900, 600), "white")
    wide.paste(photo.resize((256, 300)), (0, 0))
    wide.paste(photo, (380, 0))
    boxes = find_faces(open_detector(), decode(save(wide, "PNG")))
    assert len(boxes) == 2 and boxes[0].width > 1.5 * boxes[1].width and boxes[0].left > 380


def test_a_crop_is_the_box_with_its_margin():
    """A bright box of 100 pixels in the dark: widened by 2 % of it on each side, it fills 100/104 of the crop."""
    photo = np.zeros((300, 300, 3), np.uint8)
    photo[80:180, 120:220] = 255
    face = crop_face(photo, Box(120, 80, 100, 100))
    assert face.shape == (SIZE, SIZE) and face.dtype == np.uint8
    assert (face > 127).mean() == pytest.approx((100 / 104) ** 2, abs=0.03)


@pytest.mark.parametrize("left, top", [(-40, 30), (250, 30), (30, -40), (30, 250), (-40, -40), (295, 295)])
def test_a_face_at_the_edge_repeats_the_border(left, top):
    photo = np.full((300, 300, 3), 90, np.uint8)
    assert (crop_face(photo, Box(left, top, 100, 100)) == 90).all()


def test_a_whole_face_of_fer_2013_stays_as_it_is():
    face = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), np.uint8)
    photo = decode(save(Image.fromarray(face), "PNG"))
    assert (crop_face(photo, frame_whole(photo), margin=0) == face).all()


def test_a_whole_face_is_the_middle_square():
    assert frame_whole(np.zeros((60, 100, 3), np.uint8)) == Box(20, 0, 60, 60)
