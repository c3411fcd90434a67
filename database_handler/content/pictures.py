"""What is done to single pictures: chosen by sharpness, turned, laid out on a sheet, and encoded.

Used in the process that decodes video, so it imports nothing of this package, and Pillow only where it is
used. Sharpness is the variance of the Laplacian (Pertuz, Puig and Garcia 2013, measure LAP4).
"""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["encoded", "fitted", "from_rows", "is_blank", "sharpness", "sheet", "time_label", "turned"]

_JUDGED = 320  # pixels of the longer side: what is sharp there is sharp as a thumbnail
_BLANK = 6.0  # levels of 255: the spread of the pixels of black, white and fog is smaller
_LAPLACIAN = (0, 1, 0, 1, -4, 1, 0, 1, 0)
_GAP, _PAPER, _INK, _LABEL = 6, (24, 24, 27), (244, 244, 245), (0, 0, 0)
_QUALITY = {"webp": {"quality": 80, "method": 4}, "jpeg": {"quality": 85, "optimize": True}, "png": {}}


def fitted(width: float, height: float, longest: int) -> tuple[int, int]:
    """Return the size of a picture that is made smaller so that no side is longer; never made larger."""
    scale = min(longest / max(width, height), 1.0)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def from_rows(data: bytes, size: tuple[int, int], row: int) -> "Image":
    """Return the picture of red, green and blue bytes whose rows are `row` bytes apart."""
    from PIL import Image

    return Image.frombytes("RGB", size, data, "raw", "RGB", row, 1)


def turned(picture: "Image", degrees: int) -> "Image":
    """Turn a picture clockwise by 0, 90, 180 or 270 degrees."""
    from PIL.Image import Transpose

    # Pillow turns against the clock.
    how = {90: Transpose.ROTATE_270, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_90}.get(degrees)
    return picture if how is None else picture.transpose(how)


def _judged(picture: "Image") -> "Image":
    grey = picture.convert("L")
    grey.thumbnail((_JUDGED, _JUDGED))
    return grey


def is_blank(picture: "Image") -> bool:
    """Return whether a picture is all but of one colour, as before a film begins or between two scenes."""
    from PIL import ImageStat

    return ImageStat.Stat(_judged(picture)).stddev[0] < _BLANK


def sharpness(picture: "Image") -> float:
    """Return the variance of the Laplacian of a picture's grey levels: the higher, the sharper."""
    from PIL import ImageFilter, ImageStat

    edges = _judged(picture).filter(ImageFilter.Kernel((3, 3), _LAPLACIAN, scale=1, offset=128))
    return ImageStat.Stat(edges).var[0]


def encoded(picture: "Image", kind: str) -> bytes:
    """Return a picture as ``webp``, ``jpeg`` or ``png``, without any metadata."""
    file = io.BytesIO()
    picture.save(file, kind.upper(), **_QUALITY[kind])
    return file.getvalue()


def time_label(seconds: float, *, tenths: bool) -> str:
    """Return a time as ``0:07``, ``1:02:03`` or, with tenths, ``0:07.4``."""
    whole = int(seconds * 10 + 0.5) if tenths else int(seconds + 0.5) * 10
    minutes, rest = divmod(whole, 600)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{clock}:{rest // 10:02}" + (f".{rest % 10}" if tenths else "")


def sheet(tiles: "Sequence[tuple[Image, str]]") -> "Image":
    """Lay pictures of one size out in rows, each with a label in its lower left corner."""
    from PIL import Image, ImageDraw, ImageFont

    width, height = tiles[0][0].size
    columns = columns_for(len(tiles), width, height)
    rows = math.ceil(len(tiles) / columns)
    size = (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP)
    paper = Image.new("RGB", size, _PAPER)
    font = ImageFont.load_default(max(min(14, height // 5), 9))
    draw = ImageDraw.Draw(paper)
    for place, (picture, label) in enumerate(tiles):
        row, column = divmod(place, columns)
        x, y = _GAP + column * (width + _GAP), _GAP + row * (height + _GAP)
        paper.paste(picture, (x, y))
        box = draw.textbbox((x + 5, y + height - 4), label, font=font, anchor="lb")
        draw.rectangle((box[0] - 3, box[1] - 2, box[2] + 2, box[3] + 2), fill=_LABEL)
        draw.text((x + 5, y + height - 4), label, font=font, fill=_INK, anchor="lb")
    return paper


def columns_for(count: int, width: int, height: int) -> int:
    """Return how many columns bring a sheet nearest to the shape 3 to 2, with few places empty."""

    def poor(columns: int) -> float:
        rows = math.ceil(count / columns)
        shape = (columns * width) / (rows * height) / 1.5
        return abs(math.log(shape)) + (columns * rows - count) / count

    return min(range(1, count + 1), key=poor)
