"""What detection.py does, under the same names, as functions of ONNX Script: from a photo to a network's input.

Only operators of ONNX; photo_file.py makes one file of them. Their pixels are OpenCV's to the digit, but for sums in
another order, so both find the same faces. DeformConv turns photos: onnxruntime needs a third of GridSample's time for
it, and its places are exact. Photos and faces lie in planes, uint8 or float32 (3, height, width), red first. A loop or
branch hands on one value at most: ONNX Script orders several by chance, and the file would vary from run to run.
"""
# mypy: ignore-errors
# (ONNX Script is read by its own compiler; its numbers and lists become tensors.)

import math

import onnx
import onnxscript
from onnxscript import FLOAT as FLOAT32
from onnxscript import INT64, UINT8
from onnxscript import opset20 as op

from fer_pipeline.inference import detection
from fer_pipeline.inference.detection import FRAME_SIDE, INSIDE, LEAST_SCORE, POINTS_PIXELS, SAME_FACE, UPRIGHT

nets = onnxscript.values.Opset("networks", 1)
"""The domain of these functions, and of those that photo_file.py makes of the networks that find faces."""
function = onnxscript.script(nets, default_opset=op)
types = onnx.TensorProto
FLOAT, INT, BOOL, DOUBLE = types.FLOAT, types.INT64, types.BOOL, types.DOUBLE
ANGLES = [float(angle) for angle in detection.ANGLES]
LEAST_LOGIT = math.log(detection.LEAST_POINTS / (1 - detection.LEAST_POINTS))
PI, DEGREE = math.pi, math.pi / 180
EXACT_REACH, EXACT_DEGREE, EXACT_POINTS, EXACT_HEIGHT, EXACT_OFFSET = (
    onnx.helper.make_tensor("", DOUBLE, [1], [value])  # a bare number would be rounded to float32
    for value in (0.5 + detection.EDGE, DEGREE, detection.POINTS_WIDTH, detection.BOX_HEIGHT, detection.MIDDLE_OFFSET)
)


@function
def shrink_rows(planes, length):
    """Scale planes (3, H, W) down to `length` (1,) rows and up to 7 more, each the mean of the rows that it covers."""
    height = op.Cast(op.Shape(planes, start=1, end=2), to=DOUBLE)
    scale = height / op.Cast(length, to=DOUBLE)
    blocks = op.Range(0, op.Squeeze(length), 8)
    taps = op.Cast(op.Range(0, op.Cast(op.Squeeze(scale * 8.0 + 2.0), to=INT), 1), to=DOUBLE)
    rows = op.Unsqueeze(op.Floor(op.Cast(blocks, to=DOUBLE) * scale), [1]) + taps
    numbers = op.Unsqueeze(blocks, [1]) + op.Range(0, 8, 1)
    low = op.Unsqueeze(op.Cast(numbers, to=DOUBLE) * scale, [2])
    high = op.Min(low + scale, height)
    row = op.Unsqueeze(rows, [1])
    covered = op.Relu(op.Min(high, row + 1.0) - op.Max(low, row)) / op.Max(high - low, 0.001)
    taken = op.Gather(planes, op.Cast(op.Min(rows, height - 1.0), to=INT), axis=1)
    means = op.MatMul(op.Cast(covered, to=FLOAT), op.Cast(taken, to=FLOAT))
    return op.Reshape(means, op.Concat([0, -1], op.Shape(planes, start=2), axis=0))


@function
def shrink(planes, size):
    """Scale planes uint8 (3, H, W) down to `size`, (width, height), as OpenCV's INTER_AREA does: float32 (3, h, w)."""
    width, height = op.Split(size, num_outputs=2)
    lower = op.Transpose(shrink_rows(planes, height), perm=[0, 2, 1])
    smaller = op.Transpose(shrink_rows(lower, width), perm=[0, 2, 1])
    return op.Round(op.Slice(smaller, [0, 0], op.Concat(height, width, axis=0), [1, 2]))


@function
def suppress(boxes, scores):
    """As `detection.suppress`; ONNX's NonMaxSuppression compares boxes by intersection over union alone."""
    low, high = op.Split(boxes, num_outputs=2, axis=1)
    size = high - low
    middle = (high + low) / 2.0
    area = op.ReduceProd(size, [1], keepdims=0)
    _, order = op.TopK(scores, op.Shape(scores))
    state = op.Cast(op.Mul(order, 0), to=FLOAT)  # of each box: 0 waits, 1 is kept, -1 is the same as one that is kept
    some = op.Squeeze(op.Shape(order) > 0)
    while some:
        first = op.ArgMin(op.Abs(state), keepdims=1)
        best = op.Gather(order, first)
        corner = op.Max(op.Gather(low, best), op.Gather(low, order))
        sides = op.Relu(op.Min(op.Gather(high, best), op.Gather(high, order)) - corner)
        shared = op.ReduceProd(sides, [1], keepdims=0)
        same = shared / (op.Gather(area, best) + op.Gather(area, order) - shared) > SAME_FACE
        distance = op.Abs(op.Gather(middle, order) - op.Gather(middle, best))
        far = distance >= op.Max(op.Gather(size, best), op.Gather(size, order)) * INSIDE
        near = op.Not(op.Cast(op.ReduceMax(op.Cast(far, to=FLOAT), [1], keepdims=0), to=BOOL))
        state = op.Where(op.And(state == 0.0, op.Or(near, same)), -1.0, state)
        state = op.ScatterElements(state, first, [1.0])
        some = op.ReduceMin(op.Abs(state), keepdims=0) == 0.0
    return op.Compress(order, state > 0.0, axis=0)


@function
def decode(face, thing, box, stride, width):
    """Boxes float64 (N, 4) and scores (N,) of one stride, a float; `width` (1,) is that of the searched pixels."""
    score = op.Sqrt(op.Clip(op.Squeeze(face, [0, 2]), 0.0, 1.0) * op.Clip(op.Squeeze(thing, [0, 2]), 0.0, 1.0))
    likely = op.Squeeze(op.NonZero(score >= LEAST_SCORE), [0])
    columns = width / op.Cast(stride, to=INT)
    place = op.Concat(op.Unsqueeze(op.Mod(likely, columns), [1]), op.Unsqueeze(likely / columns, [1]), axis=1)
    shift, extent = op.Split(op.Gather(op.Squeeze(box, [0]), likely), num_outputs=2, axis=1)
    middle = (op.Cast(shift, to=DOUBLE) + op.Cast(place, to=DOUBLE)) * op.Cast(stride, to=DOUBLE)
    half = op.Cast(op.Exp(extent) * stride / 2.0, to=DOUBLE)
    return op.Concat(middle - half, middle + half, axis=1), op.Gather(score, likely)


@function
def find_boxes(pixels):
    """As `detection.Detector.find_boxes`, of pixels float32 (1, 3, H, W), blue first; 32 divides H and W."""
    cls_8, obj_8, bbox_8, cls_16, obj_16, bbox_16, cls_32, obj_32, bbox_32 = nets.yunet(pixels)
    width = op.Shape(pixels, start=3)
    small, small_score = decode(cls_8, obj_8, bbox_8, 8.0, width)
    medium, medium_score = decode(cls_16, obj_16, bbox_16, 16.0, width)
    large, large_score = decode(cls_32, obj_32, bbox_32, 32.0, width)
    boxes = op.Concat(small, medium, large, axis=0)
    scores = op.Concat(small_score, medium_score, large_score, axis=0)
    kept = suppress(boxes, scores)
    return op.Gather(boxes, kept), op.Gather(scores, kept)


@function
def pad(pixels, size):
    """Pixels (1, C, H, W) with zeros below and on the right up to `size` (2,), rounded up to multiples of 32."""
    more = (size + 31) / 32 * 32 - op.Shape(pixels, start=2)
    return op.Pad(pixels, op.Concat([0, 0, 0, 0, 0, 0], more, axis=0))


@function
def place(along, shift, side):
    """Where a square of `side` (1,) pixels takes its pixels from, as OpenCV rounds it to 1/32: columns, rows.

    Its pixel (Y, X) is at x = a X - b Y + shift[0], y = b X + a Y + shift[1], with `along` (a, b). 32 y and 32 x are
    the floor of the sum of the two answers, float32 (2, 1, side) and (2, side, 1).
    """
    steps = op.Cast(op.Range(0, op.Squeeze(side), 1), to=DOUBLE)
    a, b = op.Split(along * 1024.0, num_outputs=2)
    x, y = op.Split(shift * 1024.0, num_outputs=2)
    columns = op.Concat(op.Round(b * steps), op.Round(a * steps), axis=0) / 32.0
    rows = (op.Concat(op.Round(a * steps + y), op.Round(x - b * steps), axis=0) + 16.0) / 32.0
    across = op.Cast(op.Reshape(columns, [2, 1, -1]), to=FLOAT)
    return across, op.Cast(op.Reshape(rows, [2, -1, 1]), to=FLOAT)


@function
def grid(side, stride):
    """`stride` times X and Y of a square's pixels, as the columns and rows of `place`; `side` (1,)."""
    steps = op.Cast(op.Range(0, op.Squeeze(side), 1), to=FLOAT) * stride
    columns = op.Concat(op.Reshape(steps - steps, [1, 1, -1]), op.Reshape(steps, [1, 1, -1]), axis=0)
    return columns, op.Concat(op.Reshape(steps, [1, -1, 1]), op.Reshape(steps - steps, [1, -1, 1]), axis=0)


@function
def turn(pixels, along, shift, side):
    """As `detection.turn`: pixels (1, 3, S, S), padded as by `pad`, from where `place` says; `side` (1,)."""
    padded = pad(pixels, op.Concat(side, side, axis=0))
    full = op.Shape(padded, start=3)
    columns, rows = place(along, shift, full)
    own_columns, own_rows = grid(full, 32.0)
    offset = op.Floor((columns - own_columns) + (rows - own_rows)) / 32.0
    same = op.Unsqueeze(op.EyeLike(op.ConstantOfShape([3, 3])), [2, 3])
    return op.Floor(op.DeformConv(padded, same, op.Unsqueeze(offset, [0]), op.Expand(0.5, [3]), kernel_shape=[1, 1]))


@function
def search(planes, side):
    """As `detection.Detector.search`, of planes uint8 (3, H, W), scaled down to `side` (1,).

    float64 (N, 6): of each box the middle, width and height in pixels of the photo, the score and the angle.
    """
    _, high, wide = op.Split(op.Shape(planes), num_outputs=3)
    scale = op.Cast(side, to=DOUBLE) / op.Cast(op.Max(wide, high), to=DOUBLE)
    if op.Squeeze(scale < 1.0):
        extent = op.Cast(op.Concat(wide, high, axis=0), to=DOUBLE) * scale
        small = shrink(planes, op.Cast(op.Max(op.Round(extent), 1.0), to=INT))
    else:
        small = op.Cast(planes, to=FLOAT)
    pixels = op.Unsqueeze(op.Gather(small, op.Constant(value_ints=[2, 1, 0])), [0])  # YuNet wants blue first
    height, width = op.Split(op.Cast(op.Shape(pixels, start=2), to=DOUBLE), num_outputs=2)
    found = op.Cast(op.ConstantOfShape([0, 6]), to=DOUBLE)
    for number in range(3):
        degrees = op.Gather(op.Constant(value_floats=ANGLES), op.Unsqueeze(number, [0]))
        radians = op.Cast(degrees, to=DOUBLE) * op.Constant(value=EXACT_DEGREE)
        a = op.Cos(radians)
        b = op.Sin(radians)
        canvas = op.Round(op.Sqrt(height * height + width * width))
        start = op.Concat(width - (a - b) * canvas, height - (a + b) * canvas, axis=0) / 2.0
        start = op.Where(degrees == 0.0, 0.0, start)
        if op.Squeeze(degrees == 0.0):
            searched = pad(pixels, op.Shape(pixels, start=2))
        else:
            searched = turn(pixels, op.Concat(a, b, axis=0), start, op.Cast(canvas, to=INT))
        boxes, scores = find_boxes(searched)
        low, upper = op.Split(boxes, num_outputs=2, axis=1)
        back = op.Reshape(op.Concat(a, b, op.Neg(b), a, axis=0), [2, 2])
        middle = op.MatMul((low + upper) / 2.0, back) + start
        score = op.Unsqueeze(scores, [1])
        rest = op.Cast(op.Concat(score, op.Expand(degrees, op.Shape(score)), axis=1), to=DOUBLE)
        found = op.Concat(found, op.Concat(middle / scale, (upper - low) / scale, rest, axis=1), axis=0)
    return found


@function
def take(planes, middle, side, roll, pixels):
    """As `detection.cut`: float32 (3, pixels, pixels), red first; `side`, `roll` (radians) and `pixels` are (1,)."""
    whole = op.Cast(op.Gather(op.Shape(planes), op.Constant(value_ints=[2, 1])), to=DOUBLE)
    reach = side * 0.75 + 2.0
    low = op.Clip(op.Min(op.Floor(middle - reach), whole - 1.0), 0.0)
    high = op.Max(op.Min(op.Ceil(middle + reach), whole), low + 1.0)
    left, top = op.Split(op.Cast(low, to=INT), num_outputs=2)
    right, bottom = op.Split(op.Cast(high, to=INT), num_outputs=2)
    part = op.Slice(planes, op.Concat(top, left, axis=0), op.Concat(bottom, right, axis=0), [1, 2])
    scale = op.Cast(pixels, to=DOUBLE) / side
    size = op.Where(scale < 0.5, op.Max(op.Round((high - low) * 2.0 * scale), 1.0), high - low)
    if op.Squeeze(scale < 0.5):  # noqa: SIM108 (ONNX Script has no such expression)
        small = shrink(part, op.Cast(size, to=INT))
    else:
        small = op.Cast(part, to=FLOAT)
    factor = size / (high - low)
    along = op.Concat(op.Cos(roll), op.Sin(roll), axis=0) / scale * op.Slice(factor, [0], [1])
    a, b = op.Split(along, num_outputs=2)
    shift = (middle - low) * factor - op.Concat(a - b, a + b, axis=0) * (op.Cast(pixels, to=DOUBLE) / 2.0)
    columns, rows = place(along, shift, pixels)
    last = op.Reshape(op.Cast(op.Shape(small, start=1) - 1, to=FLOAT), [2, 1, 1])
    spots = op.Max(op.Min(op.Floor(columns + rows) / 32.0, last), 0.0)
    own_columns, own_rows = grid(pixels, 4.0)
    more = op.Concat(pixels, pixels, axis=0) * 4 - op.Shape(small, start=1)
    padded = op.Pad(op.Unsqueeze(small, [0]), op.Concat([0, 0, 0, 0, 0, 0], more, axis=0))
    same = op.Unsqueeze(op.EyeLike(op.ConstantOfShape([3, 3])), [2, 3])
    offset = op.Unsqueeze(spots - own_columns - own_rows, [0])
    half = op.Expand(0.5, [3])
    taken = op.DeformConv(padded, same, offset, half, kernel_shape=[1, 1], strides=[4, 4])
    return op.Floor(op.Squeeze(taken, [0]))


@function
def measure_roll(planes, middle, side, expected):
    """As `detection.Detector.measure_roll`, in degrees (1,)."""
    around = side * op.Constant(value=EXACT_POINTS)
    radians = op.Cast(expected, to=DOUBLE) * op.Constant(value=EXACT_DEGREE)
    face = take(planes, middle, around, radians, op.Constant(value_ints=[POINTS_PIXELS]))
    pixels = (op.Transpose(face, perm=[1, 2, 0]) - 127.5) / 127.5
    regressed, logits = nets.blazeface(op.Unsqueeze(pixels, [0]))
    logit, best = op.TopK(op.Squeeze(logits, [0, 2]), [1])
    eyes = op.Slice(op.Gather(op.Squeeze(regressed, [0]), best), [4], [8], [1])
    left, right = op.Split(op.Reshape(eyes, [2, 2]), num_outputs=2)
    x, y = op.Split(op.Reshape(right - left, [2]), num_outputs=2)
    half_turn = op.Where(x < 0.0, op.Where(y < 0.0, op.Neg(PI), PI), 0.0)
    return expected + op.Where(logit >= LEAST_LOGIT, (op.Atan(y / x) + half_turn) / DEGREE, 0.0)


@function
def sort(kept, keys):
    """The positions `kept` (N,) ordered by their keys, the largest first; ties keep their order."""
    _, order = op.TopK(op.Gather(keys, kept), op.Shape(kept))
    return op.Gather(kept, order)


@function
def find(planes, longest_side):
    """As `detection.Detector.find`: middles (N, 2), sizes (N, 2), scores (N,), angles (N,), and which the edge cuts."""
    _, high, wide = op.Split(op.Shape(planes), num_outputs=3)
    wanted = op.Reshape(op.Max(longest_side, 1), [1])
    sides = op.Min(op.Concat(op.Min(wanted, FRAME_SIDE), wanted, axis=0), op.Max(wide, high))
    lower, upper = op.Split(sides, num_outputs=2)
    found = op.Cast(op.ConstantOfShape([0, 6]), to=DOUBLE)
    for number in range(op.Squeeze(op.Cast(lower < upper, to=INT)) + 1):
        found = op.Concat(found, search(planes, op.Gather(sides, op.Unsqueeze(number, [0]))), axis=0)
    middle, size, scores, angles = op.Split(found, [2, 2, 1, 1], axis=1)
    half = op.ReduceMax(size, [1]) / 2.0
    x, y = op.Split(middle, num_outputs=2, axis=1)
    score = op.Squeeze(scores, [1])
    kept = suppress(op.Concat(middle - half, middle + half, axis=1), score)
    kept = sort(sort(kept, op.Neg(op.Squeeze(y, [1]))), op.Neg(op.Squeeze(x, [1])))
    kept = sort(kept, op.ReduceProd(size, [1], keepdims=0))
    extent = op.Cast(op.Concat(wide, high, axis=0), to=DOUBLE)
    reach = size * op.Constant(value=EXACT_REACH)
    beyond = op.Or(middle < reach, middle + reach > extent)
    edged = op.Cast(op.ReduceMax(op.Cast(beyond, to=FLOAT), [1], keepdims=0), to=BOOL)
    angle = op.Cast(op.Squeeze(angles, [1]), to=FLOAT)
    score = op.Cast(score, to=FLOAT)
    return (
        op.Gather(middle, kept), op.Gather(size, kept), op.Gather(score, kept), op.Gather(angle, kept),
        op.Gather(edged, kept),
    )  # fmt: skip


@function
def to_grey(faces):
    """Faces (N, 3, size, size) in the grey of OpenCV: (N, size, size)."""
    weights = op.Reshape(op.Constant(value_floats=[9798.0, 19235.0, 3735.0]), [1, 3, 1, 1])
    return op.Floor((op.ReduceSum(faces * weights, [1], keepdims=0) + 16384.0) / 32768.0)


@function
def to_rgb(faces):
    """Faces (N, 3, size, size) as networks take them in colour: (N, size, size, 3)."""
    return op.Transpose(faces, perm=[0, 2, 3, 1])


def write_search(size: int, crop: int, colour: bool) -> onnx.ModelProto:
    """From a photo to the input of a network whose faces have `size` pixels, `crop` of them in use."""
    recolour = to_rgb if colour else to_grey
    start, end = (size - crop) // 2, (size + crop) // 2

    @function
    def find_faces(photo: UINT8[None, None, 3], longest_side: INT64):
        planes = op.Transpose(photo, perm=[2, 0, 1])
        middles, sizes, scores, angles, cut = find(planes, longest_side)
        sides = op.ReduceMax(sizes, [1])
        rolls = op.ConstantOfShape([0])
        for number in range(op.Squeeze(op.Shape(scores))):
            one = op.Unsqueeze(number, [0])
            middle, side = op.Squeeze(op.Gather(middles, one), [0]), op.Squeeze(op.Gather(sides, one), [0])
            rolls = op.Concat(rolls, measure_roll(planes, middle, side, op.Gather(angles, one)), axis=0)
        faces = op.ConstantOfShape(op.Constant(value_ints=[0, 3, crop, crop]))
        for number in range(op.Squeeze(op.Shape(scores))):
            one = op.Unsqueeze(number, [0])
            middle, side = op.Squeeze(op.Gather(middles, one), [0]), op.Squeeze(op.Gather(sides, one), [0])
            degrees = op.Gather(rolls, one)
            turned = op.Cast(op.Where(op.Abs(degrees) > UPRIGHT, degrees, 0.0), to=DOUBLE)
            turned = turned * op.Constant(value=EXACT_DEGREE)
            square = side / op.Constant(value=EXACT_HEIGHT)
            below = square * op.Constant(value=EXACT_OFFSET)
            down = op.Concat(op.Neg(op.Sin(turned)), op.Cos(turned), axis=0) * below
            face = take(planes, middle + down, square, turned, op.Constant(value_ints=[size]))
            inner = op.Slice(face, op.Constant(value_ints=[start, start]), op.Constant(value_ints=[end, end]), [1, 2])
            faces = op.Concat(faces, op.Unsqueeze(inner, [0]), axis=0)
        extents = op.Max(op.Round(sizes), 1.0)
        boxes = op.Cast(op.Concat(op.Round(middles - sizes / 2.0), extents, axis=1), to=INT)
        pixels = recolour(faces)
        roll = op.Identity(rolls)
        return boxes, roll, cut, scores, pixels

    return find_faces.to_model_proto()


def write_share(temperature: float) -> onnx.ModelProto:
    """An ONNX model from the second head's logits (N, V) to the share of annotators expected to choose each class."""

    @function
    def share(said: FLOAT32[None, None]):
        annotators = op.Softmax(said / temperature)
        return annotators  # noqa: RET504 (names the output)

    return share.to_model_proto()
